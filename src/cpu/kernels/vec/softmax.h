/* Softmax over a tile of a long row.  The lanes that a row's end leaves free hold -INFINITY, whose exponential is 0. */
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/vec/activation.h"

static inline vf load_or_least(const float *p, int64_t n)
{
    vf x = vset(-INFINITY);
    if (n >= KL_LANES)
        return vload(p);
    __builtin_memcpy(&x, p, 4 * (size_t)n);
    return x;
}

static inline float largest(vf x)
{
    float lane[KL_LANES], m;
    __builtin_memcpy(lane, &x, sizeof x);
    m = lane[0];
    for (int i = 1; i < KL_LANES; i++)
        m = lane[i] > m ? lane[i] : m;
    return m;
}

/* NaN is left out: vmax gives its second operand then. */
static float max_of(float least, const float *x, int64_t n)
{
    vf m0 = vset(least), m1 = m0;
    int64_t i = 0;
    for (; i + 2 * KL_LANES <= n; i += 2 * KL_LANES) {
        m0 = vmax(vload(x + i), m0);
        m1 = vmax(vload(x + i + KL_LANES), m1);
    }
    for (; i < n; i += KL_LANES)
        m0 = vmax(load_or_least(x + i, n - i), m0);
    return largest(vmax(m0, m1));
}

static float sum_exp(const float *x, int64_t n, float shift)
{
    vf s0 = {0}, s1 = {0};
    int64_t i = 0;
    for (; i + 2 * KL_LANES <= n; i += 2 * KL_LANES) {
        s0 += vexp(vload(x + i) - shift);
        s1 += vexp(vload(x + i + KL_LANES) - shift);
    }
    for (; i < n; i += KL_LANES)
        s0 += vexp(load_or_least(x + i, n - i) - shift);
    return vsum(s0 + s1);
}

void KL_VARIANT(lse_row)(float *max, float *sum, const float *x, int64_t n)
{
    float m = max_of(*max, x, n), shift = isfinite(m) ? m : 0;
    float before = m == *max ? *sum : *sum * expf(*max - shift);
    *sum = before + sum_exp(x, n, shift);
    *max = m;
}

void KL_VARIANT(softmax_row)(float *y, const float *x, int64_t n, float lse, float d)
{
    for (int64_t i = 0; i < n; i += KL_LANES)
        vstore_upto(y + i, d * vexp(vload_upto(x + i, n - i) - lse), n - i);
}
