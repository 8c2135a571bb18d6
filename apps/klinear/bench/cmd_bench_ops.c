/* klinear bench ops: how fast the operators are, next to what the machine could do. */
#include "../cli/verb.h"
#include "opbench.h"

struct settings {
    struct ka_opbench_plan plan;
};

static void print_json(const struct ka_opbench *b)
{
    struct ka_json j = {.out = stdout};
    ka_json_open(&j, NULL, '{');
    ka_json_open(&j, "machine", '{');
    ka_opbench_machine_json(&j, b);
    ka_json_close(&j, '}');
    ka_json_open(&j, "rows", '[');
    for (int i = 0; i < b->n_row; i++)
        ka_json_row(&j, ka_row_fields, &b->row[i]);
    ka_json_close(&j, ']');
    ka_json_close(&j, '}');
}

static void print_lines(const struct ka_opbench *b, bool csv)
{
    if (!csv)
        ka_opbench_machine_text(stdout, b);
    (csv ? ka_csv_head : ka_table_head)(stdout, ka_row_fields);
    for (int i = 0; i < b->n_row; i++)
        (csv ? ka_csv_row : ka_table_row)(stdout, ka_row_fields, &b->row[i]);
}

static enum ka_exit run(const void *settings, int n_word, char **words)
{
    (void)n_word, (void)words;
    const struct settings *s = settings;
    struct ka_measuring m = s->plan.measuring;
    if (m.csv && m.json) {
        ka_complain(&ka_verb_bench_ops, "--csv and --json exclude each other");
        return KA_USAGE;
    }
    struct ka_opbench b = {0};
    kl_error err = {0};
    bool fine = ka_opbench_run(&b, &s->plan, &err);
    if (!fine)
        ka_complain(&ka_verb_bench_ops, "%s", err.text);
    else if (m.json)
        print_json(&b);
    else
        print_lines(&b, m.csv);
    fine = fine && b.n_row > 0;
    ka_opbench_free(&b);
    return fine ? KA_FINE : KA_FAILED;
}

#define PLAN(x) .field = offsetof(struct settings, plan) + offsetof(struct ka_opbench_plan, x)
static const struct ka_option options[] = {
    {.name = "op",
     .value = "LIST",
     .kind = KA_WORDS,
     PLAN(op),
     .words = ka_timed_name,
     .help = "operators, with commas between them; all: every one there is;\n"
             "default: those that mix tokens (kda .. mla)"},
    {.name = "pass",
     .value = "LIST",
     .kind = KA_WORDS,
     PLAN(pass),
     .words = ka_pass_name,
     .help = "forward, backward, step (one token); of recurrences also forward-keeping and\n"
             "backward-kept: as training runs them, with states and errors kept between\n"
             "the two, where backward computes them again; default: all of them"},
    {.name = "T",
     .value = "LIST",
     .kind = KA_NUMBERS,
     PLAN(T),
     .min = 1,
     .max = 1 << 24,
     .help = "tokens, or rows of the cache for a step of softmax and mla;\nK and M count 1024s; default: 2048"},
    {.name = "heads",
     .value = "LIST",
     .kind = KA_NUMBERS,
     PLAN(heads),
     .min = 1,
     .max = 1 << 20,
     .help = "default: 16"},
    {.name = "dim",
     .value = "LIST",
     .kind = KA_NUMBERS,
     PLAN(dim),
     .min = 1,
     .max = KA_MAX_DIM,
     .help = "size of a head, of keys and of values; default: 128"},
    {.name = "chunk",
     .value = "LIST",
     .kind = KA_NUMBERS,
     PLAN(chunk),
     .min = 1,
     .max = 64,
     .help = "tokens per chunk: 8, 16, 32, 64, or 1 for token by token; default: 16"},
    {.name = "isa",
     .value = "LIST",
     .kind = KA_WORDS,
     PLAN(isa),
     .words = ka_isa_name,
     .help = "highest instruction sets to use: ref (plain C), avx2, avx512, native;\ndefault: native"},
    {.name = "threads",
     .value = "LIST",
     .kind = KA_NUMBERS,
     PLAN(threads),
     .min = 1,
     .max = 1024,
     .help = "default: 1"},
    {.name = "dtype",
     .value = "LIST",
     .kind = KA_WORDS,
     PLAN(dtype),
     .words = ka_dtype_word,
     .help = "f32, bf16 (tensors, and operands where the machine is faster with them);\ndefault: f32"},
    {.name = "sample-ms",
     .value = "N",
     .kind = KA_NUMBER,
     PLAN(sample_ms),
     .min = 0,
     .max = 10000,
     .help = "repeat a call for so long to make a sample; default: 10"},
    {.name = "Measuring", .kind = KA_GROUP, PLAN(measuring), .group = ka_measuring_options},
    {0},
};

static const struct settings defaults = {
    .plan =
        {
            .pass = {KA_PASSES, {KA_FORWARD, KA_BACKWARD, KA_KEEPING, KA_KEPT, KA_STEP}},
            .isa = {1, {3}},
            .dtype = {1, {0}},
            .T = {1, {2048}},
            .heads = {1, {16}},
            .dim = {1, {128}},
            .chunk = {1, {16}},
            .threads = {1, {1}},
            .measuring = {.reps = 7},
            .sample_ms = 10,
        },
};

const struct ka_verb ka_verb_bench_ops = {
    .name = "bench ops",
    .summary = "how fast the operators are, next to what the machine could do",
    .usage = "[options]",
    .text = "Times every combination of the lists that makes sense, in rounds: each variant once, then all again.\n"
            "A row holds medians: ns per token and head; GFLOP/s, counted in the operations of the definition\n"
            "(7 K V per token and head for KDA forward, and for DPLR as well, so that GFLOP/s compare as times\n"
            "do); GB/s of its tensors, or for a step of its state, read and written, or of its cache, read; the\n"
            "ceilings of both, measured in the same rounds; and the fraction that is reached of the nearer one.",
    .options = options,
    .defaults = &defaults,
    .settings_bytes = sizeof defaults,
    .run = run,
};
