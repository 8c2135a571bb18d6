#include "recipe.h"

#include "../cli/input.h"
#include "../cli/verb.h"
#include "base/error.h"

#include <stdlib.h>
#include <string.h>

enum { RECIPE_LIMIT = 1 << 20 };

static const char *const optimiser_name[] = {"adamw", "muon", NULL};
static const char *const schedule_name[] = {"constant", "wsd", "cosine", NULL};
static const char *const recompute_name[] = {"none", "all", NULL};

#define KEY(key, what, where, low, high, list, text)                                                                   \
    {                                                                                                                  \
        .name = key, .value = "X", .kind = what, .field = offsetof(struct ka_recipe, where), .min = low, .max = high,  \
        .words = list, .help = text                                                                                    \
    }
#define ANY INT64_C(1) << 40

/* The help is the remark that a printed recipe has. */
static const struct ka_option keys[] = {
    KEY("model", KA_TEXT, model, 0, 0, NULL, "geometry: a preset (klinear init --help), a config.json, another model"),
    KEY("tokenizer", KA_TEXT, tokenizer, 0, 0, NULL, "folder with tiktoken.model; its size is the vocabulary's"),
    KEY("data", KA_TEXTS, data, 0, 0, NULL, "a shard, and its weight behind a space; again for each of a mixture"),
    KEY("valid", KA_TEXT, valid, 0, 0, NULL, "a shard to judge by"),
    KEY("output", KA_TEXT, output, 0, 0, NULL, "folder for everything that comes out"),
    KEY("steps", KA_NUMBER, steps, 1, ANY, NULL, "of the whole run"),
    KEY("batch", KA_NUMBER, batch, 2, 1 << 28, NULL, "tokens of a step"),
    KEY("pass", KA_NUMBER, pass, 2, 1 << 24, NULL, "tokens that go through the model at once; memory grows with it"),
    KEY("length", KA_NUMBER, length, 2, 1 << 24, NULL, "tokens of a row, the longest that is seen at once"),
    KEY("seed", KA_NUMBER, seed, 0, INT64_MAX, NULL, "of the parameters and of the order of the data"),
    KEY("optimiser", KA_WORD, optimiser, 0, 0, optimiser_name, "adamw or muon"),
    KEY("lr", KA_REAL, lr, 0, 10, NULL, "highest learning rate"),
    KEY("schedule", KA_WORD, schedule, 0, 0, schedule_name, "constant, wsd (stable, then down) or cosine"),
    KEY("warmup", KA_NUMBER, warmup, 0, ANY, NULL, "steps on the way up"),
    KEY("decay", KA_NUMBER, decay, 0, ANY, NULL, "wsd: steps on the way down"),
    KEY("floor", KA_REAL, floor, 0, 1, NULL, "part of the rate that is left in the end"),
    KEY("weight-decay", KA_REAL, weight_decay, 0, 10, NULL, "of matrices"),
    KEY("clip", KA_REAL, clip, 0, 1000, NULL, "longest gradient; 0: any"),
    KEY("outlier", KA_REAL, outlier, 0, 1000, NULL, "deviations above the usual at which a step is skipped; 0: never"),
    KEY("balance", KA_REAL, balance, 0, 1, NULL,
        "of experts: what their bias moves by at each step; less for runs of over 10000"),
    KEY("momentum", KA_REAL, momentum, 0, 1, NULL, "of muon"),
    KEY("beta1", KA_REAL, beta1, 0, 1, NULL, "of adamw"),
    KEY("beta2", KA_REAL, beta2, 0, 1, NULL, "of adamw"),
    KEY("eps", KA_REAL, eps, 0, 1, NULL, "of adamw"),
    KEY("recompute", KA_WORD, recompute, 0, 0, recompute_name, "none, or all layers: slower, in less memory"),
    KEY("valid-every", KA_NUMBER, valid_every, 1, ANY, NULL, "steps between two looks at the held-back data"),
    KEY("valid-rows", KA_NUMBER, valid_rows, 1, 1 << 20, NULL, "rows of it"),
    KEY("save-every", KA_NUMBER, save_every, 1, ANY, NULL, "steps between two checkpoints"),
    KEY("keep", KA_NUMBER, keep, 1, 1 << 20, NULL, "checkpoints that stay, besides the best"),
    KEY("sample-every", KA_NUMBER, sample_every, 0, ANY, NULL, "steps between two samples of text; 0: none"),
    KEY("sample-tokens", KA_NUMBER, sample_tokens, 1, 1 << 20, NULL, "tokens of a sample"),
    KEY("prompt", KA_TEXT, prompt, 0, 0, NULL, "what a sample begins with"),
    KEY("type", KA_TEXT, type, 0, 0, NULL, "of the matrices in the GGUF file that the run ends with"),
    KEY("threads", KA_NUMBER, threads, 0, 1024, NULL, "0: one per core; the numbers do not depend on it"),
    {0},
};
#undef KEY

static const struct ka_recipe defaults = {
    .model = "tiny",
    .type = "q8_0",
    .prompt = "The",
    .length = 512,
    .batch = 16384,
    .pass = 4096,
    .steps = 1000,
    .seed = 1,
    .optimiser = KL_OPTIMISER_MUON,
    .schedule = KL_SCHEDULE_WSD,
    .warmup = 50,
    .decay = 200,
    .valid_every = 100,
    .valid_rows = 64,
    .save_every = 100,
    .keep = 3,
    .sample_tokens = 60,
    .lr = 2e-3,
    .weight_decay = 0.1,
    .clip = 1,
    .outlier = 8,
    .balance = 1e-2,
    .momentum = 0.95,
    .beta1 = 0.9,
    .beta2 = 0.95,
    .eps = 1e-8,
};

/* What reads options reads the keys of a recipe: it only wants a verb, for its sentences. */
static const struct ka_verb reader = {
    .name = "train", .options = keys, .defaults = &defaults, .settings_bytes = sizeof defaults};

/* ------------------------------------------------------------------------------------------------------- reading -- */

static bool add_line(struct ka_recipe_file *f, const char *key, size_t key_bytes, const char *value)
{
    char **line = realloc(f->line, (size_t)(f->n_line + 1) * sizeof *line);
    if (line)
        f->line = line;
    size_t room = key_bytes + strlen(value) + 4;
    char *text = line ? malloc(room) : NULL;
    if (!text) {
        ka_complain(&reader, "out of memory");
        return false;
    }
    snprintf(text, room, "--%.*s=%s", (int)key_bytes, key, value);
    f->line[f->n_line++] = text;
    return true;
}

/* The bytes of `text` without white space at its ends, which are cut off. */
static char *trim(char *text)
{
    static const char space[] = " \t\r";
    text += strspn(text, space);
    size_t n = strlen(text);
    while (n && strchr(space, text[n - 1]))
        text[--n] = 0;
    return text;
}

/* "key = value", or nothing. */
static bool add_text(struct ka_recipe_file *f, char *text, const char *where, int number)
{
    char *remark = strchr(text, '#');
    if (remark)
        *remark = 0;
    text = trim(text);
    if (!*text)
        return true;
    char *equals = strchr(text, '=');
    if (!equals) {
        ka_complain(&reader, "%s:%d: \"%s\" is not KEY = VALUE", where, number, text);
        return false;
    }
    *equals = 0;
    char *key = trim(text);
    return add_line(f, key, strlen(key), trim(equals + 1));
}

static bool add_file(struct ka_recipe_file *f, const char *path)
{
    struct ka_input in;
    kl_error err;
    if (ka_read_input(&in, path, RECIPE_LIMIT, &err) != KL_OK) {
        ka_complain(&reader, "%s", err.text);
        return false;
    }
    bool fine = strlen(in.data) == in.bytes;
    if (!fine)
        ka_complain(&reader, "%s: is no text", path);
    int number = 1;
    for (char *line = in.data, *end; fine && line; line = end, number++) {
        end = strchr(line, '\n');
        if (end)
            *end++ = 0;
        fine = add_text(f, line, path, number);
    }
    ka_free_input(&in);
    return fine;
}

static bool complain_if(bool wrong, const char *sentence)
{
    if (wrong)
        ka_complain(&reader, "%s", sentence);
    return wrong;
}

/* A step takes 0 for "the default": nothing is to be trained with another number than the recipe has. */
static bool has_rates(const struct ka_recipe *r)
{
    const struct {
        const char *name;
        double value;
    } rate[] = {{"momentum", r->momentum}, {"beta1", r->beta1}, {"beta2", r->beta2}, {"eps", r->eps}};
    for (size_t i = 0; i < sizeof rate / sizeof *rate; i++)
        if (!((float)rate[i].value > 0)) {
            ka_complain(&reader, "%s is %g, expected more than 0", rate[i].name, rate[i].value);
            return false;
        }
    return true;
}

static bool fits(const struct ka_recipe *r)
{
    return has_rates(r) && !(complain_if(!r->data.n, "data is missing: which shards?") ||
                             complain_if(!r->tokenizer, "tokenizer is missing: which folder?") ||
                             complain_if(!r->output, "output is missing: which folder?") ||
                             complain_if(r->pass % r->length, "pass is no multiple of length") ||
                             complain_if(r->batch % r->pass, "batch is no multiple of pass"));
}

bool ka_recipe_read(struct ka_recipe_file *f, const char *path, const struct ka_texts *set)
{
    *f = (struct ka_recipe_file){.r = defaults};
    if (!add_line(f, "", 0, "") || !add_file(f, path)) /* the first stands for the program's name */
        return false;
    for (int i = 0; i < set->n; i++) {
        char text[4096];
        snprintf(text, sizeof text, "%s", set->at[i]);
        if (!add_text(f, text, "--set", i + 1))
            return false;
    }
    int first;
    bool help = false;
    f->r.file = path;
    return ka_read_options(&reader, f->n_line, f->line, &f->r, &first, &help) && fits(&f->r);
}

void ka_recipe_close(struct ka_recipe_file *f)
{
    for (int i = 0; i < f->n_line; i++)
        free(f->line[i]);
    free(f->line);
}

/* ------------------------------------------------------------------------------------------------------ printing -- */

static void print_key(FILE *out, const struct ka_option *o, const char *value)
{
    fprintf(out, "%-14s= %-28s # %s\n", o->name, value, o->help);
}

static void print_value(FILE *out, const struct ka_option *o, const void *field)
{
    char text[64];
    switch (o->kind) {
    case KA_TEXT:
        if (*(const char *const *)field)
            print_key(out, o, *(const char *const *)field);
        return;
    case KA_TEXTS:
        for (int i = 0; i < ((const struct ka_texts *)field)->n; i++)
            print_key(out, o, ((const struct ka_texts *)field)->at[i]);
        return;
    case KA_WORD:
        print_key(out, o, o->words[*(const int64_t *)field]);
        return;
    case KA_REAL:
        snprintf(text, sizeof text, "%.9g", *(const double *)field);
        break;
    default:
        snprintf(text, sizeof text, "%lld", (long long)*(const int64_t *)field);
    }
    print_key(out, o, text);
}

void ka_recipe_print(FILE *out, const struct ka_recipe *r)
{
    for (const struct ka_option *o = keys; o->name; o++)
        print_value(out, o, (const char *)r + o->field);
}
