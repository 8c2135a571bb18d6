/* Backward through the expanded form, whatever form the forward took.  Sequence by sequence, some heads at a time, slab
 * by slab of the cache:
 *      expand        k_h = [w_uk[h] c ; kr], v_h = w_uv[h] c
 *      keys          d_k_h, d_v_h                           a task owns 64 positions of a head
 *      queries       d_q, added up over the slabs           a task owns 64 queries of a head
 *                    these two by turns, some queries at a time, so that the second has what the first computed
 *      latents       d_c = sum_h w_uk[h]^T d_kn_h + w_uv[h]^T d_v_h, d_kr = sum_h d_kr_h     ... 64 positions
 *      weights       d_w_uk[h] += d_kn_h c^T, d_w_uv[h] += d_v_h c^T                         ... 64 rows of a weight
 *  Every sum runs in ascending order of heads, positions or queries. */
#include "base/pool.h"
#include "cpu/flash_bwd.h"
#include "cpu/latent.h"

#include <string.h>

/* Products of the backward run on f32. */
static struct kl__latent latent_of(const kl_backend *be, const kl_mla_bwd_args *args)
{
    kl_mla_args forward = args->fwd;
    forward.packed = NULL;
    return kl__latent_of(be, &forward);
}

enum { TOKENS_PER_TASK = 16, TILE = KL__FLASH_ROWS * KL__ATTENTION_BLOCK, KEPT_FLOATS = 1 << 20 };

struct job {
    const struct kl__latent *x;
    const kl_mla_bwd_args *args;
    float *delta;  /* [T][n_head] */
    char *scratch; /* of thread 0 */
    size_t thread_bytes;

    /* Of the sequence that is worked on. */
    struct kl__slab slab;
    float *d_k, *d_v; /* as slab.k and slab.v */
    struct kl__flash_seq seq;
    int64_t token, row;    /* where its queries and its rows of the cache begin */
    int64_t n_query_block; /* of KL__FLASH_ROWS */

    /* The queries that are at work: blocks panel .. panel + n_panel - 1.  kept [slab.n_head][most_panel][blocks of a
     * slab][TILE]: their ds; NULL where one of keys and queries is not wanted. */
    float *kept;
    int64_t panel, n_panel, most_panel;
};

struct scratch {
    struct kl__flash_bwd_scratch flash;
    struct kl__latent_scratch latent;
};

static struct scratch carve_scratch(struct kl__carver *c, const struct kl__latent *x)
{
    struct scratch s;
    kl__flash_bwd_carve(&s.flash, c, kl__latent_key(x), x->n_v);
    kl__latent_carve(&s.latent, c, x);
    return s;
}

static struct scratch scratch_of(const struct job *job, int thread)
{
    struct kl__carver c = {.base = job->scratch + (size_t)thread * job->thread_bytes};
    return carve_scratch(&c, job->x);
}

static void carve(struct kl__carver *c, const kl_backend *be, struct job *job)
{
    struct kl__carver one = {0};
    carve_scratch(&one, job->x);
    job->thread_bytes = one.bytes;
    job->delta = kl__carve(c, (size_t)job->x->attention.end_token * (size_t)job->x->n_head, sizeof(float));
    job->scratch = kl__carve(c, (size_t)kl_pool_threads(be->pool), job->thread_bytes);
}

static int64_t blocks_of_slab(const struct job *job)
{
    return (job->slab.n_row + KL__ATTENTION_BLOCK - 1) / KL__ATTENTION_BLOCK;
}

/* As many queries at a time as KEPT_FLOATS bear, and all where nothing is kept.  What is lent does not go down where
 * a longer sequence leaves a piece of it unused. */
static void carve_kept(struct kl__carver *c, struct job *job)
{
    int64_t row = job->slab.n_head * blocks_of_slab(job) * TILE, fit = row ? KEPT_FLOATS / row : 0;
    bool keys = kl__present(job->args->d_cache) || kl__present(job->args->d_w_uk) || kl__present(job->args->d_w_uv);
    bool keep = keys && kl__present(job->args->d_q);
    job->most_panel = !keep || fit > job->n_query_block ? job->n_query_block : fit < 1 ? 1 : fit;
    int64_t most = KEPT_FLOATS > row ? KEPT_FLOATS : row, all = job->n_query_block * row;
    job->kept = keep ? kl__carve(c, (size_t)(all < most ? all : most), sizeof(float)) : NULL;
}

static void carve_sequence(struct kl__carver *c, struct job *job, int64_t n)
{
    const struct kl__latent *x = job->x;
    job->slab = kl__slab_size(x, n, 2);
    size_t rows = (size_t)(job->slab.n_head * job->slab.n_row);
    job->slab.k = kl__carve(c, rows * (size_t)kl__latent_key(x), sizeof(float));
    job->slab.v = kl__carve(c, rows * (size_t)x->n_v, sizeof(float));
    job->d_k = kl__carve(c, rows * (size_t)kl__latent_key(x), sizeof(float));
    job->d_v = kl__carve(c, rows * (size_t)x->n_v, sizeof(float));
    job->seq = kl__attention_seq(&x->attention, n);
    job->seq.group = 1;
    job->n_query_block = (job->seq.n_query + KL__FLASH_ROWS - 1) / KL__FLASH_ROWS;
    carve_kept(c, job);
}

static kl_tensor delta_of(const struct job *job)
{
    return kl_view2(job->delta, KL_F32, job->x->attention.end_token, job->x->n_head);
}

static void delta_task(void *arg, int64_t task, int thread)
{
    const struct job *job = arg;
    struct scratch s = scratch_of(job, thread);
    int64_t first = task * TOKENS_PER_TASK, n = job->x->attention.end_token;
    kl__flash_delta(job->x->k, &s.flash, delta_of(job), job->args->fwd.o, job->args->d_o, first,
                    first + TOKENS_PER_TASK < n ? first + TOKENS_PER_TASK : n);
}

static void expand_task(void *arg, int64_t task, int thread)
{
    const struct job *job = arg;
    struct scratch s = scratch_of(job, thread);
    int64_t n_block = kl__slab_blocks(&job->slab);
    kl__slab_expand(job->x, &job->slab, task / n_block, task % n_block, &s.latent);
}

/* Head `i` of the slab as flash attention sees it. */
static struct kl__flash_bwd head_of(const struct job *job, int64_t i)
{
    return (struct kl__flash_bwd){.k = job->x->k,
                                  .kv = kl__slab_kv(job->x, &job->slab, i),
                                  .seq = job->seq,
                                  .q = job->args->fwd.q,
                                  .d_o = job->args->d_o,
                                  .lse = job->args->fwd.lse,
                                  .delta = delta_of(job),
                                  .token = job->token,
                                  .head = job->slab.first_head + i,
                                  .scale = job->x->attention.scale};
}

/* The positions of block `block` of the slab: from `at` in the slab on. */
struct span {
    int64_t at, n;
};

static struct span block_of(const struct job *job, int64_t block)
{
    int64_t at = block * KL__ATTENTION_BLOCK, rest = job->slab.n - at;
    return (struct span){at, rest < KL__ATTENTION_BLOCK ? rest : KL__ATTENTION_BLOCK};
}

/* Tiles of head `i` from query block `query` of the panel and position block `position` on. */
static struct kl__flash_kept kept_of(const struct job *job, int64_t i, int64_t query, int64_t position, int64_t step)
{
    int64_t tile = (i * job->most_panel + query) * blocks_of_slab(job) + position;
    return (struct kl__flash_kept){job->kept ? job->kept + tile * TILE : NULL, step * TILE};
}

static void keys_task(void *arg, int64_t task, int thread)
{
    const struct job *job = arg;
    const struct kl__latent *x = job->x;
    struct scratch s = scratch_of(job, thread);
    int64_t n_block = kl__slab_blocks(&job->slab), i = task / n_block, n_k = kl__latent_key(x);
    struct span p = block_of(job, task % n_block);
    struct kl__flash_bwd f = head_of(job, i);
    int64_t row = job->panel * KL__FLASH_ROWS, end = row + job->n_panel * KL__FLASH_ROWS;
    kl__flash_bwd_keys(&f, &s.flash, kl__slab_keys(x, &job->slab, job->d_k, i) + p.at * n_k, n_k,
                       kl__slab_values(x, &job->slab, job->d_v, i) + p.at * x->n_v, x->n_v, job->slab.first + p.at, p.n,
                       row, end < job->seq.n_query ? end : job->seq.n_query,
                       kept_of(job, i, 0, task % n_block, blocks_of_slab(job)));
}

static void queries_task(void *arg, int64_t task, int thread)
{
    const struct job *job = arg;
    struct scratch s = scratch_of(job, thread);
    int64_t i = task / job->n_panel, block = task % job->n_panel;
    int64_t first = (job->panel + block) * KL__FLASH_ROWS, rest = job->seq.n_query - first;
    struct kl__flash_bwd f = head_of(job, i);
    kl__flash_bwd_queries(&f, &s.flash, job->args->d_q, job->slab.first > 0, first,
                          rest < KL__FLASH_ROWS ? rest : KL__FLASH_ROWS, job->slab.first, job->slab.first + job->slab.n,
                          kept_of(job, i, block, 0, 1));
}

/* d_c [n] with a pitch += d [n][columns] . w[head]: `pitch` of d is its number of columns in memory. */
static void back_project(const struct kl__latent *x, float *d_c, int64_t d_c_pitch, const float *d, int64_t d_pitch,
                         int64_t n, kl_tensor w, int64_t head, float *scratch)
{
    for (int64_t at = 0; at < w.dim[1]; at += KL__LATENT_ROWS) {
        int64_t rows = w.dim[1] - at < KL__LATENT_ROWS ? w.dim[1] - at : KL__LATENT_ROWS;
        const float *weight = kl__latent_weight(x, w, head, at, rows, scratch);
        x->k->attention_mix(d_c, d_c_pitch, NULL, d + at, d_pitch, 1, weight, x->n_latent, NULL, NULL, n, rows,
                            x->n_latent);
    }
}

static void latents_task(void *arg, int64_t block, int thread)
{
    const struct job *job = arg;
    const struct kl__latent *x = job->x;
    struct scratch s = scratch_of(job, thread);
    struct span p = block_of(job, block);
    kl_tensor d_cache = job->args->d_cache;
    int64_t pitch = kl__pitch(d_cache), n_k = kl__latent_key(x);
    float *to = kl__row(d_cache, job->row + job->slab.first + p.at);
    for (int64_t r = 0; job->slab.first_head == 0 && r < p.n; r++)
        memset(to + r * pitch, 0, (size_t)(x->n_latent + x->n_rope) * sizeof *to);
    for (int64_t i = 0; i < job->slab.n_head; i++) {
        const float *d_k = kl__slab_keys(x, &job->slab, job->d_k, i) + p.at * n_k;
        const float *d_v = kl__slab_values(x, &job->slab, job->d_v, i) + p.at * x->n_v;
        back_project(x, to, pitch, d_k, n_k, p.n, x->w_uk, job->slab.first_head + i, s.latent.weight);
        back_project(x, to, pitch, d_v, x->n_v, p.n, x->w_uv, job->slab.first_head + i, s.latent.weight);
        for (int64_t r = 0; r < p.n; r++)
            for (int64_t d = 0; d < x->n_rope; d++)
                to[r * pitch + x->n_latent + d] += d_k[r * n_k + x->n_nope + d];
    }
}

/* d_w[n][n_latent] += d^T c over the slab: `d` is the first of n columns, `pitch` apart from row to row. */
static void weight_rows(const struct job *job, struct scratch *s, float *d_w, const float *d, int64_t pitch, int64_t n)
{
    const struct kl__latent *x = job->x;
    struct kl__kv cache = kl__attention_kv(&x->attention, job->slab.seq, 0);
    for (int64_t block = 0; block < kl__slab_blocks(&job->slab); block++) {
        struct span p = block_of(job, block);
        struct kl__kv_block c = kl__kv_read(x->k, &cache, job->slab.first + p.at, p.n, s->latent.latent);
        x->k->attention_mix(d_w, x->n_latent, NULL, d + p.at * pitch, 1, pitch, c.k, c.k_pitch, NULL, NULL, n, p.n,
                            x->n_latent);
    }
}

static int64_t weight_blocks(kl_tensor d_w)
{
    return kl__present(d_w) ? (d_w.dim[1] + KL__LATENT_ROWS - 1) / KL__LATENT_ROWS : 0;
}

static void weights_task(void *arg, int64_t task, int thread)
{
    const struct job *job = arg;
    const struct kl__latent *x = job->x;
    struct scratch s = scratch_of(job, thread);
    int64_t n_uk = weight_blocks(job->args->d_w_uk), n_block = n_uk + weight_blocks(job->args->d_w_uv);
    int64_t i = task / n_block, block = task % n_block;
    bool keys = block < n_uk;
    int64_t first = (keys ? block : block - n_uk) * KL__LATENT_ROWS, pitch = keys ? kl__latent_key(x) : x->n_v;
    kl_tensor d_w = keys ? job->args->d_w_uk : job->args->d_w_uv;
    const float *d = keys ? kl__slab_keys(x, &job->slab, job->d_k, i) : kl__slab_values(x, &job->slab, job->d_v, i);
    int64_t rest = d_w.dim[1] - first;
    weight_rows(job, &s, (float *)kl__row(d_w, job->slab.first_head + i) + first * x->n_latent, d + first, pitch,
                rest < KL__LATENT_ROWS ? rest : KL__LATENT_ROWS);
}

static void run_slab(const kl_backend *be, struct job *job)
{
    const kl_mla_bwd_args *a = job->args;
    int64_t n_head = job->slab.n_head, n_block = kl__slab_blocks(&job->slab);
    int64_t n_weight = weight_blocks(a->d_w_uk) + weight_blocks(a->d_w_uv);
    bool keys = kl__present(a->d_cache) || n_weight > 0;
    kl__pool_run(be->pool, n_head * n_block, expand_task, job);
    job->panel = 0;
    do { /* once without queries, too: gradients of the positions are 0 then */
        int64_t rest = job->n_query_block - job->panel;
        job->n_panel = job->most_panel < rest ? job->most_panel : rest;
        if (keys)
            kl__pool_run(be->pool, n_head * n_block, keys_task, job);
        if (kl__present(a->d_q))
            kl__pool_run(be->pool, n_head * job->n_panel, queries_task, job);
        job->panel += job->n_panel;
    } while (job->panel < job->n_query_block);
    if (kl__present(a->d_cache))
        kl__pool_run(be->pool, n_block, latents_task, job);
    kl__pool_run(be->pool, n_head * n_weight, weights_task, job);
}

/* An empty cache is one empty slab, so that d_q is written all the same. */
static void run_sequence(const kl_backend *be, struct job *job)
{
    struct kl__slab *slab = &job->slab;
    int64_t heads = slab->n_head;
    for (slab->first_head = 0; slab->first_head < job->x->n_head; slab->first_head += heads) {
        int64_t rest = job->x->n_head - slab->first_head;
        slab->n_head = heads < rest ? heads : rest;
        bool last = false;
        for (slab->first = 0; !last; slab->first += slab->n_row) {
            last = job->seq.n_key - slab->first <= slab->n_row;
            slab->n = last ? job->seq.n_key - slab->first : slab->n_row;
            run_slab(be, job);
        }
    }
}

kl_status kl__cpu_mla_bwd(const kl_backend *be, const kl_mla_bwd_args *args, kl_error *err)
{
    (void)err;
    struct kl__latent x = latent_of(be, args);
    struct job job = {.x = &x, .args = args};
    const int64_t *cu_q = args->fwd.cu_q, *cu_k = args->fwd.cu_k ? args->fwd.cu_k : cu_q;
    struct kl__carver all = kl__carver(args->work);
    carve(&all, be, &job);
    kl__pool_run(be->pool, (x.attention.end_token + TOKENS_PER_TASK - 1) / TOKENS_PER_TASK, delta_task, &job);
    for (int64_t n = 0; n < x.attention.end_seq; n++) {
        struct kl__carver c = all;
        carve_sequence(&c, &job, n);
        job.token = cu_q ? cu_q[n] : 0;
        job.row = cu_k ? cu_k[n] : 0;
        run_sequence(be, &job);
    }
    return KL_OK;
}

size_t kl__cpu_mla_bwd_workspace(const kl_backend *be, const kl_mla_bwd_args *args)
{
    struct kl__latent x = latent_of(be, args);
    struct job job = {.x = &x, .args = args};
    struct kl__carver all = {0};
    carve(&all, be, &job);
    size_t most = kl__carver_need(&all);
    for (int64_t n = 0; n < x.attention.end_seq; n++) {
        struct kl__carver c = all;
        carve_sequence(&c, &job, n);
        most = kl__carver_need(&c) > most ? kl__carver_need(&c) : most;
    }
    return most;
}
