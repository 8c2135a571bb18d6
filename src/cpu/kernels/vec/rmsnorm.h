/* RMSNorm of a row.  Each body below is inlined into callers that know which of w and z are there, so that the choice
 * is made once a row. */
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/vec/activation.h"

#define ALWAYS_INLINE inline __attribute__((always_inline))

static inline float sum_squares(const float *x, int64_t n)
{
    vf s0 = {0}, s1 = {0};
    int64_t i = 0;
    for (; i + 2 * KL_LANES <= n; i += 2 * KL_LANES) {
        vf a = vload(x + i), b = vload(x + i + KL_LANES);
        s0 += a * a;
        s1 += b * b;
    }
    for (; i < n; i += KL_LANES) {
        vf a = vload_upto(x + i, n - i);
        s0 += a * a;
    }
    return vsum(s0 + s1);
}

static ALWAYS_INLINE void scale_row(float *y, const float *x, const float *w, const float *z, int64_t n, float r,
                                    kl_activation act)
{
    for (int64_t i = 0; i < n; i += KL_LANES) {
        vf v = vload_upto(x + i, n - i) * r;
        if (w)
            v *= vload_upto(w + i, n - i);
        if (z)
            v *= vact(vload_upto(z + i, n - i), act);
        vstore_upto(y + i, v, n - i);
    }
}

void KL_VARIANT(rmsnorm_row)(float *y, const float *x, const float *w, const float *z, int64_t n, float eps,
                             kl_activation act)
{
    float r = 1 / sqrtf(sum_squares(x, n) / (float)n + eps);
    if (!z)
        scale_row(y, x, w, NULL, n, r, KL_ACT_NONE);
    else if (act == KL_ACT_SIGMOID)
        scale_row(y, x, w, z, n, r, KL_ACT_SIGMOID);
    else if (act == KL_ACT_SILU)
        scale_row(y, x, w, z, n, r, KL_ACT_SILU);
    else
        scale_row(y, x, w, z, n, r, KL_ACT_NONE);
}

/* What a row needs before its first output: r, and mean(u . du) with u = x r. */
static ALWAYS_INLINE float row_sums(const float *dy, const float *x, const float *w, const float *z, int64_t n,
                                    float eps, kl_activation act, float *mean_u_du)
{
    vf square = {0}, x_du = {0};
    for (int64_t i = 0; i < n; i += KL_LANES) {
        vf v = vload_upto(x + i, n - i), du = vload_upto(dy + i, n - i);
        if (w)
            du *= vload_upto(w + i, n - i);
        if (z)
            du *= vact(vload_upto(z + i, n - i), act);
        square += v * v;
        x_du += v * du;
    }
    float r = 1 / sqrtf(vsum(square) / (float)n + eps);
    *mean_u_du = vsum(x_du) * r / (float)n;
    return r;
}

static ALWAYS_INLINE void row_bwd(float *dx, float *dw, float *dz, const float *dy, const float *x, const float *w,
                                  const float *z, int64_t n, float eps, kl_activation act)
{
    float mean_u_du, r = row_sums(dy, x, w, z, n, eps, act, &mean_u_du);
    for (int64_t i = 0; i < n; i += KL_LANES) {
        vf d = vload_upto(dy + i, n - i), u = vload_upto(x + i, n - i) * r, ds = d, slope;
        if (z)
            ds *= vact_slope(vload_upto(z + i, n - i), act, &slope);
        if (dw)
            vstore_upto(dw + i, vload_upto(dw + i, n - i) + ds * u, n - i);
        if (w) {
            vf weight = vload_upto(w + i, n - i);
            d *= weight;
            ds *= weight;
        }
        if (z && dz)
            vstore_upto(dz + i, d * u * slope, n - i);
        if (dx)
            vstore_upto(dx + i, r * (ds - u * mean_u_du), n - i);
    }
}

void KL_VARIANT(rmsnorm_row_bwd)(float *dx, float *dw, float *dz, const float *dy, const float *x, const float *w,
                                 const float *z, int64_t n, float eps, kl_activation act)
{
    if (!z)
        row_bwd(dx, dw, NULL, dy, x, w, NULL, n, eps, KL_ACT_NONE);
    else if (act == KL_ACT_SIGMOID)
        row_bwd(dx, dw, dz, dy, x, w, z, n, eps, KL_ACT_SIGMOID);
    else if (act == KL_ACT_SILU)
        row_bwd(dx, dw, dz, dy, x, w, z, n, eps, KL_ACT_SILU);
    else
        row_bwd(dx, dw, dz, dy, x, w, z, n, eps, KL_ACT_NONE);
}
