/* General DPLR, forward: tasks and chunks as in kda.c, with the kernels of the general rule. */
#include "base/memory.h"
#include "base/pool.h"
#include "cpu/columns.h"
#include "cpu/cpu_backend.h"
#include "cpu/dplr_stage.h"
#include "cpu/heads.h"
#include "cpu/rows.h"
#include "cpu/slabs.h"
#include "ops/recurrence.h"

#include <string.h>

struct job {
    const struct kl__kernels *k;
    const kl_dplr_args *a;
    struct kl__dplr_shape s;
    struct kl__column_split split;
};

/* Scratch of one thread. */
struct scratch {
    struct kl__dplr_stage stage;
    float *slabs; /* [n_slab][K][KL_SLAB] */
    float *state; /* [K][V] */
    float *v, *o; /* [chunk][Vp] */
};

/* One scratch after the other; the last one is left in x.  x->state is for the recurrent path. */
static size_t carve_scratch(struct kl__carver *c, const struct kl__dplr_shape *s, int n_thread, struct scratch *x)
{
    size_t Vp = (size_t)kl__columns_ld(s->V);
    for (int i = 0; i < n_thread; i++) {
        kl__dplr_stage_carve(c, s, &x->stage);
        x->slabs = kl__carve(c, (size_t)s->K * Vp, sizeof(float));
        x->state = kl__carve(c, (size_t)(s->K * s->V), sizeof(float));
        x->v = kl__carve(c, (size_t)s->chunk * Vp, sizeof(float));
        x->o = kl__carve(c, (size_t)s->chunk * Vp, sizeof(float));
    }
    return kl__carver_need(c);
}

static float *state_of(const struct job *job, kl_tensor state, int64_t seq, int64_t head)
{
    return kl__present(state) ? (float *)kl__row(state, seq) + head * job->s.K * job->s.V : NULL;
}

static void run_chunks(const struct job *job, int64_t seq, int64_t head, int group, struct scratch *x)
{
    const kl_dplr_args *a = job->a;
    const struct kl__dplr_shape *s = &job->s;
    struct kl__columns c = kl__columns_of(job->split, group, s->V);
    int64_t t = kl__seq_start(a->cu_seqlens, seq, s->T), end = kl__seq_start(a->cu_seqlens, seq + 1, s->T);
    kl__slabs_load(x->slabs, state_of(job, a->state_in, seq, head), a->state_layout, s->K, s->V, c.first_slab,
                   c.n_slab);
    for (; t < end; t += s->chunk) {
        int n = (int)(end - t < s->chunk ? end - t : s->chunk);
        ptrdiff_t ldv, ldo;
        kl__dplr_stage_chunk(job->k, a, s, &x->stage, t, n, head);
        const float *v = kl__stage_values(job->k, &c, a->v, t, n, head, x->v, &ldv);
        float *o = kl__begin_outputs(&c, a->o, t, head, x->o, &ldo);
        job->k->dplr_slabs(x->slabs, o, ldo, NULL, 0, &x->stage.chunk, v, ldv, c.n_slab);
        kl__end_outputs(job->k, &c, a->o, t, n, head, o, ldo);
    }
    if (kl__present(a->state_out))
        kl__slabs_store(state_of(job, a->state_out, seq, head), x->slabs, a->state_layout, s->K, s->V, c.first_slab,
                        c.n_slab);
}

/* The state runs in rows [K][V]; a state in the other layout is turned around through the slabs at both ends. */
static void run_steps(const struct job *job, int64_t seq, int64_t head, struct scratch *x)
{
    const kl_dplr_args *a = job->a;
    const struct kl__dplr_shape *s = &job->s;
    int64_t t = kl__seq_start(a->cu_seqlens, seq, s->T), end = kl__seq_start(a->cu_seqlens, seq + 1, s->T);
    int n_slab = kl__n_slab(s->V);
    float *S = x->state;
    kl__slabs_load(x->slabs, state_of(job, a->state_in, seq, head), a->state_layout, s->K, s->V, 0, n_slab);
    kl__slabs_store(S, x->slabs, KL_LAYOUT_KV, s->K, s->V, 0, n_slab);
    for (; t < end; t++) {
        struct kl__dplr_stage *in = &x->stage;
        kl__dplr_stage_rows(job->k, a, s, in, t, 1, head);
        const float *v = kl__read_row(job->k, a->v.dtype, kl__head_row(a->v, t, head), s->V, x->v);
        void *to = kl__head_row(a->o, t, head);
        float *o = kl__begin_row(a->o.dtype, to, x->o);
        job->k->dplr_step(o, S, in->q, in->k, v, in->a, in->b, in->alpha, s->scale, s->K, s->V);
        kl__end_row(job->k, a->o.dtype, to, s->V, o);
    }
    if (kl__present(a->state_out)) {
        kl__slabs_load(x->slabs, S, KL_LAYOUT_KV, s->K, s->V, 0, n_slab);
        kl__slabs_store(state_of(job, a->state_out, seq, head), x->slabs, a->state_layout, s->K, s->V, 0, n_slab);
    }
}

static void run_task(void *arg, int64_t task, int thread)
{
    const struct job *job = arg;
    struct kl__carver c = kl__carver(job->a->work);
    struct scratch x = {0};
    carve_scratch(&c, &job->s, thread + 1, &x);
    int64_t unit = task / job->split.n_group, seq = unit / job->s.H, head = unit % job->s.H;
    int group = (int)(task % job->split.n_group);
    int64_t length = kl__seq_tokens(job->a->cu_seqlens, seq, job->s.T);
    if (job->a->path == KL_PATH_CHUNK || (job->a->path == KL_PATH_AUTO && length != 1))
        run_chunks(job, seq, head, group, &x);
    else if (group == 0)
        run_steps(job, seq, head, &x);
}

static struct job make_job(const kl_backend *be, const kl_dplr_args *a)
{
    struct job job = {.k = kl__cpu_kernels(be), .a = a, .s = kl__dplr_shape(a)};
    job.split = kl__split_columns(job.s.n_seq * job.s.H, kl_pool_threads(be->pool), kl__n_slab(job.s.V));
    return job;
}

kl_status kl__cpu_dplr(const kl_backend *be, const kl_dplr_args *a, kl_error *err)
{
    (void)err;
    struct job job = make_job(be, a);
    kl__pool_run(be->pool, job.s.n_seq * job.s.H * job.split.n_group, run_task, &job);
    return KL_OK;
}

size_t kl__cpu_dplr_workspace(const kl_backend *be, const kl_dplr_args *a)
{
    struct job job = make_job(be, a);
    struct kl__carver c = {0};
    struct scratch x;
    return carve_scratch(&c, &job.s, kl_pool_threads(be->pool), &x);
}
