/* Kimi Delta Attention and its kin, forward.  A task is one head of one sequence, or a run of its value columns:
 *
 *     chunkwise    slabs <- state_in
 *                  for each chunk: stage q, k, decay, beta;  prep (no state in it);  slabs: o, state
 *                  slabs -> snapshots, state_out
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
#include "ops/recurrence.h"

#include <string.h>

struct job {
    const struct kl__kernels *k;
    const kl_kda_args *a;
    struct kl__kda_shape s;
    struct kl__column_split split;
    kl__kda_slabs_fn *slabs;
    int64_t *first_snapshot; /* [n_seq] index of a sequence's first snapshot */
};

/* Scratch of one thread. */
struct scratch {
    struct kl__kda_stage stage;
    float *slabs; /* [n_slab][K][KL_SLAB]; the state of a recurrent task without state_out */
    float *v, *o; /* [chunk][Vp] */
};

/* The list of first snapshots, then one scratch after the other; the last one is left in x. */
static size_t carve_work(struct kl__carver *c, const kl_kda_args *a, const struct kl__kda_shape *s, int n_thread,
                         int64_t **first_snapshot, struct scratch *x)
{
    size_t Vp = (size_t)kl__columns_ld(s->V);
    *first_snapshot = kl__carve(c, kl__present(a->snapshots) ? (size_t)s->n_seq : 0, sizeof(int64_t));
    for (int i = 0; i < n_thread; i++) {
        kl__kda_stage_carve(c, s, &x->stage);
        x->slabs = kl__carve(c, (size_t)s->K * Vp, sizeof(float));
        x->v = kl__carve(c, (size_t)s->chunk * Vp, sizeof(float));
        x->o = kl__carve(c, (size_t)s->chunk * Vp, sizeof(float));
    }
    return kl__carver_need(c);
}

/* ------------------------------------------------------------------------------------------------- chunkwise -- */

static void run_chunk(const struct job *job, const struct kl__columns *c, int64_t t0, int n, int64_t head,
                      struct scratch *x)
{
    kl__kda_stage_chunk(job->k, job->a, &job->s, &x->stage, t0, n, head);
    ptrdiff_t ldv, ldo;
    const float *v = kl__stage_values(job->k, c, job->a->v, t0, n, head, x->v, &ldv);
    float *o = kl__begin_outputs(c, job->a->o, t0, head, x->o, &ldo);
    job->slabs(x->slabs, o, ldo, NULL, 0, &x->stage.chunk, v, ldv, c->n_slab, job->a->rule);
    kl__end_outputs(job->k, c, job->a->o, t0, n, head, o, ldo);
}

static float *state_of(const struct job *job, kl_tensor state, int64_t entry, int64_t head)
{
    return kl__present(state) ? (float *)kl__row(state, entry) + head * job->s.K * job->s.V : NULL;
}

static void run_chunks(const struct job *job, int64_t seq, int64_t head, int group, struct scratch *x)
{
    const kl_kda_args *a = job->a;
    const struct kl__kda_shape *s = &job->s;
    struct kl__columns c = kl__columns_of(job->split, group, s->V);
    int64_t start = kl__seq_start(a->cu_seqlens, seq, s->T), length = kl__seq_tokens(a->cu_seqlens, seq, s->T);
    kl__slabs_load(x->slabs, state_of(job, a->state_in, seq, head), a->state_layout, s->K, s->V, c.first_slab,
                   c.n_slab);
    for (int64_t t = 0; t < length; t += s->chunk) {
        int n = (int)(length - t < s->chunk ? length - t : s->chunk);
        run_chunk(job, &c, start + t, n, head, x);
        if (kl__present(a->snapshots) && (t + n) % a->snapshot_every == 0)
            kl__slabs_store(
                state_of(job, a->snapshots, job->first_snapshot[seq] + (t + n) / a->snapshot_every - 1, head), x->slabs,
                a->state_layout, s->K, s->V, c.first_slab, c.n_slab);
    }
    if (kl__present(a->state_out))
        kl__slabs_store(state_of(job, a->state_out, seq, head), x->slabs, a->state_layout, s->K, s->V, c.first_slab,
                        c.n_slab);
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
    carve_work(&c, job->a, &job->s, thread + 1, &first_snapshot, &x);
    int64_t unit = task / job->split.n_group, seq = unit / job->s.HV, head = unit % job->s.HV;
    int group = (int)(task % job->split.n_group);
    int64_t length = kl__seq_tokens(job->a->cu_seqlens, seq, job->s.T);
    bool steps = job->a->path == KL_PATH_RECURRENT || (job->a->path == KL_PATH_AUTO && length == 1);
    if (!steps)
        run_chunks(job, seq, head, group, &x);
    else if (group == 0)
        run_steps(job, seq, head, &x);
}

static struct job make_job(const kl_backend *be, const kl_kda_args *a)
{
    const struct kl__kernels *k = kl__cpu_kernels(be);
    struct job job = {.k = k, .a = a, .s = kl__kda_shape(a), .slabs = k->kda_slabs};
    job.split = kl__split_columns(job.s.n_seq * job.s.HV, kl_pool_threads(be->pool), kl__n_slab(job.s.V));
    return job;
}

kl_status kl__cpu_kda(const kl_backend *be, const kl_kda_args *a, kl_error *err)
{
    (void)err;
    struct job job = make_job(be, a);
    struct kl__carver c = kl__carver(a->work);
    struct scratch none;
    carve_work(&c, a, &job.s, 0, &job.first_snapshot, &none);
    int64_t n_snapshot = 0;
    for (int64_t seq = 0; kl__present(a->snapshots) && seq < job.s.n_seq; seq++) {
        job.first_snapshot[seq] = n_snapshot;
        n_snapshot += kl__seq_tokens(a->cu_seqlens, seq, job.s.T) / a->snapshot_every;
    }
    kl__pool_run(be->pool, job.s.n_seq * job.s.HV * job.split.n_group, run_task, &job);
    return KL_OK;
}

size_t kl__cpu_kda_workspace(const kl_backend *be, const kl_kda_args *a)
{
    struct job job = make_job(be, a);
    struct kl__carver c = {0};
    struct scratch x;
    int64_t *first_snapshot;
    return carve_work(&c, a, &job.s, kl_pool_threads(be->pool), &first_snapshot, &x);
}
