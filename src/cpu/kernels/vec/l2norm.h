/* The L2 norm of a row.  Two accumulators, the tail in a masked vector. */
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/vec/vec.h"

static inline float dot(const float *a, const float *b, int64_t n)
{
    vf s0 = {0}, s1 = {0};
    int64_t i = 0;
    for (; i + 2 * KL_LANES <= n; i += 2 * KL_LANES) {
        s0 += vload(a + i) * vload(b + i);
        s1 += vload(a + i + KL_LANES) * vload(b + i + KL_LANES);
    }
    for (; i < n; i += KL_LANES) {
        int64_t rest = n - i < KL_LANES ? n - i : KL_LANES;
        s0 += vload_part(a + i, rest) * vload_part(b + i, rest);
    }
    return vsum(s0 + s1);
}

void KL_VARIANT(l2norm_row)(float *y, const float *x, int64_t n, float eps)
{
    float r = 1 / sqrtf(dot(x, x, n) + eps);
    int64_t i = 0;
    for (; i + KL_LANES <= n; i += KL_LANES)
        vstore(y + i, vload(x + i) * r);
    for (; i < n; i++)
        y[i] = x[i] * r;
}

void KL_VARIANT(l2norm_row_bwd)(float *dx, const float *dy, const float *x, int64_t n, float eps)
{
    float r = 1 / sqrtf(dot(x, x, n) + eps), y_dy = r * dot(x, dy, n);
    int64_t i = 0;
    for (; i + KL_LANES <= n; i += KL_LANES)
        vstore(dx + i, r * (vload(dy + i) - vload(x + i) * (r * y_dy)));
    for (; i < n; i++)
        dx[i] = r * (dy[i] - x[i] * (r * y_dy));
}
