/* The absorbed form: queries move into the space of the latents, and all heads read the cache as it is.
 *      q~_h = [w_uk[h]^T q_n ; q_r];   z_h = softmax(scale q~_h . [c ; kr]) c;   o_h = w_uv[h] z_h
 * Tokens go through the three steps a window at a time, so that q~ and z stay small. */
#include "base/pool.h"
#include "cpu/mla.h"
#include "cpu/rows.h"

#include <string.h>

enum { WINDOW_TOKENS = 128, TOKENS_PER_TASK = 64 };

/* Tokens of neighbouring absorbed sequences; the last of these may go on in the next window. */
struct window {
    int64_t first_seq, end_seq, first_token, end_token;
    int64_t next_seq, next_token;
};

static int64_t first_token_of(const struct kl__latent *x, int64_t n)
{
    return x->attention.cu_q ? x->attention.cu_q[n] : n * x->attention.n_query;
}

static bool has_work(const struct kl__latent *x, const struct window *w, int64_t n)
{
    return kl__latent_absorbed(x, n) && first_token_of(x, n + 1) > w->next_token;
}

/* The window after `w` (at first: zeros); false when there is none. */
static bool next_window(const struct kl__latent *x, struct window *w)
{
    int64_t n_seq = x->attention.end_seq, n = w->next_seq;
    while (n < n_seq && !has_work(x, w, n))
        n++;
    if (n == n_seq)
        return false;
    int64_t start = first_token_of(x, n);
    w->first_seq = n;
    w->first_token = w->next_token > start ? w->next_token : start;
    int64_t limit = w->first_token + WINDOW_TOKENS;
    for (w->next_token = w->first_token; n < n_seq && kl__latent_absorbed(x, n) && w->next_token < limit; n++) {
        int64_t end = first_token_of(x, n + 1);
        w->next_token = end < limit ? end : limit;
        w->next_seq = n;
    }
    w->end_seq = n;
    w->end_token = w->next_token;
    return true;
}

/* What one window needs. */
struct job {
    const struct kl__latent *x;
    struct kl__attention attention; /* over q~ and z */
    float *q, *z;                   /* [tokens][n_head][n_latent + n_rope], [tokens][n_head][n_latent] */
    char *scratch;                  /* of thread 0 */
    size_t thread_bytes;
    int64_t n_token, n_task;
};

static int64_t most_columns(const struct kl__latent *x)
{
    return kl__latent_key(x) > x->n_v ? kl__latent_key(x) : x->n_v;
}

/* Rows of queries or outputs of one head, f32; and rows of a weight. */
struct scratch {
    float *rows, *weight;
    struct kl__i16_rows integers; /* packed weights, instead of `weight` */
};

static struct scratch carve_scratch(struct kl__carver *c, const struct kl__latent *x)
{
    struct scratch s = {0};
    s.rows = kl__carve(c, TOKENS_PER_TASK * (size_t)most_columns(x), sizeof(float));
    if (x->packed)
        kl__i16_carve_rows(&s.integers, c, x->n_latent > x->n_nope ? x->n_latent : x->n_nope);
    else
        s.weight = kl__carve(c, KL__LATENT_ROWS * (size_t)x->n_latent, sizeof(float));
    return s;
}

static void carve(struct kl__carver *c, const kl_backend *be, struct job *job)
{
    const struct kl__latent *x = job->x;
    struct kl__carver one = {0};
    carve_scratch(&one, x);
    job->thread_bytes = one.bytes;
    size_t rows = (size_t)job->n_token * (size_t)x->n_head;
    job->q = kl__carve(c, rows * (size_t)(x->n_latent + x->n_rope), sizeof(float));
    job->z = kl__carve(c, rows * (size_t)x->n_latent, sizeof(float));
    job->scratch = kl__carve(c, (size_t)kl_pool_threads(be->pool), job->thread_bytes);
}

static kl_tensor tokens_from(kl_tensor x, int64_t first, int64_t n)
{
    if (kl__present(x)) {
        x.data = kl__row(x, first);
        x.pitch = kl__pitch(x);
        x.dim[0] = n;
    }
    return x;
}

static struct job begin_window(const struct kl__latent *x, const struct window *w)
{
    struct job job = {.x = x, .attention = x->attention, .n_token = w->end_token - w->first_token};
    job.n_task = x->n_head * ((job.n_token + TOKENS_PER_TASK - 1) / TOKENS_PER_TASK);
    struct kl__attention *a = &job.attention;
    a->first_seq = w->first_seq;
    a->end_seq = w->end_seq;
    a->first_token = w->first_token;
    a->end_token = w->end_token;
    a->room_seq = job.n_token; /* as many sequences of one token need no more than one of as many */
    a->lse = tokens_from(a->lse, w->first_token, job.n_token);
    a->q = kl_view3(NULL, KL_F32, job.n_token, x->n_head, x->n_latent + x->n_rope);
    a->o = kl_view3(NULL, KL_F32, job.n_token, x->n_head, x->n_latent);
    return job;
}

static struct scratch scratch_of(const struct job *job, int thread)
{
    struct kl__carver c = {.base = job->scratch + (size_t)thread * job->thread_bytes};
    return carve_scratch(&c, job->x);
}

/* A task is a head and some tokens: the head's weights are read once for all of them. */
struct place {
    int64_t head, first, n;
};

static struct place locate(const struct job *job, int64_t task)
{
    int64_t n_block = job->n_task / job->x->n_head, first = task % n_block * TOKENS_PER_TASK;
    int64_t rest = job->n_token - first;
    return (struct place){task / n_block, first, rest < TOKENS_PER_TASK ? rest : TOKENS_PER_TASK};
}

/* c [n][n_out] = x [n][n_in] times packed panels. */
static void multiply_integers(const struct kl__latent *x, struct kl__i16_rows *rows, float *c, int64_t c_pitch,
                              const float *from, int64_t pitch, int64_t n, int64_t n_in, const int16_t *panel,
                              const float *scale, int64_t n_out)
{
    int64_t even = kl__i16_even(n_in);
    for (int64_t t = 0; t < n; t++)
        x->k->i16_row(rows->row + t * even, &rows->scale[t], from + t * pitch, n_in, even);
    kl__i16_multiply(x->k, &(struct kl__i16_product){.c = c,
                                                     .c_pitch = c_pitch,
                                                     .x = rows->row,
                                                     .x_pitch = even,
                                                     .x_scale = rows->scale,
                                                     .panel = panel,
                                                     .panel_numbers = even * KL__PANEL,
                                                     .panel_scale = scale,
                                                     .n_pair = even / 2,
                                                     .m = n,
                                                     .n = n_out});
}

static void absorb_task(void *arg, int64_t task, int thread)
{
    const struct job *job = arg;
    const struct kl__latent *x = job->x;
    struct scratch s = scratch_of(job, thread);
    struct place p = locate(job, task);
    int64_t n_k = kl__latent_key(x), row = x->n_latent + x->n_rope, pitch = x->n_head * row;
    float *to = job->q + p.first * pitch + p.head * row;
    kl__flash_gather(x->k, s.rows, x->attention.q, job->attention.first_token + p.first, p.head, 1, 0, p.n);
    for (int64_t t = 0; t < p.n; t++) {
        memset(to + t * pitch, 0, (size_t)x->n_latent * sizeof *to);
        memcpy(to + t * pitch + x->n_latent, s.rows + t * n_k + x->n_nope, (size_t)x->n_rope * sizeof *to);
    }
    if (x->packed) {
        struct kl__i16_weights w = kl__latent_packed(x, p.head);
        multiply_integers(x, &s.integers, to, pitch, s.rows, n_k, p.n, x->n_nope, w.absorb, w.absorb_scale,
                          x->n_latent);
        return;
    }
    for (int64_t d = 0; d < x->n_nope; d += KL__LATENT_ROWS) {
        int64_t n = x->n_nope - d < KL__LATENT_ROWS ? x->n_nope - d : KL__LATENT_ROWS;
        const float *weight = kl__latent_weight(x, x->w_uk, p.head, d, n, s.weight);
        x->k->attention_mix(to, pitch, NULL, s.rows + d, n_k, 1, weight, x->n_latent, NULL, NULL, p.n, n, x->n_latent);
    }
}

static void output_task(void *arg, int64_t task, int thread)
{
    const struct job *job = arg;
    const struct kl__latent *x = job->x;
    struct scratch s = scratch_of(job, thread);
    struct place p = locate(job, task);
    kl_tensor o = x->attention.o;
    int64_t pitch = x->n_head * x->n_latent;
    const float *z = job->z + p.first * pitch + p.head * x->n_latent;
    if (x->packed) {
        struct kl__i16_weights w = kl__latent_packed(x, p.head);
        multiply_integers(x, &s.integers, s.rows, x->n_v, z, pitch, p.n, x->n_latent, w.value, w.value_scale, x->n_v);
    }
    for (int64_t d = 0; !x->packed && d < x->n_v; d += KL__LATENT_ROWS) {
        int64_t n = x->n_v - d < KL__LATENT_ROWS ? x->n_v - d : KL__LATENT_ROWS;
        const float *weight = kl__latent_weight(x, x->w_uv, p.head, d, n, s.weight);
        x->k->attention_dot(s.rows + d, x->n_v, z, pitch, weight, x->n_latent, p.n, n, x->n_latent);
    }
    for (int64_t t = 0; t < p.n; t++) {
        void *to = kl__head_row(o, job->attention.first_token + p.first + t, p.head);
        if (o.dtype == KL_F32)
            memcpy(to, s.rows + t * x->n_v, (size_t)x->n_v * sizeof(float));
        else
            kl__end_row(x->k, o.dtype, to, x->n_v, s.rows + t * x->n_v);
    }
}

size_t kl__mla_absorbed_workspace(const kl_backend *be, const struct kl__latent *x)
{
    size_t most = 0;
    for (struct window w = {0}; next_window(x, &w);) {
        struct job job = begin_window(x, &w);
        struct kl__carver c = {0};
        carve(&c, be, &job);
        kl__carve(&c, kl__attention_run_workspace(be, &job.attention), 1);
        most = kl__carver_need(&c) > most ? kl__carver_need(&c) : most;
        /* The full windows that follow inside the same sequence need the same: one look is enough for all. */
        int64_t rest = first_token_of(x, w.next_seq + 1) - w.next_token;
        if (w.first_seq == w.next_seq && job.n_token == WINDOW_TOKENS)
            w.next_token += rest / WINDOW_TOKENS * WINDOW_TOKENS;
    }
    return most;
}

void kl__mla_absorbed(const kl_backend *be, const struct kl__latent *x, kl_workspace work)
{
    for (struct window w = {0}; next_window(x, &w);) {
        struct job job = begin_window(x, &w);
        struct kl__carver c = kl__carver(work);
        carve(&c, be, &job);
        job.attention.q.data = job.q;
        job.attention.o.data = job.z;
        size_t bytes = kl__attention_run_workspace(be, &job.attention);
        kl_workspace rest = {kl__carve(&c, bytes, 1), bytes};
        kl__pool_run(be->pool, job.n_task, absorb_task, &job);
        kl__attention_run(be, &job.attention, rest);
        kl__pool_run(be->pool, job.n_task, output_task, &job);
    }
}
