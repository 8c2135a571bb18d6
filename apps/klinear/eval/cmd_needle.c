/* klinear needle: models that have learnt to find things look for them in texts of growing length. */
#include "../cli/amount.h"
#include "../cli/json.h"
#include "../cli/loaded.h"
#include "../cli/machine.h"
#include "../cli/verb.h"
#include "base/error.h"

#include "klinear/kl_train.h"

#include <stdlib.h>
#include <string.h>

struct settings {
    struct ka_list lengths;
    int64_t trials, pairs, threads, seed;
    double patience;
    bool json;
};

enum { MOST_MODELS = 2, MOST_PAIRS = 64 };

/* What one model did at one length. */
struct result {
    int64_t asked, right;
    double bytes;        /* that the sequence keeps */
    double read_seconds; /* of one text */
    double step_seconds; /* of one question: a token that is read alone, and answered */
};

struct reader {
    struct ka_loaded l;
    const char *name;
    float *logits;
    int64_t length; /* of the last text that was read, and what a trial with it took */
    double seconds;
};

static kl_status open_reader(struct reader *r, const char *path, const struct settings *s, kl_error *err)
{
    const struct ka_choice choice = {.model = path, .threads = s->threads, .isa = 3};
    const char *slash = strrchr(path, '/');
    kl_status status = ka_load(&r->l, &choice, 0, err);
    if (status != KL_OK)
        return status;
    r->name = slash ? slash + 1 : path;
    r->logits = malloc((size_t)kl_model_config(r->l.model)->n_vocab * sizeof *r->logits);
    return r->logits ? KL_OK : kl__fail(err, KL_ERR_MEMORY, "out of memory");
}

/* The task whose vocabulary the model has. */
static kl_status task_of(kl_task *k, const struct reader *r, const struct settings *s, kl_error *err)
{
    int64_t n_vocab = kl_model_config(r->l.model)->n_vocab;
    *k =
        (kl_task){.kind = KL_TASK_NEEDLE, .n_symbol = (n_vocab - 2) / 3, .n_pair = s->pairs, .seed = (uint64_t)s->seed};
    if (n_vocab >= 8 && (n_vocab - 2) % 3 == 0)
        return KL_OK;
    return kl__fail(err, KL_ERR_FORMAT, "%s: has %lld tokens, expected the 3 n + 2 of klinear train task needle",
                    r->name, (long long)n_vocab);
}

static int32_t best_of(const float *x, int64_t n)
{
    int32_t best = 0;
    for (int32_t i = 1; i < n; i++)
        if (x[i] > x[best])
            best = i;
    return best;
}

/* Reads up to the first question, then one question after the other. */
static kl_status answer(struct reader *r, const kl_task *k, const int32_t *token, const int32_t *label,
                        struct result *result, kl_error *err)
{
    kl_session *session;
    int64_t hay = k->length - k->n_pair, n_vocab = kl_model_config(r->l.model)->n_vocab;
    kl_status status = kl_session_open(&session, r->l.engine, err);
    if (status != KL_OK)
        return status;
    double began = ka_seconds();
    status = kl_prefill(session, token, hay, NULL, NULL, NULL, err);
    double read = ka_seconds();
    for (int64_t t = hay; t < k->length && status == KL_OK; t++) {
        status = kl_decode(session, token[t], r->logits, err);
        result->right += status == KL_OK && best_of(r->logits, n_vocab) == label[t];
        result->asked++;
    }
    kl_engine_memory memory = kl_engine_memory_of(r->l.engine);
    result->bytes = (double)memory.fixed_bytes + (double)memory.pages_used * (double)memory.page_bytes;
    result->read_seconds += read - began;
    result->step_seconds += ka_seconds() - read;
    kl_session_close(session);
    return status;
}

static kl_status try_length(struct reader *r, const struct settings *s, int64_t length, struct result *result,
                            kl_error *err)
{
    kl_task k;
    kl_status status = task_of(&k, r, s, err);
    k.length = length;
    int32_t *token = malloc((size_t)length * 2 * sizeof *token);
    if (status == KL_OK && !token)
        status = kl__fail(err, KL_ERR_MEMORY, "out of memory");
    for (int64_t i = 0; i < s->trials && status == KL_OK; i++) {
        status = kl_task_sequence(&k, (uint64_t)i, token, token + length, err);
        if (status == KL_OK)
            status = answer(r, &k, token, token + length, result, err);
    }
    free(token);
    r->length = length;
    r->seconds = result->read_seconds / (double)s->trials;
    result->read_seconds /= (double)s->trials;
    result->step_seconds /= (double)(result->asked ? result->asked : 1);
    return status;
}

/* Whether all trials of this length can be had in time, should reading take four times as long for twice the text. */
static bool in_time(const struct reader *r, const struct settings *s, int64_t length)
{
    double more = r->length ? (double)length / (double)r->length : 0;
    return more * more * r->seconds * (double)s->trials <= s->patience;
}

/* ----------------------------------------------------------------------------------------------- what is shown -- */

static void print_heading(const struct reader *r, int n)
{
    printf("%8s", "");
    for (int i = 0; i < n; i++)
        printf("  | %-41.41s", r[i].name);
    printf("\n%8s", "length");
    for (int i = 0; i < n; i++)
        printf("  | %7s  %9s  %10s  %9s", "found", "memory", "a question", "reading");
    putchar('\n');
}

static void print_result(const struct result *x)
{
    if (!x->asked)
        printf("  | %7s  %9s  %10s  %9s", "-", "", "", "too long");
    else
        printf("  | %5.1f %%  %9s  %10s  %9s", 100 * (double)x->right / (double)x->asked, ka_bytes(x->bytes).text,
               ka_duration(x->step_seconds).text, ka_duration(x->read_seconds).text);
    fflush(stdout);
}

static void print_json(const struct reader *r, int64_t length, const struct result *x)
{
    struct ka_json j = {.out = stdout, .compact = true, .digits = 4};
    ka_json_open(&j, NULL, '{');
    ka_json_text(&j, "model", r->name);
    ka_json_integer(&j, "length", length);
    ka_json_integer(&j, "asked", x->asked);
    ka_json_integer(&j, "found", x->right);
    ka_json_integer(&j, "bytes", (int64_t)x->bytes);
    ka_json_number(&j, "question_seconds", x->step_seconds);
    ka_json_number(&j, "read_seconds", x->read_seconds);
    ka_json_close(&j, '}');
    putchar('\n');
    fflush(stdout);
}

static kl_status show(struct reader *r, int n, const struct settings *s, kl_error *err)
{
    kl_status status = KL_OK;
    if (!s->json)
        print_heading(r, n);
    for (int k = 0; k < s->lengths.n && status == KL_OK; k++) {
        int64_t length = s->lengths.at[k];
        if (!s->json)
            printf("%8lld", (long long)length);
        for (int i = 0; i < n && status == KL_OK; i++) {
            struct result result = {0};
            if (in_time(&r[i], s, length))
                status = try_length(&r[i], s, length, &result, err);
            if (status == KL_OK && s->json && result.asked)
                print_json(&r[i], length, &result);
            else if (status == KL_OK && !s->json)
                print_result(&result);
        }
        if (!s->json)
            putchar('\n');
    }
    return status;
}

static enum ka_exit run(const void *settings, int n_word, char **words)
{
    const struct settings *s = settings;
    struct reader r[MOST_MODELS] = {0};
    kl_error err = {0};
    kl_status status = KL_OK;
    if (!n_word) {
        ka_complain(&ka_verb_needle, "which model? Name one that klinear train task needle made, or two");
        return KA_USAGE;
    }
    for (int i = 0; i < n_word && status == KL_OK; i++)
        status = open_reader(&r[i], words[i], s, &err);
    if (status == KL_OK)
        status = show(r, n_word, s, &err);
    for (int i = 0; i < n_word; i++) {
        ka_unload(&r[i].l);
        free(r[i].logits);
    }
    return ka_conclude(&ka_verb_needle, status, &err);
}

#define FIELD(name) offsetof(struct settings, name)
static const struct ka_option options[] = {
    {"lengths", 'l', "LIST", KA_NUMBERS, FIELD(lengths), 8, 1 << 20, NULL, NULL,
     "tokens of the texts; default: 128,512,2K,8K,32K"},
    {"trials", 0, "N", KA_NUMBER, FIELD(trials), 1, 1 << 20, NULL, NULL, "texts of each length; default: 4"},
    {"pairs", 0, "N", KA_NUMBER, FIELD(pairs), 1, MOST_PAIRS, NULL, NULL,
     "things that are hidden in each, and asked for; default: 8"},
    {"seed", 0, "N", KA_NUMBER, FIELD(seed), 0, INT64_MAX, NULL, NULL, "of the texts; default: 1000"},
    {"patience", 0, "X", KA_REAL, FIELD(patience), 0, 1000000, NULL, NULL,
     "seconds: a length that a model would take longer for is left out;\ndefault: 60"},
    {"threads", 't', "N", KA_NUMBER, FIELD(threads), 0, 1024, NULL, NULL, "0, the default: one per core"},
    {"json", 0, NULL, KA_FLAG, FIELD(json), 0, 0, NULL, NULL, "a JSON object for each model and length"},
    {0},
};
#undef FIELD

static const struct settings defaults = {
    .lengths = {.n = 5, .at = {128, 512, 2048, 8192, 32768}}, .trials = 4, .pairs = 8, .seed = 1000, .patience = 60};

const struct ka_verb ka_verb_needle = {
    .name = "needle",
    .summary = "how far back a model finds what it was told",
    .usage = "MODEL [MODEL] [options]",
    .text = "Hides keys with values in random places of texts of growing length, and asks for the values of\n"
            "all of them at the end.  Models come from klinear train task needle --save DIR.  Shows how many\n"
            "values were found, what the sequence keeps in memory by then, how long one question takes, and how\n"
            "long reading the text took before.",
    .options = options,
    .defaults = &defaults,
    .settings_bytes = sizeof defaults,
    .max_words = MOST_MODELS,
    .run = run,
};
