/* A task is a tile of channels, and walks all tokens: so the sums of the parameters' gradients run in one order.
 * Sequences are walked from their ends, because dx_t is made of g_t .. g_{t+W-1}, the gradients before the activation:
 *      dx_t = sum_i w_{W-1-i} g_{t+i}
 * which is the forward's loop over rows of g with the taps in reverse; so is the gradient of the carried tail. */
#include "base/pool.h"
#include "cpu/rows.h"
#include "cpu/short_conv.h"

#include <string.h>

enum { TILE = 64, NARROW = 48, TOKENS_PER_SUM = 1024 };

/* Arrays of TILE floats after those of struct kl__conv_tile.  SUM is what some tokens add to the parameters' gradients,
 * the taps' first and then the bias's; TOTAL is the sum of those. */
enum {
    DY = KL__CONV_ARRAYS,
    G = DY + KL__CONV_STEP,
    REVERSED = G + KL__CONV_STEP + KL__CONV_TAPS - 1,
    SUM = REVERSED + KL__CONV_TAPS,
    TOTAL = SUM + KL__CONV_TAPS + 1,
    N_ARRAY = TOTAL + KL__CONV_TAPS + 1,
};

struct walk {
    struct kl__conv_tile l;
    const kl_short_conv_bwd_args *b;
    float *g, *reversed, *sum, *total; /* g [STEP + W - 1][n], sum and total [W + 1][n] */
    int64_t n_summed;
};

static void flush_sum(struct walk *k)
{
    int64_t n = (k->l.W + 1) * k->l.n;
    k->l.k->add_row(k->total, k->sum, n);
    memset(k->sum, 0, (size_t)n * sizeof *k->sum);
    k->n_summed = 0;
}

static void fetch_row(kl_tensor x, int64_t t, int64_t channel, int64_t n)
{
    enum { LINE = 64 };
    const char *row = (const char *)kl__row(x, t) + (size_t)channel * kl_dtype_bytes(x.dtype);
    for (int64_t at = 0; at < n * (int64_t)kl_dtype_bytes(x.dtype); at += LINE)
        __builtin_prefetch(row + at, 0, 2);
}

/* Asks for what the step at `first` reads and writes: pieces of rows that lie too far apart for the hardware. */
static void fetch_step(const struct walk *k, int64_t first, int64_t n_token)
{
    const struct kl__conv_tile *l = &k->l;
    for (int64_t t = first; t < first + n_token; t++) {
        fetch_row(l->a->x, t, l->channel, l->n);
        fetch_row(k->b->d_y, t, l->channel, l->n);
        if (kl__present(k->b->d_x))
            fetch_row(k->b->d_x, t, l->channel, l->n);
    }
}

/* g of tokens first .. first + n_token - 1, in front of the W - 1 rows that are known from the tokens behind them. */
static void step_through_activation(struct walk *k, const struct kl__conv_span *s, int64_t first, int64_t n_token)
{
    const struct kl__conv_tile *l = &k->l;
    kl_tensor d_y = k->b->d_y;
    const float *x[KL__CONV_STEP + KL__CONV_TAPS - 1], *dy[KL__CONV_STEP];
    kl__conv_gather(l, x, s, first - (l->W - 1), n_token + l->W - 1);
    for (int64_t t = 0; t < n_token; t++) {
        const char *row = (const char *)kl__row(d_y, first + t) + (size_t)l->channel * kl_dtype_bytes(d_y.dtype);
        dy[t] = kl__read_row(l->k, d_y.dtype, row, l->n, l->scratch + (DY + t) * TILE);
    }
    memmove(k->g + n_token * l->n, k->g, (size_t)((l->W - 1) * l->n) * sizeof *k->g);
    l->k->short_conv_bwd(k->g, l->n, k->sum, k->sum + l->W * l->n, dy, x, l->w, l->bias, n_token, l->n, l->W,
                         l->a->act);
    k->n_summed += n_token;
    if (k->n_summed >= TOKENS_PER_SUM)
        flush_sum(k);
}

/* Gradients of n_row inputs in front of which lie n_zero rows of zeros instead of g. */
static void step_to_inputs(const struct walk *k, float *dx, int64_t pitch, int64_t n_row, int64_t n_zero)
{
    const struct kl__conv_tile *l = &k->l;
    const float *g[KL__CONV_STEP + KL__CONV_TAPS - 1];
    for (int64_t i = 0; i < n_row + l->W - 1; i++)
        g[i] = i < n_zero ? l->zeros : k->g + (i - n_zero) * l->n;
    l->k->short_conv(dx, pitch, g, k->reversed, NULL, n_row, l->n, l->W, KL_ACT_NONE);
}

static void walk_sequence(struct walk *k, int64_t seq)
{
    const struct kl__conv_tile *l = &k->l;
    const kl_short_conv_bwd_args *b = k->b;
    struct kl__conv_span s = kl__conv_span(l->a, seq);
    int64_t n_step = (s.end - s.start + KL__CONV_STEP - 1) / KL__CONV_STEP;
    memset(k->g, 0, (size_t)((l->W - 1) * l->n) * sizeof *k->g);
    while (n_step-- > 0) {
        int64_t first = s.start + n_step * KL__CONV_STEP;
        int64_t n_token = s.end - first < KL__CONV_STEP ? s.end - first : KL__CONV_STEP;
        if (n_step > 0)
            fetch_step(k, first - KL__CONV_STEP, KL__CONV_STEP);
        step_through_activation(k, &s, first, n_token);
        if (kl__present(b->d_x))
            step_to_inputs(k, (float *)kl__row(b->d_x, first) + l->channel, kl__pitch(b->d_x), n_token, 0);
    }
    if (kl__present(b->d_tail_in))
        step_to_inputs(k, (float *)kl__row(b->d_tail_in, seq) + l->channel, l->a->x.dim[1], l->W - 1, l->W - 1);
}

static void add_parameters(const struct walk *k)
{
    const struct kl__conv_tile *l = &k->l;
    kl_tensor d_w = k->b->d_w, d_bias = k->b->d_bias;
    for (int64_t c = 0; kl__present(d_w) && c < l->n; c++) {
        float *to = kl__row(d_w, l->channel + c);
        for (int j = 0; j < l->W; j++)
            to[j] += k->total[j * l->n + c];
    }
    if (kl__present(d_bias))
        l->k->add_row((float *)d_bias.data + l->channel, k->total + l->W * l->n, l->n);
}

struct job {
    const kl_backend *be;
    const kl_short_conv_bwd_args *b;
    int64_t width; /* of a tile */
};

/* A little narrower where threads then get tiles more evenly; no result depends on it. */
static int64_t tile_width(int64_t n_channel, int64_t n_thread)
{
    int64_t most[2];
    for (int i = 0; i < 2; i++) {
        int64_t width = i ? NARROW : TILE, n_tile = (n_channel + width - 1) / width;
        most[i] = (n_tile + n_thread - 1) / n_thread * width;
    }
    return most[1] < most[0] ? NARROW : TILE;
}

static void walk_tile(void *arg, int64_t task, int thread)
{
    const struct job *job = arg;
    float *scratch = kl__scratch(job->b->work, N_ARRAY, TILE, thread);
    struct walk k = {.b = job->b,
                     .g = scratch + G * TILE,
                     .reversed = scratch + REVERSED * TILE,
                     .sum = scratch + SUM * TILE,
                     .total = scratch + TOTAL * TILE};
    kl__conv_tile_open(&k.l, job->be, &job->b->fwd, task * job->width, job->width, scratch);
    int64_t n = k.l.n;
    int W = k.l.W;
    for (int j = 0; j < W; j++)
        memcpy(k.reversed + j * n, k.l.w + (W - 1 - j) * n, (size_t)n * sizeof(float));
    memset(k.sum, 0, (size_t)((W + 1) * n) * sizeof(float));
    memset(k.total, 0, (size_t)((W + 1) * n) * sizeof(float));
    for (int64_t seq = 0; seq < kl__n_seq(k.l.a->cu_seqlens, k.l.a->n_seq); seq++)
        walk_sequence(&k, seq);
    flush_sum(&k);
    add_parameters(&k);
}

kl_status kl__cpu_short_conv_bwd(const kl_backend *be, const kl_short_conv_bwd_args *b, kl_error *err)
{
    (void)err;
    int64_t n_channel = b->fwd.x.dim[1], width = tile_width(n_channel, kl_pool_threads(be->pool));
    struct job job = {be, b, width};
    kl__pool_run(be->pool, (n_channel + width - 1) / width, walk_tile, &job);
    return KL_OK;
}

size_t kl__cpu_short_conv_bwd_workspace(const kl_backend *be, const kl_short_conv_bwd_args *b)
{
    (void)b;
    return kl__scratch_workspace(be, N_ARRAY, TILE);
}
