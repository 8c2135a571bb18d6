/* klinear logits: what the network says, as plain numbers, for comparing with any other engine. */
#include "../cli/ids.h"
#include "../cli/input.h"
#include "../cli/interrupt.h"
#include "../cli/loaded.h"
#include "../cli/output.h"
#include "../cli/progress.h"
#include "../cli/verb.h"
#include "base/error.h"
#include "base/file.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct settings {
    struct ka_choice choice;
    const char *tokens, *tokens_file, *output;
    int64_t batch, decode;
    bool last;
};

enum { TOKENS_LIMIT = 1 << 28, BATCH = 64 };

/* Where the numbers go: a file that appears when it is complete, or standard output. */
struct sink {
    struct kl__out *file; /* NULL: standard output */
    uint64_t bytes;
};

static kl_status put(struct sink *s, const float *logits, int64_t n, kl_error *err)
{
    size_t bytes = (size_t)n * sizeof *logits;
    if (s->file)
        KL_TRY(kl__out_write(s->file, s->bytes, logits, bytes, err));
    else
        KL_TRY(ka_put(logits, bytes, false, err));
    s->bytes += bytes;
    return KL_OK;
}

/* Reads `n` tokens and writes the logits that are wanted of them. */
static kl_status read_piece(struct ka_loaded *l, kl_session *session, const int32_t *token, int n, bool decode,
                            kl_want want, float *logits, struct sink *to, kl_error *err)
{
    kl_span span = {.session = session, .token = token, .n_token = n, .decode = decode, .want = want, .logits = logits};
    int64_t first = kl_session_length(session);
    KL_TRY(ka_step_status(kl_step(l->engine, &span, 1, err), err));
    if (span.status != KL_OK)
        return kl__fail(err, span.status, "the logits of tokens %lld .. %lld are not all finite", (long long)first,
                        (long long)first + n - 1);
    int64_t rows = want == KL_WANT_ALL ? n : want == KL_WANT_LAST ? 1 : 0;
    return put(to, logits, rows * kl_model_config(l->model)->n_vocab, err);
}

static kl_status read_tokens(const struct settings *s, struct ka_loaded *l, kl_session *session,
                             const struct ka_ids *ids, float *logits, struct sink *to, kl_error *err)
{
    struct ka_progress p;
    kl_status status = KL_OK;
    int64_t prompt = ids->n > s->decode ? ids->n - s->decode : 0;
    ka_progress_begin(&p, "Reading", "tokens");
    for (int64_t t = 0; t < ids->n && status == KL_OK;) {
        bool decode = t >= prompt;
        int n = decode ? 1 : (int)(prompt - t < s->batch ? prompt - t : s->batch);
        kl_want want = !s->last ? KL_WANT_ALL : t + n == ids->n ? KL_WANT_LAST : KL_WANT_NONE;
        status = ka_interrupted() ? kl__fail(err, KL_ERR_CANCELLED, "interrupted")
                                  : read_piece(l, session, ids->at + t, n, decode, want, logits, to, err);
        t += n;
        ka_progress_set(&p, t, ids->n);
    }
    ka_progress_end(&p);
    return status;
}

static kl_status get_ids(struct ka_ids *ids, const struct settings *s, int64_t n_vocab, kl_error *err)
{
    if (s->tokens)
        return ka_read_ids(ids, s->tokens, strlen(s->tokens), n_vocab, "--tokens", err);
    struct ka_input in;
    KL_TRY(ka_read_input(&in, s->tokens_file, TOKENS_LIMIT, err));
    kl_status status = ka_read_ids(ids, in.data, in.bytes, n_vocab, s->tokens_file, err);
    ka_free_input(&in);
    return status;
}

static kl_status write_logits(const struct settings *s, struct ka_loaded *l, kl_error *err)
{
    int64_t n_vocab = kl_model_config(l->model)->n_vocab;
    struct ka_ids ids = {0};
    struct sink to = {0};
    kl_session *session = NULL;
    float *logits = malloc((size_t)((s->last ? 1 : s->batch) * n_vocab) * sizeof *logits);
    bool to_file = s->output && strcmp(s->output, "-") != 0;
    kl_status status = logits ? get_ids(&ids, s, n_vocab, err) : kl__fail(err, KL_ERR_MEMORY, "out of memory");
    if (status == KL_OK)
        status = kl_session_open(&session, l->engine, err);
    if (status == KL_OK && to_file)
        status = kl__out_open(&to.file, s->output, NULL, err);
    if (status == KL_OK)
        status = read_tokens(s, l, session, &ids, logits, &to, err);
    if (status == KL_OK && to.file)
        status = kl__out_commit(to.file, to.bytes, err);
    else
        kl__out_abandon(to.file);
    kl_session_close(session);
    ka_free_ids(&ids);
    free(logits);
    return status;
}

static enum ka_exit run(const void *settings, int n_word, char **words)
{
    (void)n_word, (void)words;
    const struct settings *s = settings;
    if (!s->tokens == !s->tokens_file) {
        ka_complain(&ka_verb_logits, "expected one of --tokens and --tokens-file");
        return KA_USAGE;
    }
    if (!s->output && isatty(STDOUT_FILENO)) {
        ka_complain(&ka_verb_logits, "the numbers are not for a terminal; name a file with -o, or a pipe");
        return KA_USAGE;
    }
    struct ka_loaded l;
    kl_error err = {0};
    ka_catch_interrupts();
    kl_status status = ka_load(&l, &s->choice, (int)s->batch, &err);
    if (status == KL_OK) {
        ka_stop_when_interrupted(&l);
        status = write_logits(s, &l, &err);
        ka_unload(&l);
    }
    return ka_conclude(&ka_verb_logits, status, &err);
}

static const struct ka_option options[] = {
    {.name = "tokens",
     .value = "LIST",
     .kind = KA_TEXT,
     .field = offsetof(struct settings, tokens),
     .help = "ids with commas between them"},
    {.name = "tokens-file",
     .value = "FILE",
     .kind = KA_TEXT,
     .field = offsetof(struct settings, tokens_file),
     .help = "ids with white space between them; -: standard input"},
    {.name = "output",
     .letter = 'o',
     .value = "FILE",
     .kind = KA_TEXT,
     .field = offsetof(struct settings, output),
     .help = "where the numbers go; default, and -: standard output"},
    {.name = "last", .kind = KA_FLAG, .field = offsetof(struct settings, last), .help = "of the last token alone"},
    {.name = "batch",
     .value = "N",
     .kind = KA_NUMBER,
     .field = offsetof(struct settings, batch),
     .min = 1,
     .max = 1 << 16,
     .help = "tokens to read in one step; default: 64.  With a multiple of 64\nthe numbers do not depend on it"},
    {.name = "decode",
     .value = "N",
     .kind = KA_NUMBER,
     .field = offsetof(struct settings, decode),
     .min = 0,
     .max = (int64_t)1 << 40,
     .help = "read the last N tokens one by one, as if they had been generated"},
    {.name = "Model", .kind = KA_GROUP, .field = offsetof(struct settings, choice), .group = ka_choice_options},
    {0},
};

/* As accurate as the file is: that is what a comparison wants to know. */
static const struct settings defaults = {.choice = {.isa = 3, .cache = KL_CACHE_F32, .arithmetic = 1}, .batch = BATCH};

const struct ka_verb ka_verb_logits = {
    .name = "logits",
    .summary = "what the network says about given tokens, as plain numbers",
    .usage = "(--tokens LIST | --tokens-file FILE) [options]",
    .text = "Writes the logits behind every token: float32, little-endian, [tokens][vocabulary], row by row and\n"
            "nothing else, for comparing with another engine.  A file appears when it is complete. Unlike the\n"
            "other verbs it computes with --arithmetic exact and --cache-type f32 unless told otherwise.",
    .options = options,
    .defaults = &defaults,
    .settings_bytes = sizeof defaults,
    .run = run,
};
