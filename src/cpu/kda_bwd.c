/* Gradients of Kimi Delta Attention and its kin, by chunks.  A task is a few neighbouring key heads of a sequence and
 * all their value heads, which take turns (cpu/replay.h); a token's sums over value heads in d_q and d_k are in their
 * order, whatever the tasks:
 *
 *     for each value head:   D <- d_state_out
 *     for each block of chunks, last to first, for each value head:
 *         forwards again:    stage (copies: rows of a head lie so that few of them stay in a cache) and prep as in the
 *                            forward;  again: e, and the state before each chunk;  where e is given, write: the state
 *         backwards:         slabs_bwd: d_v, D;  prep_bwd: d_q, d_k, dg, d_beta, through gate and sigmoid, after the
 *                            last value head through the L2 norm
 *     for each value head:   d_state_in <- D
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
    kl_tensor e;             /* the errors, where they are known: the forward's, or v with KL_RULE_ADD */
    int keys_per_task;       /* key heads of a task */
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
    float *e;             /* [block][chunk][Vp] errors that the chunks of a block write */
    float *D;             /* [plan.n_head][n_slab][K][KL_SLAB] */
    float *v, *d_o, *d_v; /* [chunk][Vp] */
    float *row, *d_row;   /* [ld] */
};

/* Value heads of one sequence that take turns. */
struct heads {
    const struct job *job;
    struct scratch *x;
    int64_t seq, first; /* the first of them */
    int64_t start;      /* first token of the sequence */
};

/* What the call shares, then one scratch after the other; the last one is left in x. */
static size_t carve_work(struct kl__carver *c, struct job *job, int n_thread, struct scratch *x)
{
    const struct kl__kda_shape *s = &job->s;
    size_t Vp = (size_t)kl__columns_ld(s->V), rows = (size_t)s->chunk * (size_t)s->ld;
    size_t pairs = (size_t)s->chunk * KL_CHUNK_MAX, sums = (size_t)(s->n_seq * s->HV);
    struct kl__kda_chunk_bwd *g = &x->grad;
    job->first_snapshot = job->plan.uses_given ? kl__carve(c, (size_t)s->n_seq, sizeof(int64_t)) : NULL;
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
        x->e = kl__carve(c, (size_t)job->plan.block * (size_t)s->chunk * Vp, sizeof(float));
        x->D = kl__carve(c, (size_t)job->plan.n_head * (size_t)s->K * Vp, sizeof(float));
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

/* ---------------------------------------------------------------------------------------------------- the chunks -- */

static float *adjoint_of(const struct heads *h, int head)
{
    return h->x->D + (size_t)head * h->job->plan.state_floats;
}

static void load_state(void *ctx, int head, float *state, int64_t t)
{
    const struct heads *h = ctx;
    const struct job *job = h->job;
    const float *from = t == 0 ? state_of(job, job->f->state_in, h->seq, h->first + head)
                               : state_of(job, job->f->snapshots,
                                          job->first_snapshot[h->seq] + t / job->f->snapshot_every - 1,
                                          h->first + head);
    kl__slabs_load(state, from, job->f->state_layout, job->s.K, job->s.V, 0, kl__n_slab(job->s.V));
}

static void add_present(struct kl__ahead *x, kl_tensor rows, int64_t t0, int n, int64_t head)
{
    if (kl__present(rows) && rows.n_dim == 3)
        kl__ahead_add(x, rows, t0, n, head, 0, rows.dim[2]);
}

/* Adds the rows that chunk `c` will be the first to read or write, or that are long gone; c NULL: none. */
static void add_rows(struct kl__ahead *x, const struct heads *h, const struct kl__replay_chunk *c)
{
    if (!c || c->told)
        return;
    const struct job *job = h->job;
    const kl_kda_bwd_args *a = job->a;
    int64_t t0 = h->start + c->t, head = h->first + c->head, key_head = head / (job->s.HV / job->s.H);
    bool back = c->what == KL__REPLAY_BACKWARD;
    if (back) {
        add_present(x, a->d_o, t0, c->n, head);
        add_present(x, a->d_v, t0, c->n, head);
        add_present(x, a->d_q, t0, c->n, key_head);
        add_present(x, a->d_k, t0, c->n, key_head);
        add_present(x, a->d_g, t0, c->n, head);
    }
    if (!back || job->f->gate != KL_GATE_LOG)
        add_present(x, job->f->g, t0, c->n, head);
    if (!back || job->f->qk_l2norm) {
        add_present(x, job->f->q, t0, c->n, key_head);
        add_present(x, job->f->k, t0, c->n, key_head);
    }
    if (!back)
        add_present(x, kl__present(job->e) ? job->e : job->f->v, t0, c->n, head);
}

static float *errors(const struct heads *h, int i)
{
    return h->x->e + (ptrdiff_t)i * h->job->s.chunk * kl__columns_ld(h->job->s.V);
}

/* From `before` to `state`, if that is wanted, with errors that are known. */
static void write_chunk(const struct heads *h, float *state, const float *before, const struct kl__replay_chunk *c)
{
    const struct job *job = h->job;
    ptrdiff_t lde = kl__columns_ld(job->s.V);
    float *e = errors(h, c->i);
    kl__head_rows(job->k, e, lde, job->e, h->start + c->t, c->n, h->first + c->head);
    if (state)
        job->k->kda_write(state, before, &h->x->stage[c->i].chunk, e, lde, kl__n_slab(job->s.V));
}

/* The same where errors are to be found. */
static void find_chunk(const struct heads *h, float *state, const float *before, const struct kl__replay_chunk *c)
{
    const struct job *job = h->job;
    struct kl__columns columns = all_columns(&job->s);
    struct kl__kda_chunk *chunk = &h->x->stage[c->i].chunk;
    ptrdiff_t ldv;
    const float *v = kl__stage_values(job->k, &columns, job->f->v, h->start + c->t, c->n, h->first + c->head, h->x->v,
                                      &ldv);
    if (c->what == KL__REPLAY_FORWARD)
        job->k->kda_slabs(state, NULL, 0, NULL, 0, chunk, v, ldv, columns.n_slab, job->f->rule);
    else
        job->k->kda_again(state, before, errors(h, c->i), kl__columns_ld(job->s.V), chunk, v, ldv, columns.n_slab);
}

/* Runs the chunk: on the way forwards `state` in place; else from `before` to `state`, if that is wanted, keeping the
 * errors that the tokens write. */
static void run_chunk(const struct heads *h, float *state, const float *before, const struct kl__replay_chunk *c,
                      const struct kl__replay_chunk *next)
{
    const struct job *job = h->job;
    struct kl__kda_stage *stage = &h->x->stage[c->i];
    bool known = kl__present(job->e);
    int64_t n_call = known && !state ? 2 : kl__slabs_fetches(known ? KL_ROWS : c->n, job->s.K, kl__n_slab(job->s.V));
    struct kl__ahead ahead = {0};
    add_rows(&ahead, h, next);
    kl__ahead_spread(&ahead, n_call);
    if (known && !state)
        kl__fetch_some(&ahead);
    kl__kda_stage_chunk(job->k, job->f, &job->s, stage, h->start + c->t, c->n, h->first + c->head);
    stage->chunk.ahead = &ahead;
    if (known)
        write_chunk(h, state, c->what == KL__REPLAY_FORWARD ? state : before, c);
    else
        find_chunk(h, state, before, c);
    if (known && !state)
        kl__fetch_some(&ahead);
    stage->chunk.ahead = NULL;
}

/* ------------------------------------------------------------------------------------ from the chunk to the args -- */

/* Sums over the value heads of a key head grow in the output itself; the L2 norm comes when they are complete. */
static void write_key_row(const struct heads *h, int64_t head, kl_tensor d, kl_tensor x, int64_t t, const float *dx)
{
    const struct job *job = h->job;
    int64_t K = job->s.K, group = job->s.HV / job->s.H;
    if (!kl__present(d))
        return;
    float *to = kl__head_row(d, t, head / group);
    if (head % group == 0)
        memcpy(to, dx, sizeof *to * (size_t)K);
    else
        job->k->add_row(to, dx, K);
    if (head % group == group - 1 && job->f->qk_l2norm) {
        const float *row = kl__read_row(job->k, x.dtype, kl__head_row(x, t, head / group), K, h->x->row);
        job->k->l2norm_row_bwd(to, to, row, K, 1e-6f);
    }
}

/* dg [K] of token t, with respect to the log decay, through the gate to d_g, d_A_log and d_dt_bias. */
static void write_gate_row(const struct heads *h, int64_t head, int64_t t, const float *dg)
{
    const struct job *job = h->job;
    const kl_kda_args *f = job->f;
    int64_t sums = h->seq * job->s.HV + head, n = f->g.n_dim == 2 ? 1 : job->s.K;
    if (!kl__present(f->g))
        return;
    float one = 0;
    if (n == 1 && job->s.K > 1) {
        for (int64_t i = 0; i < job->s.K; i++)
            one += dg[i];
        dg = &one;
    }
    float rate = kl__present(f->A_log) ? expf(((const float *)f->A_log.data)[head * kl__pitch(f->A_log)]) : 1;
    const float *bias = kl__present(f->dt_bias) ? (const float *)kl__row(f->dt_bias, head) : NULL;
    const float *x = kl__read_row(job->k, f->g.dtype, kl__head_row(f->g, t, head), n, h->x->row);
    float *dx = kl__present(job->a->d_g) ? kl__head_row(job->a->d_g, t, head) : h->x->d_row;
    job->k->decay_row_bwd(dx, job->dbias ? job->dbias + sums * job->bias_channels : NULL,
                          job->dA_log ? job->dA_log + sums : NULL, dg, x, bias, n, f->gate, rate, f->lower_bound);
}

static void write_beta(const struct heads *h, int64_t head, int64_t t, float dbeta)
{
    const kl_kda_args *f = h->job->f;
    if (!kl__present(h->job->a->d_beta))
        return;
    if (f->beta_sigmoid) {
        float sigmoid = 1 / (1 + expf(-kl__head_scalar(f->beta, t, head)));
        dbeta *= sigmoid * (1 - sigmoid);
    }
    *(float *)kl__head_row(h->job->a->d_beta, t, head) = f->beta_double ? 2 * dbeta : dbeta;
}

static void backward_chunk(const struct heads *h, const float *before, const struct kl__replay_chunk *at,
                           const struct kl__replay_chunk *next, const struct kl__replay_chunk *later)
{
    const struct job *job = h->job;
    struct scratch *x = h->x;
    struct kl__columns c = all_columns(&job->s);
    struct kl__kda_stage *stage = &x->stage[at->i];
    int64_t t0 = h->start + at->t, head = h->first + at->head;
    int n = at->n;
    ptrdiff_t lddo, lde = kl__columns_ld(job->s.V), lddv = lde;
    struct kl__ahead ahead = {0};
    add_rows(&ahead, h, next);
    add_rows(&ahead, h, later);
    kl__ahead_spread(&ahead, kl__slabs_fetches(n + KL_ROWS, job->s.K, c.n_slab));
    const float *d_o = kl__stage_values(job->k, &c, job->a->d_o, t0, n, head, x->d_o, &lddo);
    bool wants_dv = kl__present(job->a->d_v);
    float *d_v = wants_dv ? kl__begin_outputs(&c, job->a->d_v, t0, head, x->d_v, &lddv) : x->d_v;
    stage->chunk.ahead = &ahead;
    job->k->kda_slabs_bwd(adjoint_of(h, at->head), &x->grad, d_v, lddv, before, &stage->chunk, errors(h, at->i), lde,
                          d_o, lddo, c.n_slab, job->f->rule);
    stage->chunk.ahead = NULL;
    if (wants_dv)
        kl__end_outputs(job->k, &c, job->a->d_v, t0, n, head, d_v, lddv);
    job->k->kda_prep_bwd(&x->grad, &stage->chunk, stage->q, stage->ldq, stage->k, stage->ldk, stage->alpha,
                         job->s.scale);
    for (int r = 0; r < n; r++) {
        write_key_row(h, head, job->a->d_q, job->f->q, t0 + r, x->grad.dq + r * job->s.ld);
        write_key_row(h, head, job->a->d_k, job->f->k, t0 + r, x->grad.dk + r * job->s.ld);
        write_gate_row(h, head, t0 + r, x->grad.dg + r * job->s.ld);
        write_beta(h, head, t0 + r, x->grad.dbeta[r]);
    }
}

static void handle_chunk(void *ctx, float *state, const float *before, const struct kl__replay_chunk *c,
                         const struct kl__replay_chunk *next, const struct kl__replay_chunk *later)
{
    if (c->what == KL__REPLAY_BACKWARD)
        backward_chunk(ctx, before, c, next, later);
    else
        run_chunk(ctx, state, before, c, next);
}

/* ----------------------------------------------------------------------------------------------------- the tasks -- */

static void run_heads(struct heads *h, int n_head)
{
    static const struct kl__replay_steps steps = {load_state, handle_chunk};
    const struct job *job = h->job;
    const struct kl__kda_shape *s = &job->s;
    int n_slab = kl__n_slab(s->V);
    for (int i = 0; i < n_head; i++) {
        int64_t sums = h->seq * s->HV + h->first + i;
        if (job->dA_log)
            job->dA_log[sums] = 0;
        if (job->dbias)
            memset(job->dbias + sums * job->bias_channels, 0, sizeof(float) * (size_t)job->bias_channels);
        kl__slabs_load(adjoint_of(h, i), state_of(job, job->a->d_state_out, h->seq, h->first + i),
                       job->f->state_layout, s->K, s->V, 0, n_slab);
    }
    kl__replay(&job->plan, &h->x->replay, &steps, h, n_head, kl__seq_tokens(job->f->cu_seqlens, h->seq, s->T));
    for (int i = 0; kl__present(job->a->d_state_in) && i < n_head; i++)
        kl__slabs_store(state_of(job, job->a->d_state_in, h->seq, h->first + i), adjoint_of(h, i),
                        job->f->state_layout, s->K, s->V, 0, n_slab);
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

static int64_t tasks_per_sequence(const struct job *job)
{
    return (job->s.H + job->keys_per_task - 1) / job->keys_per_task;
}

static void run_task(void *arg, int64_t task, int thread)
{
    struct job job = *(const struct job *)arg;
    struct kl__carver c = kl__carver(job.a->work);
    struct scratch x = {0};
    carve_work(&c, &job, thread + 1, &x);
    int64_t per_seq = tasks_per_sequence(&job), seq = task / per_seq, group = job.s.HV / job.s.H;
    int64_t key = task % per_seq * job.keys_per_task, key_end = key + job.keys_per_task;
    key_end = key_end < job.s.H ? key_end : job.s.H;
    for (int64_t i = key; group == 0 && i < key_end; i++)
        clear_key_head(&job, seq, i);
    for (int64_t head = key * group; head < key_end * group; head += job.plan.n_head) {
        int64_t left = key_end * group - head;
        struct heads h = {&job, &x, seq, head, kl__seq_start(job.f->cu_seqlens, seq, job.s.T)};
        run_heads(&h, left < job.plan.n_head ? (int)left : job.plan.n_head);
    }
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
            job->k->add_row(kl__row(job->a->d_dt_bias, head), job->dbias + sums * job->bias_channels,
                            job->bias_channels);
    }
}

static struct job make_job(const kl_backend *be, const kl_kda_bwd_args *a)
{
    enum { TURNS = 8 }; /* value heads */
    struct job job = {.k = kl__cpu_kernels(be), .a = a, .f = &a->fwd, .s = kl__kda_shape(&a->fwd)};
    job.e = a->fwd.rule == KL_RULE_ADD ? a->fwd.v : a->fwd.e;
    const struct kl__kda_shape *s = &job.s;
    job.keys_per_task = kl__heads_per_task(s->n_seq, s->H, kl_pool_threads(be->pool));
    int64_t heads = s->H ? job.keys_per_task * (s->HV / s->H) : 0;
    job.plan = kl__replay_plan(kl__longest_sequence(a->fwd.cu_seqlens, a->fwd.n_seq, s->T), s->chunk,
                               heads < TURNS ? (int)heads : TURNS, (size_t)s->K * (size_t)kl__columns_ld(s->V),
                               kl__present(a->fwd.snapshots) ? a->fwd.snapshot_every : 0);
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
    for (int64_t seq = 0; job.plan.uses_given && seq < job.s.n_seq; seq++) {
        job.first_snapshot[seq] = n_snapshot;
        n_snapshot += kl__seq_tokens(a->fwd.cu_seqlens, seq, job.s.T) / a->fwd.snapshot_every;
    }
    kl__pool_run(be->pool, job.s.n_seq * tasks_per_sequence(&job), run_task, &job);
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
