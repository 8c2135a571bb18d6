/* klinear perplexity: how well a model foresees a text, and how far its logits are from those of another run. */
#include "../cli/amount.h"
#include "../cli/ids.h"
#include "../cli/input.h"
#include "../cli/interrupt.h"
#include "../cli/json.h"
#include "../cli/loaded.h"
#include "../cli/machine.h"
#include "../cli/progress.h"
#include "../cli/verb.h"
#include "base/error.h"
#include "base/file.h"
#include "score.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct settings {
    struct ka_choice choice;
    const char *file, *tokens_file, *save, *against;
    int64_t window, stride, limit;
    bool json;
};

enum {
    TEXT_LIMIT = 1 << 30,
    STEP = 64,               /* least tokens of a step: cuts at multiples of it leave the bits alone */
    LOGITS_BYTES = 64 << 20, /* about what the logits of a step may take */
};

/* Everything while it goes on. */
struct work {
    const struct settings *s;
    struct ka_loaded l;
    struct ka_ids ids;
    kl_session *session;
    int64_t n_vocab, step;
    float *logits;         /* [step][n_vocab] */
    struct kl__out *saved; /* NULL: not asked for */
    struct kl__map against;
    int64_t row; /* positions that were scored */
    struct ka_score score;
    struct ka_progress progress;
    double seconds;
};

/* -------------------------------------------------------------------------------------------------------- a text -- */

static kl_status gather(void *user, const int32_t *ids, size_t n)
{
    return ka_add_ids(user, ids, (int64_t)n, NULL);
}

static kl_status get_ids(struct work *w, kl_error *err)
{
    const struct settings *s = w->s;
    const char *path = s->tokens_file ? s->tokens_file : s->file;
    struct ka_input in;
    KL_TRY(ka_read_input(&in, path, TEXT_LIMIT, err));
    kl_status status = s->tokens_file ? ka_read_ids(&w->ids, in.data, in.bytes, w->n_vocab, path, err)
                                      : kl_tokenize_each(gather, &w->ids, w->l.tokenizer, (kl_text){in.data, in.bytes},
                                                         KL_MARKUP_PLAIN, err);
    ka_free_input(&in);
    KL_TRY(status);
    if (s->limit && w->ids.n > s->limit)
        w->ids.n = s->limit;
    if (w->ids.n < 2)
        return kl__fail(err, KL_ERR_ARGUMENT, "%s has %lld tokens, expected at least 2", path ? path : "standard input",
                        (long long)w->ids.n);
    return KL_OK;
}

/* -------------------------------------------------------------------------------------------------------- scores -- */

/* The position whose logits are `logits`, and what comes there. */
static kl_status score_one(struct work *w, const float *logits, int32_t token, kl_error *err)
{
    size_t row_bytes = (size_t)w->n_vocab * sizeof *logits;
    kl_text text = w->l.tokenizer ? kl_tokenizer_text(w->l.tokenizer, token) : (kl_text){0};
    ka_score_add(&w->score, logits, w->n_vocab, token, (int64_t)text.bytes);
    if (w->saved)
        KL_TRY(kl__out_write(w->saved, (uint64_t)w->row * row_bytes, logits, row_bytes, err));
    if (w->s->against) {
        const float *other = (const float *)(const void *)w->against.data + w->row * w->n_vocab;
        if (!ka_score_compare(&w->score, logits, other, w->n_vocab))
            return kl__fail(err, KL_ERR_MEMORY, "out of memory");
    }
    w->row++;
    return KL_OK;
}

/* Reads tokens first .. end - 1 with a memory that begins at `first`, and scores tokens from `counted` on. */
static kl_status read_window(struct work *w, int64_t first, int64_t counted, int64_t end, kl_error *err)
{
    kl_session_reset(w->session);
    for (int64_t t = first; t < end;) {
        int64_t n = end - t < w->step ? end - t : w->step;
        kl_span span = {.session = w->session,
                        .token = w->ids.at + t,
                        .n_token = (int)n,
                        .want = t + n >= counted ? KL_WANT_ALL : KL_WANT_NONE,
                        .logits = w->logits};
        if (ka_interrupted())
            return kl__fail(err, KL_ERR_CANCELLED, "interrupted");
        KL_TRY(ka_step_status(kl_step(w->l.engine, &span, 1, err), err));
        if (span.status != KL_OK)
            return kl__fail(err, span.status, "the logits of tokens %lld .. %lld are not all finite", (long long)t,
                            (long long)(t + n - 1));
        for (int64_t i = 0; i < n; i++)
            if (t + i + 1 >= counted && t + i + 1 < end)
                KL_TRY(score_one(w, w->logits + i * w->n_vocab, w->ids.at[t + i + 1], err));
        t += n;
        ka_progress_set(&w->progress, t, w->ids.n);
    }
    return KL_OK;
}

/* Where the windows lie: the first counts all of its tokens but one, the others the last `stride`. */
static kl_status read_windows(struct work *w, kl_error *err)
{
    int64_t n = w->ids.n, window = w->s->window ? w->s->window : n;
    int64_t stride = w->s->stride ? w->s->stride : (window + 1) / 2;
    for (int64_t counted = 1; counted < n;) {
        int64_t end = counted == 1 ? window : counted + stride;
        end = end < n ? end : n;
        KL_TRY(read_window(w, end > window ? end - window : 0, counted, end, err));
        counted = end;
    }
    return KL_OK;
}

static kl_status open_files(struct work *w, kl_error *err)
{
    uint64_t row_bytes = (uint64_t)w->n_vocab * sizeof(float), rows = (uint64_t)w->ids.n - 1;
    if (w->s->against) {
        KL_TRY(kl__map_open(&w->against, w->s->against, err));
        if (w->against.bytes != rows * row_bytes)
            return kl__fail(err, KL_ERR_FORMAT, "%s has %zu bytes, expected %llu: %llu rows of %lld numbers",
                            w->s->against, w->against.bytes, (unsigned long long)(rows * row_bytes),
                            (unsigned long long)rows, (long long)w->n_vocab);
    }
    return w->s->save ? kl__out_open(&w->saved, w->s->save, NULL, err) : KL_OK;
}

static kl_status score_text(struct work *w, kl_error *err)
{
    KL_TRY(get_ids(w, err));
    KL_TRY(open_files(w, err));
    KL_TRY(kl_session_open(&w->session, w->l.engine, err));
    double start = ka_seconds();
    ka_progress_begin(&w->progress, "Reading", "tokens");
    kl_status status = read_windows(w, err);
    ka_progress_end(&w->progress);
    w->seconds = ka_seconds() - start;
    if (status == KL_OK && w->saved) {
        struct kl__out *saved = w->saved;
        w->saved = NULL;
        status = kl__out_commit(saved, (uint64_t)w->row * (uint64_t)w->n_vocab * sizeof(float), err);
    }
    return status;
}

static kl_status work_all(struct work *w, kl_error *err)
{
    KL_TRY(ka_load(&w->l, &w->s->choice, 512, err));
    ka_stop_when_interrupted(&w->l);
    w->n_vocab = kl_model_config(w->l.model)->n_vocab;
    w->step = LOGITS_BYTES / (w->n_vocab * (int64_t)sizeof *w->logits) / STEP * STEP;
    w->step = w->step < STEP ? STEP : w->step > 512 ? 512 : w->step;
    w->logits = malloc((size_t)(w->step * w->n_vocab) * sizeof *w->logits);
    if (!w->logits)
        return kl__fail(err, KL_ERR_MEMORY, "out of memory");
    if (!w->s->tokens_file)
        KL_TRY(ka_load_tokenizer(&w->l, err));
    return score_text(w, err);
}

/* -------------------------------------------------------------------------------------------------------- report -- */

static void print_json(struct work *w)
{
    struct ka_score *s = &w->score;
    struct ka_json j = {.out = stdout};
    ka_json_open(&j, NULL, '{');
    ka_json_integer(&j, "tokens", s->n);
    ka_json_integer(&j, "bytes", s->bytes);
    ka_json_number(&j, "perplexity", ka_score_perplexity(s));
    ka_json_number(&j, "standard_error", ka_score_error(s));
    ka_json_number(&j, "nats_per_token", s->nats / (double)s->n);
    ka_json_number(&j, "bits_per_byte", ka_score_bits_per_byte(s));
    ka_json_number(&j, "seconds", w->seconds);
    if (w->s->against) {
        ka_json_number(&j, "kl_mean", s->kl_sum / (double)s->n_kl);
        ka_json_number(&j, "kl_median", ka_score_quantile(s, 0.5));
        ka_json_number(&j, "kl_99", ka_score_quantile(s, 0.99));
        ka_json_number(&j, "kl_most", s->kl_most);
        ka_json_number(&j, "top1", (double)s->same / (double)s->n_kl);
    }
    ka_json_close(&j, '}');
}

static void print_text(struct work *w)
{
    struct ka_score *s = &w->score;
    printf("Perplexity      %.4f +- %.4f\n", ka_score_perplexity(s), ka_score_error(s));
    printf("A token         %.4f nats\n", s->nats / (double)s->n);
    if (s->bytes)
        printf("A byte          %.4f bits\n", ka_score_bits_per_byte(s));
    printf("Tokens          %lld in %s, %s a second\n", (long long)s->n, ka_duration(w->seconds).text,
           ka_rate((double)w->ids.n / w->seconds).text);
    if (!w->s->against)
        return;
    printf("Divergence      %.3e nats in the mean, %.3e in the median, %.3e in 99 of 100, %.3e at most\n",
           s->kl_sum / (double)s->n_kl, ka_score_quantile(s, 0.5), ka_score_quantile(s, 0.99), s->kl_most);
    printf("Same choice     %.2f %%\n", 100 * (double)s->same / (double)s->n_kl);
}

static enum ka_exit run(const void *settings, int n_word, char **words)
{
    struct settings own = *(const struct settings *)settings, *s = &own;
    if (n_word && s->file) {
        ka_complain(&ka_verb_perplexity, "--file and \"%s\" are two texts", words[0]);
        return KA_USAGE;
    }
    s->file = n_word ? words[0] : s->file;
    if (s->file && s->tokens_file) {
        ka_complain(&ka_verb_perplexity, "--file and --tokens-file exclude each other");
        return KA_USAGE;
    }
    if (s->window && (s->window < 2 || s->stride >= s->window)) { /* what counts has a token before it */
        ka_complain(&ka_verb_perplexity, "--stride is %lld, expected less than the %lld tokens of a window",
                    (long long)s->stride, (long long)s->window);
        return KA_USAGE;
    }
    struct work w = {.s = s};
    kl_error err = {0};
    ka_catch_interrupts();
    kl_status status = work_all(&w, &err);
    if (status == KL_OK)
        (s->json ? print_json : print_text)(&w);
    kl__out_abandon(w.saved);
    kl__map_close(&w.against);
    kl_session_close(w.session);
    free(w.logits);
    ka_free_ids(&w.ids);
    ka_free_score(&w.score);
    ka_unload(&w.l);
    return ka_conclude(&ka_verb_perplexity, status, &err);
}

static const struct ka_option options[] = {
    {.name = "file",
     .letter = 'f',
     .value = "FILE",
     .kind = KA_TEXT,
     .field = offsetof(struct settings, file),
     .help = "the text; default, and -: standard input"},
    {.name = "tokens-file",
     .value = "FILE",
     .kind = KA_TEXT,
     .field = offsetof(struct settings, tokens_file),
     .help = "ids with white space between them, in place of a text"},
    {.name = "window",
     .value = "N",
     .kind = KA_NUMBER,
     .field = offsetof(struct settings, window),
     .min = 0,
     .max = (int64_t)1 << 40,
     .help = "tokens that are read with one memory; 0: the whole text;\ndefault: 2048"},
    {.name = "stride",
     .value = "N",
     .kind = KA_NUMBER,
     .field = offsetof(struct settings, stride),
     .min = 0,
     .max = (int64_t)1 << 40,
     .help = "how far the next window is, and how many of its tokens count;\ndefault: half a window"},
    {.name = "limit",
     .value = "N",
     .kind = KA_NUMBER,
     .field = offsetof(struct settings, limit),
     .min = 0,
     .max = (int64_t)1 << 40,
     .help = "read the first N tokens only; 0, the default: all"},
    {.name = "save",
     .value = "FILE",
     .kind = KA_TEXT,
     .field = offsetof(struct settings, save),
     .help = "keep the logits of every token that counts: float32, [tokens][vocabulary]"},
    {.name = "against",
     .value = "FILE",
     .kind = KA_TEXT,
     .field = offsetof(struct settings, against),
     .help = "show the divergence from logits that were saved, by another type of\n"
             "the model, of the same text in the same windows"},
    {.name = "json", .kind = KA_FLAG, .field = offsetof(struct settings, json), .help = "print JSON"},
    {.name = "Model", .kind = KA_GROUP, .field = offsetof(struct settings, choice), .group = ka_choice_options},
    {0},
};

static const struct settings defaults = {.choice = {.isa = 3}, .window = 2048};

const struct ka_verb ka_verb_perplexity = {
    .name = "perplexity",
    .summary = "how well a model foresees a text",
    .usage = "[-m MODEL] [options] [FILE]",
    .text = "Reads a text in windows that overlap and reports the perplexity of the tokens that count: of the\n"
            "first window all but the first token, of every other its last --stride.  Also bits a byte, which\n"
            "models with other tokens can be compared by, and the divergence from another run.",
    .options = options,
    .defaults = &defaults,
    .settings_bytes = sizeof defaults,
    .max_words = 1,
    .run = run,
};
