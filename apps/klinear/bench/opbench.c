/* All variants of one geometry (heads and dim) share a stage and are timed in rounds: one sample of each, then again,
 * so that whatever else the machine does meets all of them alike; what counts is the median over the rounds.  The
 * ceilings are sampled in the same rounds. */
#include "opbench.h"

#include "../cli/verb.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *const ka_isa_name[] = {"ref", "avx2", "avx512", "native", NULL};
const char *const ka_dtype_word[] = {"f32", "bf16", NULL};

struct ka_engine {
    kl_pool *pool;
    kl_backend *backend;
};

/* One row in the making. */
struct variant {
    struct ka_case c;
    const struct ka_engine *engine;
    union ka_call call;
    struct ka_cost cost;
    size_t work_bytes;
    int ceiling;  /* of its bytes, in the set; -1: that of a level */
    int64_t n;    /* calls per sample; 0: left out */
    bool warm_up; /* a call before the sample brings its memory near; not for long calls */
    int n_sample;
    double sample[KA_SAMPLES]; /* seconds per call */
};

struct group {
    struct ka_opbench *bench;
    const struct ka_opbench_plan *plan;
    struct ka_stage stage;
    struct variant *at;
    int n, room;
    kl_workspace work;
};

/* ---- planning */

static bool open_engines(struct ka_opbench *b, const struct ka_opbench_plan *plan, kl_error *err)
{
    b->engine = calloc((size_t)(plan->isa.n * plan->threads.n), sizeof *b->engine);
    for (int i = 0; b->engine && i < plan->isa.n; i++)
        for (int t = 0; t < plan->threads.n; t++) {
            struct ka_engine *e = &b->engine[b->n_engine++];
            if (kl_pool_open(&e->pool, (int)plan->threads.at[t], NULL, err) != KL_OK)
                return false;
            kl_backend_options options = {.isa = ka_isa_name[plan->isa.at[i]], .pool = e->pool};
            if (kl_backend_open(&e->backend, &options, err) != KL_OK)
                return false;
            ka_want_all_ceilings(&b->ceilings, &b->machine, kl_backend_isa(e->backend), e->pool);
        }
    return b->engine != NULL;
}

static void left_out(const struct ka_case *c, const char *why)
{
    ka_complain(&ka_verb_bench_ops, "%s %s %s T %lld is left out: %s", c->op->name, ka_pass_name[c->pass],
                kl_dtype_name(c->dtype), (long long)c->T, why);
}

/* Memory that may still be used: half of what is free, so that nothing is swapped and neighbours live. */
static size_t budget(const struct ka_opbench *b)
{
    size_t half = ka_machine(0).memory_free_bytes / 2;
    size_t later = b->ceilings.memory_bytes - b->ceilings.allocated_bytes;
    return half > later ? half - later : 0;
}

/* A step is held against the memory that its state or cache lies in, at its very size; what is beyond the caches is as
 * fast at any size. */
static void want_ceiling(struct ka_opbench *b, struct variant *v)
{
    const struct ka_engine *e = v->engine;
    size_t bytes = (size_t)v->cost.bytes / (v->cost.updates ? 2 : 1);
    size_t least = (size_t)4096 * (size_t)kl_pool_threads(e->pool);
    size_t most = ka_level_bytes(&b->machine, KA_DRAM, kl_pool_threads(e->pool));
    bytes = bytes < least ? least : bytes > most ? most : bytes;
    v->ceiling = ka_want_ceiling(&b->ceilings, v->cost.updates ? KA_UPDATE : KA_READ, kl_backend_isa(e->backend),
                                 e->pool, bytes);
}

static bool add_variant(struct group *g, const struct ka_case *c, const struct ka_engine *engine)
{
    if (g->n == g->room) {
        int room = 2 * g->room + 16;
        struct variant *more = realloc(g->at, (size_t)room * sizeof *more);
        if (!more)
            return false;
        g->at = more;
        g->room = room;
    }
    struct variant *v = &g->at[g->n];
    *v = (struct variant){.c = *c, .engine = engine, .ceiling = -1};
    v->work_bytes = c->op->prepare(&g->stage, c, engine->backend, &v->call);
    if (g->stage.failed || v->work_bytes > g->stage.budget - g->stage.bytes) {
        left_out(c, "it needs more memory than half of what is free");
        g->stage.failed = false;
        return true;
    }
    v->cost = c->op->cost(&g->stage, c);
    if (c->pass == KA_STEP)
        want_ceiling(g->bench, v);
    if (v->work_bytes > g->work.bytes)
        g->work.bytes = v->work_bytes;
    g->n++;
    return true;
}

/* Whether entry t of --T and entry c of --chunk make a case of their own.  Token by token nothing is kept. */
static bool is_new(const struct ka_opbench_plan *p, const struct ka_timed *op, enum ka_pass pass, int t, int c)
{
    bool step = pass == KA_STEP, by_chunk = pass == KA_KEEPING || pass == KA_KEPT;
    return (op->passes & 1u << pass) && (t == 0 || !step || op->has_cache) && (c == 0 || (op->has_chunk && !step)) &&
           (!by_chunk || p->chunk.at[c] > 1);
}

static bool add_cases(struct group *g, const struct ka_timed *op, enum ka_pass pass, kl_dtype dtype)
{
    const struct ka_opbench_plan *p = g->plan;
    int64_t rows = 1;
    for (int t = 0; t < p->T.n; t++)
        rows = p->T.at[t] > rows ? p->T.at[t] : rows;
    bool only_steps = p->pass.n == 1 && pass == KA_STEP;
    for (int t = 0; t < p->T.n; t++)
        for (int i = 0; i < p->chunk.n; i++)
            for (int e = 0; e < g->bench->n_engine && is_new(p, op, pass, t, i); e++) {
                struct ka_case c = {.op = op,
                                    .pass = pass,
                                    .dtype = dtype,
                                    .T = p->T.at[t],
                                    .rows = only_steps && !op->has_cache ? 1 : rows,
                                    .chunk = (int)p->chunk.at[i]};
                if (!add_variant(g, &c, &g->bench->engine[e]))
                    return false;
            }
    return true;
}

static bool wanted(const struct ka_list *ops, int index, const struct ka_timed *op)
{
    if (ops->n == 0)
        return op->main;
    for (int i = 0; i < ops->n; i++)
        if (ops->at[i] == index || strcmp(ka_timed_name[ops->at[i]], "all") == 0)
            return true;
    return false;
}

static bool plan_group(struct group *g)
{
    const struct ka_opbench_plan *p = g->plan;
    const struct ka_timed *op;
    for (int i = 0; (op = ka_timed_at(i)); i++)
        for (int pass = 0; pass < p->pass.n && wanted(&p->op, i, op); pass++)
            for (int d = 0; d < p->dtype.n; d++)
                if (!add_cases(g, op, (enum ka_pass)p->pass.at[pass], p->dtype.at[d] ? KL_BF16 : KL_F32))
                    return false;
    g->work.data = ka_alloc(g->work.bytes);
    return g->work.data != NULL;
}

/* ---- timing */

static kl_status call(struct group *g, struct variant *v, kl_error *err)
{
    return v->c.op->run(&v->c, v->engine->backend, &v->call, g->work, err);
}

/* Whether an operator has been found missing on a variant before `v`. */
static bool is_missing(const struct group *g, const struct variant *v)
{
    for (const struct variant *w = g->at; w < v; w++)
        if (w->n == 0 && w->c.op == v->c.op && w->c.pass == v->c.pass && w->c.dtype == v->c.dtype)
            return true;
    return false;
}

/* The first calls: finds out how many make a sample.  false: a failure that is not "not available here". */
static bool try_out(struct group *g, struct variant *v, kl_error *err)
{
    double before = ka_seconds();
    kl_status status = call(g, v, err);
    if (status == KL_ERR_UNSUPPORTED) {
        if (!is_missing(g, v))
            left_out(&v->c, err->text);
        return true;
    }
    if (status == KL_OK) {
        before = ka_seconds();
        status = call(g, v, err);
    }
    double seconds = fmax(ka_seconds() - before, 1e-7);
    v->n = (int64_t)fmax(1, ceil(1e-3 * (double)g->plan->sample_ms / seconds));
    v->warm_up = seconds < 20e-3;
    return status == KL_OK;
}

static bool take_sample(struct group *g, struct variant *v, kl_error *err)
{
    bool fine = !v->warm_up || call(g, v, err) == KL_OK;
    double before = ka_seconds();
    for (int64_t i = 0; fine && i < v->n; i++)
        fine = call(g, v, err) == KL_OK;
    v->sample[v->n_sample++] = (ka_seconds() - before) / (double)v->n;
    return fine;
}

static void show_progress(const struct group *g, int round, int i)
{
    const struct variant *v = &g->at[i];
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r\033[Kround %d of %lld, %d of %d: %s %s %s T %lld", round + 1,
                (long long)g->plan->measuring.reps, i + 1, g->n, v->c.op->name, ka_pass_name[v->c.pass],
                kl_dtype_name(v->c.dtype), (long long)v->c.T);
}

static bool time_group(struct group *g, kl_error *err)
{
    for (int i = 0; i < g->n; i++)
        if (!try_out(g, &g->at[i], err))
            return false;
    for (int round = 0; round < g->plan->measuring.reps; round++) {
        if (!ka_sample_ceilings(&g->bench->ceilings, 3e-3)) {
            snprintf(err->text, sizeof err->text, "no memory of %zu bytes for the ceilings",
                     g->bench->ceilings.memory_bytes);
            return false;
        }
        for (int i = 0; i < g->n; i++) {
            show_progress(g, round, i);
            if (g->at[i].n && !take_sample(g, &g->at[i], err))
                return false;
        }
    }
    if (isatty(STDERR_FILENO))
        fputs("\r\033[K", stderr);
    return true;
}

/* ---- rows */

static struct ka_row row_of(struct group *g, struct variant *v)
{
    const struct ka_opbench *b = g->bench;
    const char *isa = kl_backend_isa(v->engine->backend);
    bool step = v->c.pass == KA_STEP;
    double seconds = ka_median(v->sample, v->n_sample);
    struct ka_row row = {
        .op = v->c.op->name,
        .pass = ka_pass_name[v->c.pass],
        .isa = isa,
        .dtype = kl_dtype_name(v->c.dtype),
        .T = step && !v->c.op->has_cache ? 1 : v->c.T,
        .heads = g->stage.heads,
        .chunk = !v->c.op->has_chunk ? 0
                 : step              ? 1
                                     : v->c.chunk,
        .threads = kl_pool_threads(v->engine->pool),
        .ns_per_token_head = 1e9 * seconds / ((double)v->cost.tokens * (double)g->stage.heads),
        .gflops = 1e-9 * v->cost.flops / seconds,
        .gbps = 1e-9 * v->cost.bytes / seconds,
        .ceiling_gflops = ka_compute_value(&b->ceilings, isa, v->engine->pool, v->c.dtype),
    };
    v->c.op->head(g->stage.dim, &row.K, &row.V);
    enum ka_level level = ka_level_of(&b->machine, (size_t)v->cost.bytes, (int)row.threads);
    row.ceiling_gbps = v->ceiling >= 0
                           ? ka_ceiling_value(&b->ceilings, v->ceiling)
                           : ka_level_value(&b->ceilings, &b->machine, KA_READ, isa, v->engine->pool, level);
    row.fraction_of_ceiling = fmax(row.gflops / row.ceiling_gflops, row.gbps / row.ceiling_gbps);
    return row;
}

static bool keep_rows(struct group *g)
{
    struct ka_opbench *b = g->bench;
    struct ka_row *more = realloc(b->row, (size_t)(b->n_row + g->n + 1) * sizeof *more);
    if (!more)
        return false;
    b->row = more;
    for (int i = 0; i < g->n; i++)
        if (g->at[i].n)
            b->row[b->n_row++] = row_of(g, &g->at[i]);
    return true;
}

static bool run_group(struct ka_opbench *b, const struct ka_opbench_plan *plan, int64_t heads, int64_t dim,
                      kl_error *err)
{
    struct group g = {.bench = b, .plan = plan};
    g.stage = (struct ka_stage){.heads = heads, .dim = dim, .budget = budget(b)};
    bool fine = plan_group(&g);
    if (!fine)
        snprintf(err->text, sizeof err->text, "out of memory");
    fine = fine && time_group(&g, err) && keep_rows(&g);
    ka_stage_free(&g.stage);
    ka_free(g.work.data, g.work.bytes);
    free(g.at);
    return fine;
}

bool ka_opbench_run(struct ka_opbench *b, const struct ka_opbench_plan *plan, kl_error *err)
{
    b->machine = ka_machine(plan->measuring.dram_mib);
    if (!open_engines(b, plan, err))
        return false;
    for (int h = 0; h < plan->heads.n; h++)
        for (int d = 0; d < plan->dim.n; d++)
            if (!run_group(b, plan, plan->heads.at[h], plan->dim.at[d], err))
                return false;
    return true;
}

void ka_opbench_machine_json(struct ka_json *j, const struct ka_opbench *b)
{
    ka_machine_json(j, &b->machine);
    ka_json_open(j, "ceilings", '[');
    for (int i = 0; i < b->n_engine; i++)
        ka_ceilings_json(j, &b->ceilings, &b->machine, kl_backend_isa(b->engine[i].backend), b->engine[i].pool);
    ka_json_close(j, ']');
}

void ka_opbench_machine_text(FILE *out, const struct ka_opbench *b)
{
    fprintf(out, "%s\n", b->machine.processor);
    for (int i = 0; i < b->n_engine; i++)
        ka_ceilings_text(out, &b->ceilings, &b->machine, kl_backend_isa(b->engine[i].backend), b->engine[i].pool);
    fputc('\n', out);
}

void ka_opbench_free(struct ka_opbench *b)
{
    ka_free_ceilings(&b->ceilings);
    for (int i = 0; i < b->n_engine; i++) {
        kl_backend_close(b->engine[i].backend);
        kl_pool_close(b->engine[i].pool);
    }
    free(b->engine);
    free(b->row);
}
