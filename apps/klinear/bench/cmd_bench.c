/* klinear bench: how fast a model reads and writes, at every depth. */
#include "../cli/interrupt.h"
#include "../cli/verb.h"
#include "modelbench.h"

#include <math.h>

struct settings {
    struct ka_modelbench_plan plan;
    int64_t fill; /* index into fill_name; -1: none */
};

static const char *const fill_name[] = {"random", NULL};

static void print_json(const struct ka_modelbench *b)
{
    struct ka_json j = {.out = stdout};
    ka_json_open(&j, NULL, '{');
    ka_json_open(&j, "machine", '{');
    ka_machine_json(&j, &b->machine);
    ka_json_close(&j, '}');
    ka_json_open(&j, "rows", '[');
    for (int i = 0; i < b->n_row; i++)
        ka_json_row(&j, ka_model_row_fields, &b->row[i]);
    ka_json_close(&j, ']');
    ka_json_open(&j, "ratios", '[');
    for (int i = 0; i < b->n_row; i++) {
        const struct ka_model_row *row = &b->row[i];
        if (!isfinite(row->ratio))
            continue;
        ka_json_open(&j, NULL, '{');
        ka_json_text(&j, "phase", row->phase);
        ka_json_integer(&j, "tokens", row->tokens);
        ka_json_integer(&j, "depth", row->depth);
        ka_json_integer(&j, "batch", row->batch);
        ka_json_number(&j, "ratio", row->ratio);
        ka_json_close(&j, '}');
    }
    ka_json_close(&j, ']');
    if (b->n_profile) {
        ka_json_open(&j, "profiles", '[');
        for (int i = 0; i < b->n_profile; i++)
            ka_profile_json(&j, &b->profile[i]);
        ka_json_close(&j, ']');
    }
    ka_json_close(&j, '}');
}

static void print_csv(const struct ka_modelbench *b)
{
    ka_csv_head(stdout, ka_model_row_fields);
    for (int i = 0; i < b->n_row; i++)
        ka_csv_row(stdout, ka_model_row_fields, &b->row[i]);
}

static void print_table(const struct ka_modelbench *b)
{
    printf("klinear %s on %s, %s\n", kl_version(), b->machine.processor, kl_backend_isa(b->model[0].backend));
    ka_table_head(stdout, ka_model_row_fields);
    for (int i = 0; i < b->n_row; i++) {
        const struct ka_model_row *row = &b->row[i];
        ka_table_row(stdout, ka_model_row_fields, row);
        if (isfinite(row->ratio))
            printf("  %s is %.2f times as fast as %s\n", row->model, row->ratio, row[-1].model);
    }
    for (int i = 0; i < b->n_profile; i++)
        ka_profile_print(stdout, &b->profile[i]);
}

static enum ka_exit run(const void *settings, int n_word, char **words)
{
    (void)n_word, (void)words;
    const struct settings *s = settings;
    struct ka_measuring m = s->plan.measuring;
    if (m.csv && (m.json || s->plan.profile)) {
        ka_complain(&ka_verb_bench, "--csv and %s exclude each other", m.json ? "--json" : "--profile");
        return KA_USAGE;
    }
    struct ka_modelbench_plan plan = s->plan;
    plan.fill = s->fill >= 0;
    struct ka_modelbench b;
    kl_error err = {0};
    ka_catch_interrupts();
    kl_status status = ka_modelbench_run(&b, &plan, &err);
    bool measured = status == KL_OK && b.n_row > 0;
    if (measured)
        (m.json ? print_json : m.csv ? print_csv : print_table)(&b);
    ka_modelbench_free(&b);
    if (status != KL_OK)
        return ka_conclude(&ka_verb_bench, status, &err);
    return measured ? KA_FINE : KA_FAILED;
}

#define PLAN(x) .field = offsetof(struct settings, plan) + offsetof(struct ka_modelbench_plan, x)
static const struct ka_option options[] = {
    {.name = "prefill",
     .value = "LIST",
     .kind = KA_NUMBERS,
     PLAN(prefill),
     .min = 0,
     .max = 1 << 24,
     .help = "lengths of prompts, with commas between them; 0: none; default: 512"},
    {.name = "decode",
     .value = "LIST",
     .kind = KA_NUMBERS,
     PLAN(decode),
     .min = 0,
     .max = 1 << 24,
     .help = "tokens to generate; 0: none; default: 64"},
    {.name = "depth",
     .value = "LIST",
     .kind = KA_NUMBERS,
     PLAN(depth),
     .min = 0,
     .max = (int64_t)1 << 32,
     .help = "tokens that have been read before; K and M count 1024s; default: 0"},
    {.name = "fill",
     .value = "HOW",
     .kind = KA_WORD,
     .field = offsetof(struct settings, fill),
     .words = fill_name,
     .help = "random: make up the state of a depth instead of reading so far"},
    {.name = "batch",
     .value = "LIST",
     .kind = KA_NUMBERS,
     PLAN(batch),
     .min = 1,
     .max = 16,
     .help = "sequences that decode together; default: 1"},
    {.name = "compare",
     .value = "MODEL",
     .kind = KA_TEXT,
     PLAN(other),
     .help = "a second model, timed in turn with the first; prints the ratio"},
    {.name = "step",
     .value = "N",
     .kind = KA_NUMBER,
     PLAN(step),
     .min = 1,
     .max = 1 << 16,
     .help = "most tokens of a prompt that are read at once; default: 512"},
    {.name = "profile",
     .kind = KA_FLAG,
     PLAN(profile),
     .help = "watch one more sample of every case: time, bytes and operations\nby part of the model and by layer"},
    {.name = "Measuring", .kind = KA_GROUP, PLAN(measuring), .group = ka_measuring_options},
    {.name = "Model", .kind = KA_GROUP, PLAN(choice), .group = ka_choice_options},
    {0},
};

static const struct settings defaults = {
    .plan =
        {
            .choice = {.isa = 3},
            .prefill = {1, {512}},
            .decode = {1, {64}},
            .depth = {1, {0}},
            .batch = {1, {1}},
            .step = 512,
            .measuring = {.reps = 3},
        },
    .fill = -1,
};

const struct ka_verb ka_verb_bench = {
    .name = "bench",
    .summary = "how fast a model reads and writes, at every depth",
    .usage = "[-m MODEL] [options]",
    .text = "Times reading prompts and generating tokens, in rounds: every case once with each model, then all\n"
            "again.  A row holds medians: tokens a second; the time to the first token of a prompt; the most\n"
            "memory that the process held; the bytes of weights, states and latents that a token has to read\n"
            "(weights are shared by what is read together); and the fraction that is reached of the nearer one\n"
            "of two ceilings measured in the same run, multiply-adds and reading memory.",
    .options = options,
    .defaults = &defaults,
    .settings_bytes = sizeof defaults,
    .run = run,
};
