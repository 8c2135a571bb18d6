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
    float *v, *d_o, *d_v; /* [chunk][Vp] */
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
        x->y = kl__carve(c, (size_t)job->plan.block * (size_t)s->chunk * Vp, sizeof(float));
        x->D = kl__carve(c, (size_t)job->plan.n_head * (size_t)s->K * Vp, sizeof(float));
        float **const value_arrays[] = {&x->v, &x->d_o, &x->d_v};
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

/* Part `part` of `n_part` of the rows that chunk `c` will read or write for the first time. */
static void fetch_ahead(const struct heads *h, const struct kl__replay_chunk *c, int part, int n_part)
{
    if (!c)
        return;
    const struct job *job = h->job;
    const kl_dplr_bwd_args *a = job->a;
    bool back = c->what == KL__REPLAY_BACKWARD;
    const kl_tensor keys[] = {back ? a->d_q : job->f->q, back ? a->d_k : job->f->k, back ? a->d_a : job->f->a,
                              back ? a->d_b : job->f->b, back ? a->d_g : job->f->g};
    const kl_tensor values[] = {back ? a->d_v : job->f->v, a->d_o};
    for (int64_t i = c->n * part / n_part; i < c->n * (part + 1) / n_part; i++) {
        for (int k = 0; k < 5; k++)
            if (kl__present(keys[k]))
                kl__fetch_head_row(keys[k], h->start + c->t + i, h->first + c->head, 0, job->s.K);
        for (int k = 0; k < 1 + back; k++)
            if (kl__present(values[k]))
                kl__fetch_head_row(values[k], h->start + c->t + i, h->first + c->head, 0, job->s.V);
    }
}

/* Runs the chunk: on the way forwards `state` in place; else from `before` to `state`, keeping what the tokens read. */
static void run_chunk(const struct heads *h, float *state, const float *before, const struct kl__replay_chunk *c,
                      const struct kl__replay_chunk *next)
{
    const struct job *job = h->job;
    struct kl__dplr_stage *stage = &h->x->stage[c->i];
    struct kl__columns columns = all_columns(&job->s);
    int64_t t0 = h->start + c->t, head = h->first + c->head;
    ptrdiff_t ldv;
    kl__dplr_stage_chunk(job->k, job->f, &job->s, stage, t0, c->n, head);
    const float *v = kl__stage_values(job->k, &columns, job->f->v, t0, c->n, head, h->x->v, &ldv);
    int n_part = (columns.n_slab + 1) / 2;
    for (int part = 0; part < n_part; part++) {
        int slab = 2 * part, n_slab = columns.n_slab - slab < 2 ? columns.n_slab - slab : 2;
        ptrdiff_t column = (ptrdiff_t)slab * KL_SLAB, at = column * job->s.K;
        fetch_ahead(h, next, part, n_part);
        if (c->what == KL__REPLAY_FORWARD)
            job->k->dplr_slabs(state + at, NULL, 0, NULL, 0, &stage->chunk, v + column, ldv, n_slab);
        else
            job->k->dplr_again(state ? state + at : NULL, before + at, readings(h, c->i) + column,
                               kl__columns_ld(job->s.V), &stage->chunk, v + column, ldv, n_slab);
    }
}

static void write_rows(const struct job *job, kl_tensor d, int64_t t0, int n, int64_t head, const float *rows)
{
    for (int r = 0; kl__present(d) && r < n; r++)
        memcpy(kl__head_row(d, t0 + r, head), rows + r * job->s.ld, sizeof *rows * (size_t)job->s.K);
}

static void backward_chunk(const struct heads *h, const float *before, const struct kl__replay_chunk *at,
                           const struct kl__replay_chunk *next)
{
    const struct job *job = h->job;
    struct scratch *x = h->x;
    struct kl__columns c = all_columns(&job->s);
    const struct kl__dplr_stage *stage = &x->stage[at->i];
    int64_t t0 = h->start + at->t, head = h->first + at->head;
    int n = at->n;
    ptrdiff_t ldv, lddo, ldy = kl__columns_ld(job->s.V), lddv = ldy;
    const float *v = kl__stage_values(job->k, &c, job->f->v, t0, n, head, x->v, &ldv);
    const float *d_o = kl__stage_values(job->k, &c, job->a->d_o, t0, n, head, x->d_o, &lddo);
    bool wants_dv = kl__present(job->a->d_v);
    float *d_v = wants_dv ? kl__begin_outputs(&c, job->a->d_v, t0, head, x->d_v, &lddv) : x->d_v;
    fetch_ahead(h, next, 0, 2);
    job->k->dplr_slabs_bwd(adjoint_of(h, at->head), &x->grad, d_v, lddv, before, &stage->chunk, readings(h, at->i), ldy,
                           v, ldv, d_o, lddo, c.n_slab);
    if (wants_dv)
        kl__end_outputs(job->k, &c, job->a->d_v, t0, n, head, d_v, lddv);
    fetch_ahead(h, next, 1, 2);
    job->k->dplr_prep_bwd(&x->grad, &stage->chunk, &stage->rows, job->s.scale);
    write_rows(job, job->a->d_q, t0, n, head, x->grad.dq);
    write_rows(job, job->a->d_k, t0, n, head, x->grad.dk);
    write_rows(job, job->a->d_a, t0, n, head, x->grad.da);
    write_rows(job, job->a->d_b, t0, n, head, x->grad.db);
    write_rows(job, job->a->d_g, t0, n, head, x->grad.dg);
}

static void handle_chunk(void *ctx, float *state, const float *before, const struct kl__replay_chunk *c,
                         const struct kl__replay_chunk *next)
{
    if (c->what == KL__REPLAY_BACKWARD)
        backward_chunk(ctx, before, c, next);
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
