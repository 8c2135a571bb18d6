/* General DPLR, forward: tasks, chunks and steps as in kda.c, with the kernels of the general rule. */
#include "base/memory.h"
#include "base/pool.h"
#include "cpu/columns.h"
#include "cpu/cpu_backend.h"
#include "cpu/dplr_stage.h"
#include "cpu/heads.h"
#include "cpu/rows.h"
#include "cpu/slabs.h"
#include "cpu/turns.h"
#include "ops/recurrence.h"

#include <string.h>

struct job {
    const struct kl__kernels *k;
    const kl_dplr_args *a;
    struct kl__dplr_shape s;
    struct kl__turn_plan plan;
};

/* Scratch of one thread. */
struct scratch {
    struct kl__dplr_stage stage;
    float *slabs; /* [heads_per_task][n_slab][K][KL_SLAB]; the state of a recurrent task without state_out */
    float *v, *o; /* [chunk][Vp] */
};

/* One scratch after the other; the last one is left in x. */
static size_t carve_scratch(struct kl__carver *c, const struct job *job, int n_thread, struct scratch *x)
{
    const struct kl__dplr_shape *s = &job->s;
    size_t Vp = (size_t)kl__columns_ld(s->V);
    for (int i = 0; i < n_thread; i++) {
        kl__dplr_stage_carve(c, s, &x->stage);
        x->slabs = kl__carve(c, (size_t)job->plan.heads_per_task * (size_t)s->K * Vp, sizeof(float));
        x->v = kl__carve(c, (size_t)s->chunk * Vp, sizeof(float));
        x->o = kl__carve(c, (size_t)s->chunk * Vp, sizeof(float));
    }
    return kl__carver_need(c);
}

static float *state_of(const struct job *job, kl_tensor state, int64_t seq, int64_t head)
{
    return kl__present(state) ? (float *)kl__row(state, seq) + head * job->s.K * job->s.V : NULL;
}

/* ----------------------------------------------------------------------------------------------------- chunkwise -- */

/* The rows of the chunk at p: those that are read first come first. */
static struct kl__ahead rows_at(const struct job *job, const struct kl__turns *k, struct kl__place p)
{
    const kl_dplr_args *a = job->a;
    const kl_tensor keys[] = {a->g, a->b, a->q, a->k, a->a}, values[] = {a->v, a->o};
    int64_t head = k->first_head + p.head;
    int n = kl__tokens_at(k, p);
    struct kl__ahead x = {0};
    for (int i = kl__present(a->g) ? 0 : 1; i < 5; i++)
        kl__ahead_add(&x, keys[i], p.t, n, head, 0, job->s.K);
    for (int i = 0; i < 2; i++)
        kl__ahead_add(&x, values[i], p.t, n, head, k->c.first, k->c.n);
    return x;
}

static void run_chunk(const struct job *job, const struct kl__turns *k, struct kl__place p, float *slabs,
                      struct scratch *x)
{
    int64_t head = k->first_head + p.head;
    int n = kl__tokens_at(k, p);
    struct kl__place next = kl__next_place(k, p);
    struct kl__ahead ahead = next.t < k->end ? rows_at(job, k, next) : (struct kl__ahead){0};
    kl__ahead_spread(&ahead, kl__slabs_fetches(n, job->s.K, k->c.n_slab));
    ptrdiff_t ldv, ldo;
    kl__dplr_stage_chunk(job->k, job->a, &job->s, &x->stage, p.t, n, head);
    const float *v = kl__stage_values(job->k, &k->c, job->a->v, p.t, n, head, x->v, &ldv);
    float *o = kl__begin_outputs(&k->c, job->a->o, p.t, head, x->o, &ldo);
    x->stage.chunk.ahead = &ahead;
    job->k->dplr_slabs(slabs, o, ldo, &x->stage.chunk, v, ldv, k->c.n_slab);
    x->stage.chunk.ahead = NULL;
    kl__end_outputs(job->k, &k->c, job->a->o, p.t, n, head, o, ldo);
}

static void run_chunks(const struct job *job, const struct kl__turns *k, struct scratch *x)
{
    const kl_dplr_args *a = job->a;
    const struct kl__dplr_shape *s = &job->s;
    const struct kl__columns *c = &k->c;
    ptrdiff_t head_floats = (ptrdiff_t)c->n_slab * s->K * KL_SLAB;
    for (int h = 0; h < k->n_head; h++)
        kl__slabs_load(x->slabs + h * head_floats, state_of(job, a->state_in, k->seq, k->first_head + h),
                       a->state_layout, s->K, s->V, c->first_slab, c->n_slab);
    for (struct kl__place p = {k->start, 0}; p.t < k->end; p = kl__next_place(k, p))
        run_chunk(job, k, p, x->slabs + p.head * head_floats, x);
    for (int h = 0; kl__present(a->state_out) && h < k->n_head; h++)
        kl__slabs_store(state_of(job, a->state_out, k->seq, k->first_head + h), x->slabs + h * head_floats,
                        a->state_layout, s->K, s->V, c->first_slab, c->n_slab);
}

/* ----------------------------------------------------------------------------------------------------- recurrent -- */

static void run_steps(const struct job *job, const struct kl__turns *k, int64_t head, struct scratch *x)
{
    const kl_dplr_args *a = job->a;
    const struct kl__dplr_shape *s = &job->s;
    float *S = kl__present(a->state_out) ? state_of(job, a->state_out, k->seq, head) : x->slabs;
    const float *S_in = state_of(job, a->state_in, k->seq, head);
    if (!S_in)
        memset(S, 0, sizeof *S * (size_t)(s->K * s->V));
    else if (S_in != S)
        memcpy(S, S_in, sizeof *S * (size_t)(s->K * s->V));
    kl__dplr_step_fn *step = a->state_layout == KL_LAYOUT_KV ? job->k->dplr_step : job->k->dplr_step_vk;
    for (int64_t t = k->start; t < k->end; t++) {
        kl__dplr_stage_rows(job->k, a, s, &x->stage, t, 1, head);
        const float *v = kl__read_row(job->k, a->v.dtype, kl__head_row(a->v, t, head), s->V, x->v);
        void *to = kl__head_row(a->o, t, head);
        float *o = kl__begin_row(a->o.dtype, to, x->o);
        step(o, S, &x->stage.rows, v, s->scale, s->K, s->V);
        kl__end_row(job->k, a->o.dtype, to, s->V, o);
    }
}

static void run_task(void *arg, int64_t task, int thread)
{
    const struct job *job = arg;
    struct kl__carver c = kl__carver(job->a->work);
    struct scratch x = {0};
    carve_scratch(&c, job, thread + 1, &x);
    struct kl__turns k = kl__turns_of(&job->plan, task);
    bool steps = job->a->path == KL_PATH_RECURRENT || (job->a->path == KL_PATH_AUTO && k.end - k.start == 1);
    if (!steps)
        run_chunks(job, &k, &x);
    else if (k.group == 0)
        for (int h = 0; h < k.n_head; h++)
            run_steps(job, &k, k.first_head + h, &x);
}

static struct job make_job(const kl_backend *be, const kl_dplr_args *a)
{
    struct job job = {.k = kl__cpu_kernels(be), .a = a, .s = kl__dplr_shape(a)};
    job.s.in_place = true;
    job.plan = kl__turn_plan(job.s.n_seq, a->cu_seqlens, job.s.T, job.s.H, job.s.V, job.s.chunk,
                             kl_pool_threads(be->pool));
    return job;
}

kl_status kl__cpu_dplr(const kl_backend *be, const kl_dplr_args *a, kl_error *err)
{
    (void)err;
    struct job job = make_job(be, a);
    kl__pool_run(be->pool, kl__turn_tasks(&job.plan), run_task, &job);
    return KL_OK;
}

size_t kl__cpu_dplr_workspace(const kl_backend *be, const kl_dplr_args *a)
{
    struct job job = make_job(be, a);
    struct kl__carver c = {0};
    struct scratch x;
    return carve_scratch(&c, &job, kl_pool_threads(be->pool), &x);
}
