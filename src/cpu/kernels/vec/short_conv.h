/* The short convolution.  Bodies are inlined into callers with W = 4 and the activation as constants, the released
 * model's, so that the loop over the taps unrolls; other lengths take the same body with a loop.
 *
 * The forward walks tokens outside and channels inside: for each vector 2 W + 1 loads from L1 stand against some 25
 * operations of the activation, so keeping the window in registers would gain nothing, and rows are read and written
 * from end to end. */
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/vec/activation.h"
#include "cpu/kernels/vec/transpose.h"

#define ALWAYS_INLINE inline __attribute__((always_inline))

enum { MAX_TAPS = 16 };

/* After vtranspose_quads lane 4 l + i belongs to channel L i + l, L = KL_LANES / 4: back to the channels' order. */
static inline vf in_channel_order(vf x)
{
#if KL_LANES == 8
    return __builtin_shufflevector(x, x, 0, 4, 1, 5, 2, 6, 3, 7);
#elif KL_LANES == 16
    return __builtin_shufflevector(x, x, 0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
#endif
}

void KL_VARIANT(short_conv_taps)(float *w, const float *taps, int64_t pitch, int64_t n, int W)
{
    int64_t c = 0;
    for (; W == 4 && pitch == 4 && c + KL_LANES <= n; c += KL_LANES) {
        vf q[4];
        for (int i = 0; i < 4; i++)
            q[i] = vload(taps + 4 * c + i * KL_LANES);
        vtranspose_quads(q);
        for (int j = 0; j < 4; j++)
            vstore(w + j * n + c, in_channel_order(q[j]));
    }
    for (; c < n; c++)
        for (int j = 0; j < W; j++)
            w[j * n + c] = taps[c * pitch + j];
}

/* bias + sum_j w_j x_j at channels c .. of which `rest` are left. */
static ALWAYS_INLINE vf filtered(const float *const *x, const float *w, const float *bias, int64_t c, int64_t n,
                                 int64_t rest, int W)
{
    vf sum = bias ? vload_upto(bias + c, rest) : (vf){0};
    for (int j = 0; j < W; j++)
        sum += vload_upto(w + j * n + c, rest) * vload_upto(x[j] + c, rest);
    return sum;
}

static ALWAYS_INLINE void forward(float *y, int64_t y_pitch, const float *const *x, const float *w, const float *bias,
                                  int64_t n_token, int64_t n, int W, kl_activation act)
{
    for (int64_t t = 0; t < n_token; t++, y += y_pitch) {
        const float *row[MAX_TAPS]; /* a copy that no store can change: it stays in registers */
        for (int j = 0; j < W; j++)
            row[j] = x[t + j];
        int64_t c = 0;
        for (; c + KL_LANES <= n; c += KL_LANES)
            vstore(y + c, vact(filtered(row, w, bias, c, n, KL_LANES, W), act));
        if (c < n)
            vstore_part(y + c, vact(filtered(row, w, bias, c, n, n - c, W), act), n - c);
    }
}

void KL_VARIANT(short_conv)(float *y, int64_t y_pitch, const float *const *x, const float *w, const float *bias,
                            int64_t n_token, int64_t n, int W, kl_activation act)
{
    if (W == 4 && act == KL_ACT_SILU)
        forward(y, y_pitch, x, w, bias, n_token, n, 4, KL_ACT_SILU);
    else if (W == 4)
        forward(y, y_pitch, x, w, bias, n_token, n, 4, KL_ACT_NONE);
    else
        forward(y, y_pitch, x, w, bias, n_token, n, W, act);
}

/* One vector of channels over all tokens: the sums of the parameters' gradients stay in registers. */
static ALWAYS_INLINE void backward_channels(float *g, int64_t g_pitch, float *dw, float *db, const float *const *dy,
                                            const float *const *x, const float *w, const float *bias, int64_t n_token,
                                            int64_t c, int64_t n, int64_t rest, int W, kl_activation act)
{
    vf sum[MAX_TAPS], sum_b = {0};
    for (int j = 0; j < W; j++)
        sum[j] = (vf){0};
    for (int64_t t = 0; t < n_token; t++) {
        vf slope, gt = vload_upto(dy[t] + c, rest);
        vact_slope(filtered(x + t, w, bias, c, n, rest, W), act, &slope);
        gt *= slope;
        for (int j = 0; j < W; j++)
            sum[j] += gt * vload_upto(x[t + j] + c, rest);
        sum_b += gt;
        vstore_upto(g + t * g_pitch + c, gt, rest);
    }
    vstore_upto(db + c, vload_upto(db + c, rest) + sum_b, rest);
    for (int j = 0; j < W; j++)
        vstore_upto(dw + j * n + c, vload_upto(dw + j * n + c, rest) + sum[j], rest);
}

static ALWAYS_INLINE void backward(float *g, int64_t g_pitch, float *dw, float *db, const float *const *dy,
                                   const float *const *x, const float *w, const float *bias, int64_t n_token, int64_t n,
                                   int W, kl_activation act)
{
    int64_t c = 0;
    for (; c + KL_LANES <= n; c += KL_LANES)
        backward_channels(g, g_pitch, dw, db, dy, x, w, bias, n_token, c, n, KL_LANES, W, act);
    if (c < n)
        backward_channels(g, g_pitch, dw, db, dy, x, w, bias, n_token, c, n, n - c, W, act);
}

void KL_VARIANT(short_conv_bwd)(float *g, int64_t g_pitch, float *dw, float *db, const float *const *dy,
                                const float *const *x, const float *w, const float *bias, int64_t n_token, int64_t n,
                                int W, kl_activation act)
{
    if (W == 4 && act == KL_ACT_SILU)
        backward(g, g_pitch, dw, db, dy, x, w, bias, n_token, n, 4, KL_ACT_SILU);
    else
        backward(g, g_pitch, dw, db, dy, x, w, bias, n_token, n, W, act);
}
