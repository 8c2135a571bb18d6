/* klinear bench train: how fast a model learns, against what this machine can multiply and add, and where time goes. */
#include "../cli/verb.h"
#include "ceilings.h"

#include "klinear/kl_train.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct settings {
    const char *preset, *config;
    int64_t tokens, length, passes, threads;
    bool muon, json, recompute;
};

enum { ROUNDS = 2 }; /* the length, and four times it */

/* What came out for one length. */
struct result {
    int64_t length;
    double flops;             /* of a token */
    double seconds;           /* median of a pass */
    double step_seconds;      /* of one step */
    double spent[KL_N_TIMED]; /* by operator, all passes and the step */
};

struct bench {
    const struct settings *s;
    kl_config c;
    kl_pool *pool;
    kl_backend *be;
    kl_trainer *trainer;
    struct ka_ceilings ceilings;
    int ceiling;
    int32_t *token, *label;
    int64_t *cu, memory;
    struct result result[ROUNDS];
};

static kl_status open_bench(struct bench *b, kl_error *err)
{
    const struct settings *s = b->s;
    kl_status status = s->config ? kl_config_read(&b->c, s->config, NULL, err)
                                 : kl_config_preset(&b->c, s->preset ? s->preset : "tiny", err);
    if (status == KL_OK)
        status = kl_pool_open(&b->pool, (int)s->threads, NULL, err);
    if (status == KL_OK)
        status = kl_backend_open(&b->be, &(kl_backend_options){.pool = b->pool}, err);
    if (status != KL_OK)
        return status;
    uint8_t all[KL_MAX_LAYERS];
    memset(all, 1, sizeof all);
    kl_trainer_options o = {.config = &b->c,
                            .backend = b->be,
                            .max_tokens = s->tokens,
                            .max_seqs = s->tokens,
                            .recompute = s->recompute ? all : NULL,
                            .optimiser = s->muon ? KL_OPTIMISER_MUON : KL_OPTIMISER_ADAMW};
    status = kl_trainer_memory(&b->memory, &o, err);
    if (status == KL_OK)
        status = kl_trainer_open(&b->trainer, &o, err);
    if (status == KL_OK)
        kl_trainer_init(b->trainer, 1);
    b->token = malloc((size_t)s->tokens * sizeof *b->token);
    b->label = malloc((size_t)s->tokens * sizeof *b->label);
    b->cu = malloc((size_t)(s->tokens + 1) * sizeof *b->cu);
    if (status == KL_OK && (!b->token || !b->label || !b->cu)) {
        snprintf(err->text, sizeof err->text, "no memory for %lld tokens", (long long)s->tokens);
        status = err->status = KL_ERR_MEMORY;
    }
    for (int64_t i = 0; status == KL_OK && i < s->tokens; i++) {
        b->token[i] = (int32_t)(i * 7919 % b->c.n_vocab);
        b->label[i] = (int32_t)(i * 6271 % b->c.n_vocab);
    }
    b->ceiling = ka_want_ceiling(&b->ceilings, KA_FMA_F32, kl_backend_isa(b->be), b->pool, 0);
    return status;
}

static void close_bench(struct bench *b)
{
    ka_free_ceilings(&b->ceilings);
    free(b->token);
    free(b->label);
    free(b->cu);
    kl_trainer_close(b->trainer);
    kl_backend_close(b->be);
    kl_pool_close(b->pool);
}

static kl_batch batch_of(struct bench *b, int64_t length)
{
    int64_t n = b->s->tokens, n_seq = 0;
    b->cu[0] = 0;
    while (b->cu[n_seq] < n) {
        n_seq++;
        b->cu[n_seq] = b->cu[n_seq - 1] + length < n ? b->cu[n_seq - 1] + length : n;
    }
    return (kl_batch){
        .token = b->token, .label = b->label, .n_token = n, .cu_seqlens = b->cu, .n_seq = n_seq, .weight = 1e-4F};
}

/* The first pass is not timed; the ceiling is sampled between the others, so that noise meets both. */
static kl_status measure(struct bench *b, struct result *r, kl_error *err)
{
    double sample[KA_SAMPLES];
    int64_t n = b->s->passes < KA_SAMPLES ? b->s->passes : KA_SAMPLES;
    kl_batch batch = batch_of(b, r->length);
    kl_loss loss;
    kl_step_report report;
    kl_status status = kl_trainer_backward(b->trainer, &batch, &loss, err);
    kl_trainer_watch(b->trainer, r->spent);
    for (int64_t i = 0; i < n && status == KL_OK; i++) {
        ka_sample_ceilings(&b->ceilings, 0.05);
        double started = ka_seconds();
        status = kl_trainer_backward(b->trainer, &batch, &loss, err);
        sample[i] = ka_seconds() - started;
    }
    double started = ka_seconds();
    if (status == KL_OK)
        status = kl_trainer_step(b->trainer, &(kl_step_options){.lr = 1e-6F}, &report, err);
    r->step_seconds = ka_seconds() - started;
    r->seconds = ka_median(sample, (int)n);
    r->flops = kl_config_train_flops(&b->c, r->length);
    kl_trainer_watch(b->trainer, NULL);
    return status;
}

/* ------------------------------------------------------------------------------------------------------- results -- */

static double gflops_of(const struct bench *b, const struct result *r)
{
    return r->flops * (double)b->s->tokens / r->seconds * 1e-9;
}

/* Beside each, what it takes in sequences four times as long, where there are any. */
static void print_operators(const struct bench *b, const struct result *r, const struct result *longer)
{
    double sum = 0, shown = 0;
    bool both = longer->length > r->length;
    for (int i = 0; i < KL_N_TIMED; i++)
        sum += r->spent[i];
    printf("\n  %-20s %10s %8s", "operator", "ms a pass", "part");
    if (both)
        printf("   at length %lld", (long long)longer->length);
    putchar('\n');
    for (int i = 0; i < KL_N_TIMED; i++) {
        int most = -1;
        for (int j = 0; j < KL_N_TIMED; j++) /* those that took longest first */
            if (r->spent[j] > 0 && (shown == 0 || r->spent[j] < shown) && (most < 0 || r->spent[j] > r->spent[most]))
                most = j;
        if (most < 0)
            break;
        shown = r->spent[most];
        printf("  %-20s %10.2f %6.1f %%", kl_timed_name(most), 1e3 * shown / (double)b->s->passes, 100 * shown / sum);
        if (both)
            printf(" %12.2f", 1e3 * longer->spent[most] / (double)b->s->passes);
        putchar('\n');
    }
}

static void print_text(const struct bench *b)
{
    double ceiling = ka_ceiling_value(&b->ceilings, b->ceiling);
    printf("%d layers, width %d, %d threads, %s; passes of %lld tokens; %.0f MiB\n", b->c.n_layer, b->c.n_embd,
           kl_pool_threads(b->pool), kl_backend_isa(b->be), (long long)b->s->tokens, (double)b->memory / 1048576);
    printf("multiply-adds of f32: %.1f GFLOP/s\n\n", ceiling);
    printf("  %8s %12s %14s %12s %12s %10s\n", "length", "tokens/s", "MFLOP a token", "GFLOP/s", "of ceiling",
           "step, ms");
    for (int i = 0; i < ROUNDS; i++) {
        const struct result *r = &b->result[i];
        printf("  %8lld %12.0f %14.2f %12.1f %10.1f %% %10.1f\n", (long long)r->length,
               (double)b->s->tokens / r->seconds, r->flops * 1e-6, gflops_of(b, r), 100 * gflops_of(b, r) / ceiling,
               1e3 * r->step_seconds);
    }
    print_operators(b, &b->result[0], &b->result[1]);
}

static void print_json(const struct bench *b)
{
    struct ka_json j = {.out = stdout};
    struct ka_machine machine = ka_machine(0);
    double ceiling = ka_ceiling_value(&b->ceilings, b->ceiling);
    ka_json_open(&j, NULL, '{');
    ka_json_open(&j, "machine", '{');
    ka_machine_json(&j, &machine);
    ka_json_close(&j, '}');
    ka_json_open(&j, "rows", '[');
    for (int i = 0; i < ROUNDS; i++) {
        const struct result *r = &b->result[i];
        ka_json_open(&j, NULL, '{');
        ka_json_integer(&j, "length", r->length);
        ka_json_integer(&j, "tokens", b->s->tokens);
        ka_json_integer(&j, "threads", kl_pool_threads(b->pool));
        ka_json_number(&j, "tokens_per_second", (double)b->s->tokens / r->seconds);
        ka_json_number(&j, "flops_per_token", r->flops);
        ka_json_number(&j, "gflops", gflops_of(b, r));
        ka_json_number(&j, "ceiling_gflops", ceiling);
        ka_json_number(&j, "fraction_of_ceiling", gflops_of(b, r) / ceiling);
        ka_json_number(&j, "step_seconds", r->step_seconds);
        ka_json_integer(&j, "bytes", b->memory);
        ka_json_open(&j, "seconds", '{');
        for (int k = 0; k < KL_N_TIMED; k++)
            if (r->spent[k] > 0)
                ka_json_number(&j, kl_timed_name(k), r->spent[k] / (double)b->s->passes);
        ka_json_close(&j, '}');
        ka_json_close(&j, '}');
    }
    ka_json_close(&j, ']');
    ka_json_close(&j, '}');
    putchar('\n');
}

static enum ka_exit run(const void *settings, int n_word, char **words)
{
    (void)n_word, (void)words;
    const struct settings *s = settings;
    struct bench b = {.s = s};
    kl_error err = {0};
    if (s->preset && s->config) {
        ka_complain(&ka_verb_bench_train, "expected one of --preset and --config");
        return KA_USAGE;
    }
    kl_status status = open_bench(&b, &err);
    for (int i = 0; i < ROUNDS && status == KL_OK; i++) {
        b.result[i].length = s->length << 2 * i < s->tokens ? s->length << 2 * i : s->tokens;
        status = measure(&b, &b.result[i], &err);
    }
    if (status == KL_OK && s->json)
        print_json(&b);
    else if (status == KL_OK)
        print_text(&b);
    close_bench(&b);
    return ka_conclude(&ka_verb_bench_train, status, &err);
}

static const struct ka_option options[] = {
    {.name = "preset",
     .value = "NAME",
     .kind = KA_TEXT,
     .field = offsetof(struct settings, preset),
     .help = "geometry, as klinear init knows them; default: tiny"},
    {.name = "config",
     .value = "FILE",
     .kind = KA_TEXT,
     .field = offsetof(struct settings, config),
     .help = "geometry out of a config.json, or of a model"},
    {.name = "tokens",
     .value = "N",
     .kind = KA_NUMBER,
     .field = offsetof(struct settings, tokens),
     .min = 16,
     .max = 1 << 20,
     .help = "tokens of a pass; default: 4096"},
    {.name = "length",
     .value = "N",
     .kind = KA_NUMBER,
     .field = offsetof(struct settings, length),
     .min = 1,
     .max = 1 << 20,
     .help = "of the sequences; four times that is measured as well; default: 512"},
    {.name = "passes",
     .value = "N",
     .kind = KA_NUMBER,
     .field = offsetof(struct settings, passes),
     .min = 1,
     .max = KA_SAMPLES,
     .help = "timed passes, of which the median counts; default: 5"},
    {.name = "threads",
     .letter = 't',
     .value = "N",
     .kind = KA_NUMBER,
     .field = offsetof(struct settings, threads),
     .min = 0,
     .max = 1024,
     .help = "0, the default: one per core"},
    {.name = "muon", .kind = KA_FLAG, .field = offsetof(struct settings, muon), .help = "step with Muon, not AdamW"},
    {.name = "recompute",
     .kind = KA_FLAG,
     .field = offsetof(struct settings, recompute),
     .help = "keep no records of layers, compute them again"},
    {.name = "json", .kind = KA_FLAG, .field = offsetof(struct settings, json), .help = "print JSON"},
    {0},
};

static const struct settings defaults = {.tokens = 4096, .length = 512, .passes = 5};

const struct ka_verb ka_verb_bench_train = {
    .name = "bench train",
    .summary = "measure how fast a model learns, and where the time goes",
    .usage = "[--preset NAME | --config FILE] [options]",
    .text = "Times forward and backward passes of a model with random weights, compares the operations that the\n"
            "model needs with the multiply-adds that this machine can do, measured in between, and shows which\n"
            "operators took how long.  Does so for sequences of the given length, and of four times that.",
    .options = options,
    .defaults = &defaults,
    .settings_bytes = sizeof defaults,
    .run = run,
};
