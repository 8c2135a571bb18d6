#include "cpu/heads.h"

#include "base/half.h"
#include "cpu/rows.h"

#include <string.h>

void kl__head_rows(const struct kl__kernels *k, float *out, ptrdiff_t ld, kl_tensor x, int64_t t0, int n, int64_t h)
{
    int64_t D = x.dim[2];
    for (int r = 0; r < n; r++) {
        const float *row = kl__read_row(k, x.dtype, kl__head_row(x, t0 + r, h), D, out + r * ld);
        if (row != out + r * ld)
            memcpy(out + r * ld, row, sizeof *out * (size_t)D);
        memset(out + r * ld + D, 0, sizeof *out * (size_t)(ld - D));
    }
}

float kl__head_scalar(kl_tensor x, int64_t t, int64_t h)
{
    const void *p = kl__head_row(x, t, h);
    return x.dtype == KL_F32 ? *(const float *)p : kl__f32_of_bf16(*(const uint16_t *)p);
}
