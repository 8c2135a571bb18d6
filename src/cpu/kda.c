/* Kimi Delta Attention and its kin, forward.  A task is a few neighbouring heads that take turns, or a run of the value
 * columns of one head (cpu/turns.h):
 *
 *     chunkwise    slabs <- state_in, for each head
 *                  for each chunk of tokens, for each head:
 *                      stage q, k, decay, beta;  prep (no state in it);  slabs: o, state
 *                  slabs -> snapshots on the way, state_out at the end
 *     recurrent    state_out <- state_in, then one step a token on it
 *
 * Value columns never meet, so cutting them changes no bit. */
#include "base/memory.h"
#include "base/pool.h"
#include "cpu/columns.h"
#include "cpu/cpu_backend.h"
#include "cpu/heads.h"
#include "cpu/kda_stage.h"
#include "cpu/rows.h"
#include "cpu/slabs.h"
#include "cpu/turns.h"
#include "ops/recurrence.h"

#include <string.h>

struct job {
    const struct kl__kernels *k;
    const kl_kda_args *a;
    struct kl__kda_shape s;
    struct kl__turn_plan plan;
    bool half; /* products on 16-bit operands */
    int64_t *first_snapshot; /* [n_seq] index of a sequence's first snapshot */
};

/* Scratch of one thread. */
struct scratch {
    struct kl__kda_stage stage;
    float *slabs;   /* [heads_per_task][n_slab][K][KL_SLAB]; the state of a recurrent task without state_out */
    float *squares; /* [heads_per_task][n_slab * KL_SLAB] of its columns' norms */
    float *v, *o, *e; /* [chunk][Vp] */
};

/* The list of first snapshots, then one scratch after the other; the last one is left in x. */
static size_t carve_work(struct kl__carver *c, const struct job *job, int n_thread, int64_t **first_snapshot,
                         struct scratch *x)
{
    const struct kl__kda_shape *s = &job->s;
    size_t Vp = (size_t)kl__columns_ld(s->V);
    *first_snapshot = kl__carve(c, kl__present(job->a->snapshots) ? (size_t)s->n_seq : 0, sizeof(int64_t));
    for (int i = 0; i < n_thread; i++) {
        kl__kda_stage_carve(c, s, &x->stage);
        x->slabs = kl__carve(c, (size_t)job->plan.heads_per_task * (size_t)s->K * Vp, sizeof(float));
        x->squares = kl__carve(c, (size_t)job->plan.heads_per_task * Vp, sizeof(float));
        x->v = kl__carve(c, (size_t)s->chunk * Vp, sizeof(float));
        x->o = kl__carve(c, (size_t)s->chunk * Vp, sizeof(float));
        x->e = kl__carve(c, kl__present(job->a->e) ? (size_t)s->chunk * Vp : 0, sizeof(float));
    }
    return kl__carver_need(c);
}

/* ------------------------------------------------------------------------------------------------- chunkwise -- */

/* The rows of the chunk at p: those that are read first come first. */
static struct kl__ahead rows_at(const struct job *job, const struct kl__turns *k, struct kl__place p)
{
    const kl_kda_args *a = job->a;
    int64_t head = k->first_head + p.head, key_head = head / (job->s.HV / job->s.H);
    int n = kl__tokens_at(k, p);
    struct kl__ahead x = {0};
    if (a->g.n_dim == 3)
        kl__ahead_add(&x, a->g, p.t, n, head, 0, job->s.K);
    kl__ahead_add(&x, a->q, p.t, n, key_head, 0, job->s.K);
    kl__ahead_add(&x, a->k, p.t, n, key_head, 0, job->s.K);
    kl__ahead_add(&x, a->v, p.t, n, head, k->c.first, k->c.n);
    kl__ahead_add(&x, a->o, p.t, n, head, k->c.first, k->c.n);
    if (kl__present(a->e))
        kl__ahead_add(&x, a->e, p.t, n, head, k->c.first, k->c.n);
    return x;
}

static void run_chunk(const struct job *job, const struct kl__turns *k, struct kl__place p, float *slabs,
                      float *squares, struct scratch *x)
{
    int64_t head = k->first_head + p.head;
    int n = kl__tokens_at(k, p);
    struct kl__place next = kl__next_place(k, p);
    struct kl__ahead ahead = next.t < k->end ? rows_at(job, k, next) : (struct kl__ahead){0};
    kl__ahead_spread(&ahead, kl__slabs_fetches(n, job->s.K, k->c.n_slab));
    kl__kda_stage_chunk(job->k, job->a, &job->s, &x->stage, p.t, n, head);
    ptrdiff_t ldv, ldo, lde = 0;
    const float *v = kl__stage_values(job->k, &k->c, job->a->v, p.t, n, head, x->v, &ldv);
    float *o = kl__begin_outputs(&k->c, job->a->o, p.t, head, x->o, &ldo);
    float *e = kl__present(job->a->e) ? kl__begin_outputs(&k->c, job->a->e, p.t, head, x->e, &lde) : NULL;
    x->stage.chunk.ahead = &ahead;
    if (job->half)
        job->k->kda_slabs_half(slabs, squares, o, ldo, e, lde, &x->stage.chunk, v, ldv, k->c.n_slab, job->a->rule);
    else
        job->k->kda_slabs(slabs, o, ldo, e, lde, &x->stage.chunk, v, ldv, k->c.n_slab, job->a->rule);
    x->stage.chunk.ahead = NULL;
    kl__end_outputs(job->k, &k->c, job->a->o, p.t, n, head, o, ldo);
    if (e)
        kl__end_outputs(job->k, &k->c, job->a->e, p.t, n, head, e, lde);
}

static float *state_of(const struct job *job, kl_tensor state, int64_t entry, int64_t head)
{
    return kl__present(state) ? (float *)kl__row(state, entry) + head * job->s.K * job->s.V : NULL;
}

static void run_chunks(const struct job *job, const struct kl__turns *k, struct scratch *x)
{
    const kl_kda_args *a = job->a;
    const struct kl__kda_shape *s = &job->s;
    const struct kl__columns *c = &k->c;
    ptrdiff_t head_floats = (ptrdiff_t)c->n_slab * s->K * KL_SLAB;
    ptrdiff_t head_columns = (ptrdiff_t)c->n_slab * KL_SLAB;
    for (int h = 0; h < k->n_head; h++)
        kl__slabs_load(x->slabs + h * head_floats, state_of(job, a->state_in, k->seq, k->first_head + h),
                       a->state_layout, s->K, s->V, c->first_slab, c->n_slab);
    for (ptrdiff_t i = 0; i < k->n_head * head_columns; i++)
        x->squares[i] = -1; /* not known yet */
    for (struct kl__place p = {k->start, 0}; p.t < k->end; p = kl__next_place(k, p)) {
        float *slabs = x->slabs + p.head * head_floats;
        run_chunk(job, k, p, slabs, x->squares + p.head * head_columns, x);
        int64_t done = p.t + s->chunk - k->start;
        if (kl__present(a->snapshots) && done % a->snapshot_every == 0 && k->start + done <= k->end)
            kl__slabs_store(state_of(job, a->snapshots, job->first_snapshot[k->seq] + done / a->snapshot_every - 1,
                                     k->first_head + p.head),
                            slabs, a->state_layout, s->K, s->V, c->first_slab, c->n_slab);
    }
    for (int h = 0; kl__present(a->state_out) && h < k->n_head; h++)
        kl__slabs_store(state_of(job, a->state_out, k->seq, k->first_head + h), x->slabs + h * head_floats,
                        a->state_layout, s->K, s->V, c->first_slab, c->n_slab);
}

/* ------------------------------------------------------------------------------------------------- recurrent -- */

static void run_steps(const struct job *job, int64_t seq, int64_t head, struct scratch *x)
{
    const kl_kda_args *a = job->a;
    const struct kl__kda_shape *s = &job->s;
    int64_t start = kl__seq_start(a->cu_seqlens, seq, s->T), length = kl__seq_tokens(a->cu_seqlens, seq, s->T);
    float *S = kl__present(a->state_out) ? state_of(job, a->state_out, seq, head) : x->slabs;
    const float *S_in = state_of(job, a->state_in, seq, head);
    if (!S_in)
        memset(S, 0, sizeof *S * (size_t)(s->K * s->V));
    else if (S_in != S)
        memcpy(S, S_in, sizeof *S * (size_t)(s->K * s->V));
    kl__kda_step_fn *step = a->state_layout == KL_LAYOUT_KV ? job->k->kda_step : job->k->kda_step_vk;
    for (int64_t t = start; t < start + length; t++) {
        kl__kda_stage_rows(job->k, a, s, &x->stage, t, 1, head);
        const float *v = kl__read_row(job->k, a->v.dtype, kl__head_row(a->v, t, head), s->V, x->v);
        void *to = kl__head_row(a->o, t, head);
        float *o = kl__begin_row(a->o.dtype, to, x->o);
        step(o, S, x->stage.q, x->stage.k, v, x->stage.alpha, x->stage.chunk.beta[0], s->scale, s->K, s->V, a->rule);
        kl__end_row(job->k, a->o.dtype, to, s->V, o);
    }
}

static void run_task(void *arg, int64_t task, int thread)
{
    const struct job *job = arg;
    struct kl__carver c = kl__carver(job->a->work);
    struct scratch x = {0};
    int64_t *first_snapshot;
    carve_work(&c, job, thread + 1, &first_snapshot, &x);
    struct kl__turns k = kl__turns_of(&job->plan, task);
    bool alone = job->a->path == KL_PATH_AUTO && k.end - k.start == 1 && !kl__present(job->a->e);
    bool steps = job->a->path == KL_PATH_RECURRENT || alone;
    if (!steps)
        run_chunks(job, &k, &x);
    else if (k.group == 0)
        for (int h = 0; h < k.n_head; h++)
            run_steps(job, k.seq, k.first_head + h, &x);
}

static struct job make_job(const kl_backend *be, const kl_kda_args *a)
{
    const struct kl__kernels *k = kl__cpu_kernels(be);
    struct job job = {.k = k, .a = a, .s = kl__kda_shape(a)};
    job.half = a->operands == KL_OPERANDS_BF16 && k->kda_slabs_half != kl__kda_slabs_half_ref;
    job.s.in_place = true;
    job.plan = kl__turn_plan(job.s.n_seq, a->cu_seqlens, job.s.T, job.s.HV, job.s.V, job.s.chunk,
                             kl_pool_threads(be->pool));
    return job;
}

kl_status kl__cpu_kda(const kl_backend *be, const kl_kda_args *a, kl_error *err)
{
    (void)err;
    struct job job = make_job(be, a);
    struct kl__carver c = kl__carver(a->work);
    struct scratch none;
    carve_work(&c, &job, 0, &job.first_snapshot, &none);
    int64_t n_snapshot = 0;
    for (int64_t seq = 0; kl__present(a->snapshots) && seq < job.s.n_seq; seq++) {
        job.first_snapshot[seq] = n_snapshot;
        n_snapshot += kl__seq_tokens(a->cu_seqlens, seq, job.s.T) / a->snapshot_every;
    }
    kl__pool_run(be->pool, kl__turn_tasks(&job.plan), run_task, &job);
    return KL_OK;
}

size_t kl__cpu_kda_workspace(const kl_backend *be, const kl_kda_args *a)
{
    struct job job = make_job(be, a);
    struct kl__carver c = {0};
    struct scratch x;
    int64_t *first_snapshot;
    return carve_work(&c, &job, kl_pool_threads(be->pool), &first_snapshot, &x);
}
