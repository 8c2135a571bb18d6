/* Gradients of the general DPLR rule, by chunks: as kda_bwd.c, but there is nothing around the recurrence. */
#include "base/memory.h"
#include "base/pool.h"
#include "cpu/columns.h"
#include "cpu/cpu_backend.h"
#include "cpu/dplr_stage.h"
#include "cpu/heads.h"
#include "cpu/replay.h"
#include "cpu/slabs.h"
#include "ops/recurrence.h"

#include <string.h>

struct job {
    const struct kl__kernels *k;
    const kl_dplr_bwd_args *a;
    const kl_dplr_args *f;
    struct kl__dplr_shape s;
    struct kl__replay_plan plan;
};

/* Scratch of one thread. */
struct scratch {
    struct kl__dplr_stage stage[KL__REPLAY_BLOCK]; /* of the chunks of a block; the first also on the way forwards */
    struct kl__dplr_chunk_bwd grad;
    struct kl__replay_memory replay;
    float *y;             /* [block][chunk][Vp] what the chunks of a block read */
    float *D;             /* [plan.n_head][n_slab][K][KL_SLAB] */
    float *v;             /* [block][chunk][Vp] */
    float *d_o, *d_v;     /* [chunk][Vp] */
};

/* Heads of one sequence that take turns. */
struct heads {
    const struct job *job;
    struct scratch *x;
    int64_t seq, first; /* the first of them */
    int64_t start;      /* first token of the sequence */
};

/* One scratch after the other; the last one is left in x. */
static size_t carve_scratch(struct kl__carver *c, const struct job *job, int n_thread, struct scratch *x)
{
    const struct kl__dplr_shape *s = &job->s;
    size_t Vp = (size_t)kl__columns_ld(s->V), rows = (size_t)s->chunk * (size_t)s->ld;
    size_t pairs = (size_t)s->chunk * KL_CHUNK_MAX;
    struct kl__dplr_chunk_bwd *g = &x->grad;
    for (int i = 0; i < n_thread; i++) {
        for (int j = 0; j < job->plan.block; j++)
            kl__dplr_stage_carve(c, s, &x->stage[j]);
        kl__replay_carve(c, &job->plan, &x->replay);
        float **const row_arrays[] = {&g->dqd, &g->dbd, &g->dku, &g->dau, &g->dq, &g->dk, &g->da, &g->db, &g->dg};
        for (size_t j = 0; j < sizeof row_arrays / sizeof *row_arrays; j++)
            *row_arrays[j] = kl__carve(c, rows, sizeof(float));
        float **const pair_arrays[] = {&g->dAbk, &g->dAba, &g->dAqk, &g->dAqa};
        for (size_t j = 0; j < sizeof pair_arrays / sizeof *pair_arrays; j++)
            *pair_arrays[j] = kl__carve(c, pairs, sizeof(float));
        g->dgamma = kl__carve(c, (size_t)s->ld, sizeof(float));
        g->scratch = kl__carve(c, kl__dplr_bwd_scratch(s->chunk, s->ld, kl__n_slab(s->V)), sizeof(float));
        x->y = kl__carve(c, (size_t)job->plan.block * (size_t)s->chunk * Vp, sizeof(float));
        x->v = kl__carve(c, (size_t)job->plan.block * (size_t)s->chunk * Vp, sizeof(float));
        x->D = kl__carve(c, (size_t)job->plan.n_head * (size_t)s->K * Vp, sizeof(float));
        float **const value_arrays[] = {&x->d_o, &x->d_v};
        for (size_t j = 0; j < sizeof value_arrays / sizeof *value_arrays; j++)
            *value_arrays[j] = kl__carve(c, (size_t)s->chunk * Vp, sizeof(float));
    }
    return kl__carver_need(c);
}

static struct kl__columns all_columns(const struct kl__dplr_shape *s)
{
    return (struct kl__columns){0, kl__n_slab(s->V), 0, s->V};
}

static float *state_of(const struct job *job, kl_tensor state, int64_t seq, int64_t head)
{
    return kl__present(state) ? (float *)kl__row(state, seq) + head * job->s.K * job->s.V : NULL;
}

static float *adjoint_of(const struct heads *h, int head)
{
    return h->x->D + (size_t)head * h->job->plan.state_floats;
}

static void load_state(void *ctx, int head, float *state, int64_t t)
{
    const struct heads *h = ctx;
    const struct kl__dplr_shape *s = &h->job->s;
    (void)t; /* always 0: no states inside sequences are given */
    kl__slabs_load(state, state_of(h->job, h->job->f->state_in, h->seq, h->first + head), h->job->f->state_layout,
                   s->K, s->V, 0, kl__n_slab(s->V));
}

static float *readings(const struct heads *h, int i)
{
    return h->x->y + (ptrdiff_t)i * h->job->s.chunk * kl__columns_ld(h->job->s.V);
}

static void add_present(struct kl__ahead *x, kl_tensor rows, int64_t t0, int n, int64_t head)
{
    if (kl__present(rows))
        kl__ahead_add(x, rows, t0, n, head, 0, rows.dim[2]);
}

/* Adds the rows that chunk `c` will be the first to read or write; see kda_bwd.c. */
static void add_rows(struct kl__ahead *x, const struct heads *h, const struct kl__replay_chunk *c)
{
    if (!c || c->told)
        return;
    const kl_dplr_bwd_args *a = h->job->a;
    const kl_dplr_args *f = h->job->f;
    const kl_tensor read[] = {f->g, f->b, f->q, f->k, f->a, f->v};
    const kl_tensor written[] = {a->d_o, a->d_v, a->d_q, a->d_k, a->d_a, a->d_b, a->d_g};
    bool back = c->what == KL__REPLAY_BACKWARD;
    for (size_t i = 0; back && i < sizeof written / sizeof *written; i++)
        add_present(x, written[i], h->start + c->t, c->n, h->first + c->head);
    for (size_t i = 0; !back && i < sizeof read / sizeof *read; i++)
        add_present(x, read[i], h->start + c->t, c->n, h->first + c->head);
}

/* Rows of v are copied, as the keys are, for the way back. */
static const float *copy_values(const struct heads *h, const struct kl__replay_chunk *c)
{
    ptrdiff_t ld = kl__columns_ld(h->job->s.V);
    float *v = h->x->v + (ptrdiff_t)c->i * h->job->s.chunk * ld;
    kl__head_rows(h->job->k, v, ld, h->job->f->v, h->start + c->t, c->n, h->first + c->head);
    return v;
}

/* Runs the chunk: on the way forwards `state` in place; else from `before` to `state`, keeping what the tokens read. */
static void run_chunk(const struct heads *h, float *state, const float *before, const struct kl__replay_chunk *c,
                      const struct kl__replay_chunk *next)
{
    const struct job *job = h->job;
    struct kl__dplr_stage *stage = &h->x->stage[c->i];
    int n_slab = kl__n_slab(job->s.V);
    ptrdiff_t ld = kl__columns_ld(job->s.V);
    struct kl__ahead ahead = {0};
    add_rows(&ahead, h, next);
    kl__ahead_spread(&ahead, kl__slabs_fetches(c->n, job->s.K, n_slab));
    kl__dplr_stage_chunk(job->k, job->f, &job->s, stage, h->start + c->t, c->n, h->first + c->head);
    const float *v = copy_values(h, c);
    stage->chunk.ahead = &ahead;
    if (c->what == KL__REPLAY_FORWARD)
        job->k->dplr_slabs(state, NULL, 0, &stage->chunk, v, ld, n_slab);
    else
        job->k->dplr_again(state, before, readings(h, c->i), ld, &stage->chunk, v, ld, n_slab);
    stage->chunk.ahead = NULL;
}

static void write_rows(const struct job *job, kl_tensor d, int64_t t0, int n, int64_t head, const float *rows)
{
    for (int r = 0; kl__present(d) && r < n; r++)
        memcpy(kl__head_row(d, t0 + r, head), rows + r * job->s.ld, sizeof *rows * (size_t)job->s.K);
}

static void backward_chunk(const struct heads *h, const float *before, const struct kl__replay_chunk *at,
                           const struct kl__replay_chunk *next, const struct kl__replay_chunk *later)
{
    const struct job *job = h->job;
    struct scratch *x = h->x;
    struct kl__columns c = all_columns(&job->s);
    struct kl__dplr_stage *stage = &x->stage[at->i];
    int64_t t0 = h->start + at->t, head = h->first + at->head;
    int n = at->n;
    ptrdiff_t lddo, ld = kl__columns_ld(job->s.V), lddv = ld;
    struct kl__ahead ahead = {0};
    add_rows(&ahead, h, next);
    add_rows(&ahead, h, later);
    kl__ahead_spread(&ahead, kl__slabs_fetches(n + KL_ROWS, job->s.K, c.n_slab));
    const float *v = x->v + (ptrdiff_t)at->i * job->s.chunk * ld;
    const float *d_o = kl__stage_values(job->k, &c, job->a->d_o, t0, n, head, x->d_o, &lddo);
    bool wants_dv = kl__present(job->a->d_v);
    float *d_v = wants_dv ? kl__begin_outputs(&c, job->a->d_v, t0, head, x->d_v, &lddv) : x->d_v;
    stage->chunk.ahead = &ahead;
    job->k->dplr_slabs_bwd(adjoint_of(h, at->head), &x->grad, d_v, lddv, before, &stage->chunk, readings(h, at->i), ld,
                           v, ld, d_o, lddo, c.n_slab);
    stage->chunk.ahead = NULL;
    if (wants_dv)
        kl__end_outputs(job->k, &c, job->a->d_v, t0, n, head, d_v, lddv);
    job->k->dplr_prep_bwd(&x->grad, &stage->chunk, &stage->rows, job->s.scale);
    write_rows(job, job->a->d_q, t0, n, head, x->grad.dq);
    write_rows(job, job->a->d_k, t0, n, head, x->grad.dk);
    write_rows(job, job->a->d_a, t0, n, head, x->grad.da);
    write_rows(job, job->a->d_b, t0, n, head, x->grad.db);
    write_rows(job, job->a->d_g, t0, n, head, x->grad.dg);
}

static void handle_chunk(void *ctx, float *state, const float *before, const struct kl__replay_chunk *c,
                         const struct kl__replay_chunk *next, const struct kl__replay_chunk *later)
{
    if (c->what == KL__REPLAY_BACKWARD)
        backward_chunk(ctx, before, c, next, later);
    else
        run_chunk(ctx, state, before, c, next);
}

static int64_t tasks_per_sequence(const struct job *job)
{
    return (job->s.H + job->plan.n_head - 1) / job->plan.n_head;
}

static void run_task(void *arg, int64_t task, int thread)
{
    static const struct kl__replay_steps steps = {load_state, handle_chunk};
    const struct job *job = arg;
    const struct kl__dplr_shape *s = &job->s;
    struct kl__carver c = kl__carver(job->a->work);
    struct scratch x = {0};
    carve_scratch(&c, job, thread + 1, &x);
    int64_t per_seq = tasks_per_sequence(job), seq = task / per_seq, first = task % per_seq * job->plan.n_head;
    int64_t left = s->H - first;
    int n_head = left < job->plan.n_head ? (int)left : job->plan.n_head, n_slab = kl__n_slab(s->V);
    struct heads h = {job, &x, seq, first, kl__seq_start(job->f->cu_seqlens, seq, s->T)};
    for (int i = 0; i < n_head; i++)
        kl__slabs_load(adjoint_of(&h, i), state_of(job, job->a->d_state_out, seq, first + i), job->f->state_layout,
                       s->K, s->V, 0, n_slab);
    kl__replay(&job->plan, &x.replay, &steps, &h, n_head, kl__seq_tokens(job->f->cu_seqlens, seq, s->T));
    for (int i = 0; kl__present(job->a->d_state_in) && i < n_head; i++)
        kl__slabs_store(state_of(job, job->a->d_state_in, seq, first + i), adjoint_of(&h, i), job->f->state_layout,
                        s->K, s->V, 0, n_slab);
}

static struct job make_job(const kl_backend *be, const kl_dplr_bwd_args *a)
{
    struct job job = {.k = kl__cpu_kernels(be), .a = a, .f = &a->fwd, .s = kl__dplr_shape(&a->fwd)};
    const struct kl__dplr_shape *s = &job.s;
    int heads = kl__heads_per_task(s->n_seq, s->H, kl_pool_threads(be->pool));
    job.plan = kl__replay_plan(kl__longest_sequence(a->fwd.cu_seqlens, a->fwd.n_seq, s->T), s->chunk, heads,
                               (size_t)s->K * (size_t)kl__columns_ld(s->V), 0);
    return job;
}

kl_status kl__cpu_dplr_bwd(const kl_backend *be, const kl_dplr_bwd_args *a, kl_error *err)
{
    (void)err;
    struct job job = make_job(be, a);
    kl__pool_run(be->pool, job.s.n_seq * tasks_per_sequence(&job), run_task, &job);
    return KL_OK;
}

size_t kl__cpu_dplr_bwd_workspace(const kl_backend *be, const kl_dplr_bwd_args *a)
{
    struct job job = make_job(be, a);
    struct kl__carver c = {0};
    struct scratch x;
    return carve_scratch(&c, &job, kl_pool_threads(be->pool), &x);
}
