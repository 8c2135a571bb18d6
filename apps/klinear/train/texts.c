#include "texts.h"

#include "../cli/interrupt.h"

const struct ka_option ka_texts_options[] = {
    {.name = "jsonl",
     .value = "FIELD",
     .kind = KA_TEXT,
     .field = offsetof(struct ka_texts_choice, field),
     .help = "files are JSONL; the document of a line is its text FIELD"},
    {.name = "separator",
     .value = "LINE",
     .kind = KA_TEXT,
     .field = offsetof(struct ka_texts_choice, separator),
     .help = "a line that stands between the documents of a file;\ndefault: a file is one document"},
    {0},
};

/* What a document passes through on its way. */
struct passing {
    kl_document_fn *fn;
    void *user;
    struct ka_progress *progress;
    int64_t n;
};

static kl_status pass(void *user, kl_text document, kl_error *err)
{
    struct passing *p = user;
    if (ka_interrupted())
        return KL_ERR_CANCELLED;
    ka_progress_set(p->progress, ++p->n, 0);
    return p->fn(p->user, document, err);
}

kl_status ka_texts_each(const struct ka_texts_choice *choice, int n_file, char *const *file, const char *what,
                        kl_document_fn *fn, void *user, int64_t *n_document, kl_error *err)
{
    struct ka_progress progress;
    struct passing p = {fn, user, &progress, 0};
    kl_status status = KL_OK;
    ka_catch_interrupts();
    ka_progress_begin(&progress, what, "documents");
    for (int i = 0; i < n_file && status == KL_OK; i++) {
        const kl_documents d = {file[i], choice->field, choice->separator};
        status = kl_documents_each(&d, pass, &p, NULL, err);
    }
    ka_progress_end(&progress);
    ka_forget_interrupt();
    *n_document = p.n;
    return status;
}
