/* Gradients of the general DPLR rule, by chunks: as kda_bwd.c, but a task is a head of a sequence, and there is nothing
 * around the recurrence. */
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
    float *D;             /* [n_slab][K][KL_SLAB] */
    float *v, *d_o, *d_v; /* [chunk][Vp] */
};

/* One head of one sequence, while its thread walks over it. */
struct head {
    const struct job *job;
    struct scratch *x;
    int64_t head, start;
    const float *state_in;
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
        x->D = kl__carve(c, (size_t)s->K * Vp, sizeof(float));
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

static void load_state(void *ctx, float *state, int64_t t)
{
    const struct head *h = ctx;
    const struct kl__dplr_shape *s = &h->job->s;
    (void)t; /* always 0: no states inside sequences are given */
    kl__slabs_load(state, h->state_in, h->job->f->state_layout, s->K, s->V, 0, kl__n_slab(s->V));
}

/* The chunk on `state`, in place, with its inputs in stage `i`. */
static void run_chunk(const struct head *h, float *state, const struct kl__replay_chunk *c, int i)
{
    const struct job *job = h->job;
    struct kl__columns columns = all_columns(&job->s);
    ptrdiff_t ldv;
    kl__dplr_stage_chunk(job->k, job->f, &job->s, &h->x->stage[i], h->start + c->t, c->n, h->head);
    const float *v = kl__stage_values(job->k, &columns, job->f->v, h->start + c->t, c->n, h->head, h->x->v, &ldv);
    job->k->dplr_slabs(state, NULL, 0, c->written, kl__columns_ld(job->s.V), &h->x->stage[i].chunk, v, ldv,
                       columns.n_slab);
}

static void forward_chunk(void *ctx, float *state, const struct kl__replay_chunk *c)
{
    run_chunk(ctx, state, c, 0);
}

static void chunk_again(void *ctx, float *after, const float *before, const struct kl__replay_chunk *c)
{
    const struct head *h = ctx;
    const struct kl__dplr_shape *s = &h->job->s;
    if (!after) {
        kl__dplr_stage_chunk(h->job->k, h->job->f, s, &h->x->stage[c->i], h->start + c->t, c->n, h->head);
        return;
    }
    memcpy(after, before, sizeof *after * h->job->plan.state_floats);
    run_chunk(h, after, c, c->i);
}

static void write_rows(const struct job *job, kl_tensor d, int64_t t0, int n, int64_t head, const float *rows)
{
    for (int r = 0; kl__present(d) && r < n; r++)
        memcpy(kl__head_row(d, t0 + r, head), rows + r * job->s.ld, sizeof *rows * (size_t)job->s.K);
}

static void backward_chunk(void *ctx, const float *before, const struct kl__replay_chunk *at)
{
    const struct head *h = ctx;
    const struct job *job = h->job;
    struct scratch *x = h->x;
    struct kl__columns c = all_columns(&job->s);
    ptrdiff_t ldv, lddo, lddv = kl__columns_ld(job->s.V), ldy = lddv;
    const struct kl__dplr_stage *in = &x->stage[at->i];
    int64_t t0 = h->start + at->t;
    int n = at->n;
    const float *v = kl__stage_values(job->k, &c, job->f->v, t0, n, h->head, x->v, &ldv);
    const float *d_o = kl__stage_values(job->k, &c, job->a->d_o, t0, n, h->head, x->d_o, &lddo);
    bool wants_dv = kl__present(job->a->d_v);
    float *d_v = wants_dv ? kl__begin_outputs(&c, job->a->d_v, t0, h->head, x->d_v, &lddv) : x->d_v;
    job->k->dplr_slabs_bwd(x->D, &x->grad, d_v, lddv, before, &in->chunk, at->written, ldy, v, ldv, d_o, lddo,
                           c.n_slab);
    if (wants_dv)
        kl__end_outputs(job->k, &c, job->a->d_v, t0, n, h->head, d_v, lddv);
    job->k->dplr_prep_bwd(&x->grad, &in->chunk, &in->rows, job->s.scale);
    write_rows(job, job->a->d_q, t0, n, h->head, x->grad.dq);
    write_rows(job, job->a->d_k, t0, n, h->head, x->grad.dk);
    write_rows(job, job->a->d_a, t0, n, h->head, x->grad.da);
    write_rows(job, job->a->d_b, t0, n, h->head, x->grad.db);
    write_rows(job, job->a->d_g, t0, n, h->head, x->grad.dg);
}

static void run_task(void *arg, int64_t task, int thread)
{
    static const struct kl__replay_steps steps = {load_state, forward_chunk, chunk_again, backward_chunk};
    const struct job *job = arg;
    const struct kl__dplr_shape *s = &job->s;
    struct kl__carver c = kl__carver(job->a->work);
    struct scratch x = {0};
    carve_scratch(&c, job, thread + 1, &x);
    int64_t seq = task / s->H;
    struct head h = {.job = job, .x = &x, .head = task % s->H, .start = kl__seq_start(job->f->cu_seqlens, seq, s->T)};
    h.state_in = state_of(job, job->f->state_in, seq, h.head);
    kl__slabs_load(x.D, state_of(job, job->a->d_state_out, seq, h.head), job->f->state_layout, s->K, s->V, 0,
                   kl__n_slab(s->V));
    kl__replay(&job->plan, &x.replay, &steps, &h, kl__seq_tokens(job->f->cu_seqlens, seq, s->T), false);
    if (kl__present(job->a->d_state_in))
        kl__slabs_store(state_of(job, job->a->d_state_in, seq, h.head), x.D, job->f->state_layout, s->K, s->V, 0,
                        kl__n_slab(s->V));
}

static struct job make_job(const kl_backend *be, const kl_dplr_bwd_args *a)
{
    struct job job = {.k = kl__cpu_kernels(be), .a = a, .f = &a->fwd, .s = kl__dplr_shape(&a->fwd)};
    size_t Vp = (size_t)kl__columns_ld(job.s.V);
    job.plan = kl__replay_plan(kl__longest_sequence(a->fwd.cu_seqlens, a->fwd.n_seq, job.s.T), job.s.chunk,
                               (size_t)job.s.K * Vp, Vp, 0);
    return job;
}

kl_status kl__cpu_dplr_bwd(const kl_backend *be, const kl_dplr_bwd_args *a, kl_error *err)
{
    (void)err;
    struct job job = make_job(be, a);
    kl__pool_run(be->pool, job.s.n_seq * job.s.H, run_task, &job);
    return KL_OK;
}

size_t kl__cpu_dplr_bwd_workspace(const kl_backend *be, const kl_dplr_bwd_args *a)
{
    struct job job = make_job(be, a);
    struct kl__carver c = {0};
    struct scratch x;
    return carve_scratch(&c, &job, kl_pool_threads(be->pool), &x);
}
