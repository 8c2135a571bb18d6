/* Gradients of Kimi Delta Attention and its kin, by chunks.  A task is one key head of one sequence; its value heads
 * run one after the other, so that their sums in d_q and d_k have one order:
 *
 *     for each value head:   D <- d_state_out;  states forwards, chunks backwards (cpu/replay.h):
 *                            stage and prep as in the forward;  slabs_bwd: d_v, D;  prep_bwd: d_q, d_k, dg, d_beta
 *                            through gate and sigmoid;  after the last value head through the L2 norm
 *                            d_state_in <- D
 *
 * What a sequence adds to A_log and dt_bias is kept per sequence, and added up in their order at the end. */
#include "base/memory.h"
#include "base/pool.h"
#include "cpu/columns.h"
#include "cpu/cpu_backend.h"
#include "cpu/heads.h"
#include "cpu/kda_stage.h"
#include "cpu/replay.h"
#include "cpu/rows.h"
#include "cpu/slabs.h"
#include "ops/recurrence.h"

#include <math.h>
#include <string.h>

struct job {
    const struct kl__kernels *k;
    const kl_kda_bwd_args *a;
    const kl_kda_args *f;
    struct kl__kda_shape s;
    struct kl__replay_plan plan;
    bool uses_snapshots;
    int64_t bias_channels;   /* of a head: K, or 1; 0: d_dt_bias is not wanted */
    int64_t *first_snapshot; /* [n_seq] index of a sequence's first snapshot */
    float *dA_log;           /* [n_seq][HV], NULL: not wanted */
    float *dbias;            /* [n_seq][HV][bias_channels], NULL: not wanted */
};

/* Scratch of one thread. */
struct scratch {
    struct kl__kda_stage stage[KL__REPLAY_BLOCK]; /* of the chunks of a block; the first also on the way forwards */
    struct kl__kda_chunk_bwd grad;
    struct kl__replay_memory replay;
    float *D;             /* [n_slab][K][KL_SLAB] */
    float *v, *d_o, *d_v; /* [chunk][Vp] */
    float *row, *d_row;   /* [ld] */
};

/* One value head of one sequence, while its thread walks over it. */
struct head {
    const struct job *job;
    struct scratch *x;
    int64_t seq, head, start;
    bool first, last; /* of the value heads of its key head */
};

/* What the call shares, then one scratch after the other; the last one is left in x. */
static size_t carve_work(struct kl__carver *c, struct job *job, int n_thread, struct scratch *x)
{
    const struct kl__kda_shape *s = &job->s;
    size_t Vp = (size_t)kl__columns_ld(s->V), rows = (size_t)s->chunk * (size_t)s->ld;
    size_t pairs = (size_t)s->chunk * KL_CHUNK_MAX, sums = (size_t)(s->n_seq * s->HV);
    struct kl__kda_chunk_bwd *g = &x->grad;
    job->first_snapshot = job->uses_snapshots ? kl__carve(c, (size_t)s->n_seq, sizeof(int64_t)) : NULL;
    job->dA_log = kl__present(job->a->d_A_log) ? kl__carve(c, sums, sizeof(float)) : NULL;
    job->dbias = job->bias_channels ? kl__carve(c, sums, sizeof(float) * (size_t)job->bias_channels) : NULL;
    for (int i = 0; i < n_thread; i++) {
        for (int j = 0; j < job->plan.block; j++)
            kl__kda_stage_carve(c, s, &x->stage[j]);
        kl__replay_carve(c, &job->plan, &x->replay);
        float **const row_arrays[] = {&g->dqd, &g->dkd, &g->dku, &g->dq, &g->dk, &g->dg};
        for (size_t j = 0; j < sizeof row_arrays / sizeof *row_arrays; j++)
            *row_arrays[j] = kl__carve(c, rows, sizeof(float));
        g->dA = kl__carve(c, pairs, sizeof(float));
        g->dP = kl__carve(c, pairs, sizeof(float));
        g->dgamma = kl__carve(c, (size_t)s->ld, sizeof(float));
        g->dbeta = kl__carve(c, (size_t)s->chunk, sizeof(float));
        g->scratch = kl__carve(c, kl__kda_bwd_scratch(s->chunk, s->ld, kl__n_slab(s->V)), sizeof(float));
        x->D = kl__carve(c, (size_t)s->K * Vp, sizeof(float));
        float **const value_arrays[] = {&x->v, &x->d_o, &x->d_v};
        for (size_t j = 0; j < sizeof value_arrays / sizeof *value_arrays; j++)
            *value_arrays[j] = kl__carve(c, (size_t)s->chunk * Vp, sizeof(float));
        x->row = kl__carve(c, (size_t)s->ld, sizeof(float));
        x->d_row = kl__carve(c, (size_t)s->ld, sizeof(float));
    }
    return kl__carver_need(c);
}

static struct kl__columns all_columns(const struct kl__kda_shape *s)
{
    return (struct kl__columns){0, kl__n_slab(s->V), 0, s->V};
}

static float *state_of(const struct job *job, kl_tensor state, int64_t entry, int64_t head)
{
    return kl__present(state) ? (float *)kl__row(state, entry) + head * job->s.K * job->s.V : NULL;
}

/* ------------------------------------------------------------------------------------------------- the chunks -- */

static void load_state(void *ctx, float *state, int64_t t)
{
    const struct head *h = ctx;
    const struct job *job = h->job;
    const float *from = t == 0 ? state_of(job, job->f->state_in, h->seq, h->head)
                               : state_of(job, job->f->snapshots,
                                          job->first_snapshot[h->seq] + t / job->f->snapshot_every - 1, h->head);
    kl__slabs_load(state, from, job->f->state_layout, job->s.K, job->s.V, 0, kl__n_slab(job->s.V));
}

/* A and P of a chunk, close together, behind the values that it wrote. */
static void keep_pairs(const struct job *job, const struct kl__replay_chunk *c, const struct kl__kda_chunk *from)
{
    float *to = c->written + c->n * kl__columns_ld(job->s.V);
    size_t bytes = sizeof *to * (size_t)c->n;
    for (int r = 0; r < c->n; r++, to += 2 * c->n) {
        memcpy(to, from->A + r * KL_CHUNK_MAX, bytes);
        memcpy(to + c->n, from->P + r * KL_CHUNK_MAX, bytes);
    }
}

static void recall_pairs(const struct job *job, const struct kl__replay_chunk *c, struct kl__kda_chunk *to)
{
    const float *from = c->written + c->n * kl__columns_ld(job->s.V);
    size_t bytes = sizeof *from * (size_t)c->n;
    for (int r = 0; r < c->n; r++, from += 2 * c->n) {
        memcpy(to->A + r * KL_CHUNK_MAX, from, bytes);
        memcpy(to->P + r * KL_CHUNK_MAX, from + c->n, bytes);
    }
}

static void forward_chunk(void *ctx, float *state, const struct kl__replay_chunk *c)
{
    const struct head *h = ctx;
    const struct job *job = h->job;
    struct kl__kda_stage *stage = &h->x->stage[0];
    struct kl__columns columns = all_columns(&job->s);
    ptrdiff_t ldv;
    kl__kda_stage_chunk(job->k, job->f, &job->s, stage, h->start + c->t, c->n, h->head);
    const float *v = kl__stage_values(job->k, &columns, job->f->v, h->start + c->t, c->n, h->head, h->x->v, &ldv);
    job->k->kda_slabs(state, NULL, 0, c->written, kl__columns_ld(job->s.V), &stage->chunk, v, ldv, columns.n_slab,
                      job->f->rule);
    if (c->written)
        keep_pairs(job, c, &stage->chunk);
}

static void chunk_again(void *ctx, float *after, const float *before, const struct kl__replay_chunk *c)
{
    const struct head *h = ctx;
    const struct job *job = h->job;
    struct kl__kda_stage *stage = &h->x->stage[c->i];
    kl__kda_stage_rows(job->k, job->f, &job->s, stage, h->start + c->t, c->n, h->head);
    job->k->kda_prep_rows(&stage->chunk, stage->q, stage->k, stage->alpha, job->s.scale);
    recall_pairs(job, c, &stage->chunk);
    if (after)
        job->k->kda_advance(after, before, &stage->chunk, c->written, kl__columns_ld(job->s.V), kl__n_slab(job->s.V));
}

/* ---------------------------------------------------------------------------------- from the chunk to the args -- */

static void add_row(float *to, const float *from, int64_t n, bool assign)
{
    for (int64_t i = 0; i < n; i++)
        to[i] = assign ? from[i] : to[i] + from[i];
}

/* Sums over the value heads of a key head grow in the output itself; the L2 norm comes when they are complete. */
static void write_key_row(const struct head *h, kl_tensor d, kl_tensor x, int64_t t, const float *dx)
{
    const struct job *job = h->job;
    int64_t K = job->s.K, key_head = h->head / (job->s.HV / job->s.H);
    if (!kl__present(d))
        return;
    float *to = kl__head_row(d, t, key_head);
    add_row(to, dx, K, h->first);
    if (h->last && job->f->qk_l2norm) {
        const float *row = kl__read_row(job->k, x.dtype, kl__head_row(x, t, key_head), K, h->x->row);
        job->k->l2norm_row_bwd(to, to, row, K, 1e-6f);
    }
}

/* dg [K] of token t, with respect to the log decay, through the gate to d_g, d_A_log and d_dt_bias. */
static void write_gate_row(const struct head *h, int64_t t, const float *dg)
{
    const struct job *job = h->job;
    const kl_kda_args *f = job->f;
    int64_t sums = h->seq * job->s.HV + h->head, n = f->g.n_dim == 2 ? 1 : job->s.K;
    if (!kl__present(f->g))
        return;
    float one = 0;
    if (n == 1 && job->s.K > 1) {
        for (int64_t i = 0; i < job->s.K; i++)
            one += dg[i];
        dg = &one;
    }
    float rate = kl__present(f->A_log) ? expf(((const float *)f->A_log.data)[h->head * kl__pitch(f->A_log)]) : 1;
    const float *bias = kl__present(f->dt_bias) ? (const float *)kl__row(f->dt_bias, h->head) : NULL;
    const float *x = kl__read_row(job->k, f->g.dtype, kl__head_row(f->g, t, h->head), n, h->x->row);
    float *dx = kl__present(job->a->d_g) ? kl__head_row(job->a->d_g, t, h->head) : h->x->d_row;
    job->k->decay_row_bwd(dx, job->dbias ? job->dbias + sums * job->bias_channels : NULL,
                          job->dA_log ? job->dA_log + sums : NULL, dg, x, bias, n, f->gate, rate, f->lower_bound);
}

static void write_beta(const struct head *h, int64_t t, float dbeta)
{
    const kl_kda_args *f = h->job->f;
    if (!kl__present(h->job->a->d_beta))
        return;
    if (f->beta_sigmoid) {
        float sigmoid = 1 / (1 + expf(-kl__head_scalar(f->beta, t, h->head)));
        dbeta *= sigmoid * (1 - sigmoid);
    }
    *(float *)kl__head_row(h->job->a->d_beta, t, h->head) = f->beta_double ? 2 * dbeta : dbeta;
}

static void backward_chunk(void *ctx, const float *before, const struct kl__replay_chunk *at)
{
    const struct head *h = ctx;
    const struct job *job = h->job;
    struct scratch *x = h->x;
    struct kl__columns c = all_columns(&job->s);
    ptrdiff_t ldv, lddo, lddv;
    struct kl__kda_stage *stage = &x->stage[at->i];
    int64_t t0 = h->start + at->t;
    int n = at->n;
    const float *v = kl__stage_values(job->k, &c, job->f->v, t0, n, h->head, x->v, &ldv);
    const float *d_o = kl__stage_values(job->k, &c, job->a->d_o, t0, n, h->head, x->d_o, &lddo);
    bool wants_dv = kl__present(job->a->d_v);
    float *d_v = x->d_v;
    lddv = kl__columns_ld(job->s.V);
    if (wants_dv)
        d_v = kl__begin_outputs(&c, job->a->d_v, t0, h->head, x->d_v, &lddv);
    job->k->kda_slabs_bwd(x->D, &x->grad, d_v, lddv, before, &stage->chunk, at->written, kl__columns_ld(job->s.V), v,
                          ldv, d_o, lddo, c.n_slab, job->f->rule);
    if (wants_dv)
        kl__end_outputs(job->k, &c, job->a->d_v, t0, n, h->head, d_v, lddv);
    job->k->kda_prep_bwd(&x->grad, &stage->chunk, stage->q, stage->k, stage->alpha, job->s.scale);
    for (int r = 0; r < n; r++) {
        write_key_row(h, job->a->d_q, job->f->q, t0 + r, x->grad.dq + r * job->s.ld);
        write_key_row(h, job->a->d_k, job->f->k, t0 + r, x->grad.dk + r * job->s.ld);
        write_gate_row(h, t0 + r, x->grad.dg + r * job->s.ld);
        write_beta(h, t0 + r, x->grad.dbeta[r]);
    }
}

/* -------------------------------------------------------------------------------------------------- the tasks -- */

static void run_head(const struct head *h)
{
    static const struct kl__replay_steps steps = {load_state, forward_chunk, chunk_again, backward_chunk};
    const struct job *job = h->job;
    const struct kl__kda_shape *s = &job->s;
    int64_t sums = h->seq * s->HV + h->head, n_token = kl__seq_tokens(job->f->cu_seqlens, h->seq, s->T);
    if (job->dA_log)
        job->dA_log[sums] = 0;
    if (job->dbias)
        memset(job->dbias + sums * job->bias_channels, 0, sizeof(float) * (size_t)job->bias_channels);
    kl__slabs_load(h->x->D, state_of(job, job->a->d_state_out, h->seq, h->head), job->f->state_layout, s->K, s->V, 0,
                   kl__n_slab(s->V));
    struct head walking = *h;
    kl__replay(&job->plan, &h->x->replay, &steps, &walking, n_token, job->uses_snapshots);
    if (kl__present(job->a->d_state_in))
        kl__slabs_store(state_of(job, job->a->d_state_in, h->seq, h->head), h->x->D, job->f->state_layout, s->K, s->V,
                        0, kl__n_slab(s->V));
}

/* A key head that no value head reads. */
static void clear_key_head(const struct job *job, int64_t seq, int64_t key_head)
{
    const kl_tensor d[] = {job->a->d_q, job->a->d_k};
    int64_t end = kl__seq_start(job->f->cu_seqlens, seq + 1, job->s.T);
    for (int64_t t = kl__seq_start(job->f->cu_seqlens, seq, job->s.T); t < end; t++)
        for (int i = 0; i < 2; i++)
            if (kl__present(d[i]))
                memset(kl__head_row(d[i], t, key_head), 0, sizeof(float) * (size_t)job->s.K);
}

static void run_task(void *arg, int64_t task, int thread)
{
    struct job job = *(const struct job *)arg;
    struct kl__carver c = kl__carver(job.a->work);
    struct scratch x = {0};
    carve_work(&c, &job, thread + 1, &x);
    int64_t seq = task / job.s.H, key_head = task % job.s.H, group = job.s.HV / job.s.H;
    if (group == 0)
        clear_key_head(&job, seq, key_head);
    for (int64_t i = 0; i < group; i++)
        run_head(&(struct head){.job = &job,
                                .x = &x,
                                .seq = seq,
                                .head = key_head * group + i,
                                .start = kl__seq_start(job.f->cu_seqlens, seq, job.s.T),
                                .first = i == 0,
                                .last = i == group - 1});
}

/* One value head of d_A_log and d_dt_bias, the sequences in their order. */
static void add_sums(void *arg, int64_t head, int thread)
{
    (void)thread;
    const struct job *job = arg;
    for (int64_t seq = 0; seq < job->s.n_seq; seq++) {
        int64_t sums = seq * job->s.HV + head;
        if (job->dA_log)
            ((float *)job->a->d_A_log.data)[head * kl__pitch(job->a->d_A_log)] += job->dA_log[sums];
        if (job->dbias)
            add_row(kl__row(job->a->d_dt_bias, head), job->dbias + sums * job->bias_channels, job->bias_channels,
                    false);
    }
}

static struct job make_job(const kl_backend *be, const kl_kda_bwd_args *a)
{
    struct job job = {.k = kl__cpu_kernels(be), .a = a, .f = &a->fwd, .s = kl__kda_shape(&a->fwd)};
    const struct kl__kda_shape *s = &job.s;
    int64_t longest = kl__longest_sequence(a->fwd.cu_seqlens, a->fwd.n_seq, s->T);
    int64_t every = kl__present(a->fwd.snapshots) ? a->fwd.snapshot_every : 0;
    size_t Vp = (size_t)kl__columns_ld(s->V);
    job.plan = kl__replay_plan(longest, s->chunk, (size_t)s->K * Vp, Vp + 2 * (size_t)s->chunk, every);
    job.uses_snapshots = kl__replay_uses_given(&job.plan, every);
    job.bias_channels = !kl__present(a->d_dt_bias) ? 0 : a->fwd.g.n_dim == 2 ? 1 : s->K;
    return job;
}

kl_status kl__cpu_kda_bwd(const kl_backend *be, const kl_kda_bwd_args *a, kl_error *err)
{
    (void)err;
    struct job job = make_job(be, a);
    struct kl__carver c = kl__carver(a->work);
    struct scratch none = {0};
    carve_work(&c, &job, 0, &none);
    int64_t n_snapshot = 0;
    for (int64_t seq = 0; job.uses_snapshots && seq < job.s.n_seq; seq++) {
        job.first_snapshot[seq] = n_snapshot;
        n_snapshot += kl__seq_tokens(a->fwd.cu_seqlens, seq, job.s.T) / a->fwd.snapshot_every;
    }
    kl__pool_run(be->pool, job.s.n_seq * job.s.H, run_task, &job);
    if (job.dA_log || job.dbias)
        kl__pool_run(be->pool, job.s.HV, add_sums, &job);
    return KL_OK;
}

size_t kl__cpu_kda_bwd_workspace(const kl_backend *be, const kl_kda_bwd_args *a)
{
    struct job job = make_job(be, a);
    struct kl__carver c = {0};
    struct scratch x = {0};
    return carve_work(&c, &job, kl_pool_threads(be->pool), &x);
}
