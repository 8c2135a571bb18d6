#include "cpu/heads.h"

#include "cpu/rows.h"

#include <string.h>

void kl__ahead_add(struct kl__ahead *a, kl_tensor x, int64_t t0, int n_token, int64_t h, int64_t first, int64_t n)
{
    size_t item = kl_dtype_bytes(x.dtype);
    a->stream[a->n_stream++] = (struct kl__stream){
        .row = (const char *)kl__head_row(x, t0, h) + (size_t)first * item,
        .pitch = kl__token_bytes(x),
        .bytes = (ptrdiff_t)((size_t)n * item),
        .n_row = n_token,
    };
    a->rows_a_call += n_token;
}

void kl__ahead_spread(struct kl__ahead *a, int64_t n_call)
{
    a->rows_a_call = (int)((a->rows_a_call + n_call - 1) / n_call);
}

void kl__head_rows(const struct kl__kernels *k, float *out, ptrdiff_t ld, kl_tensor x, int64_t t0, int n, int64_t h)
{
    int64_t D = x.dim[2];
    const char *from = kl__head_row(x, t0, h);
    ptrdiff_t pitch = kl__token_bytes(x);
    for (int r = 0; r < n; r++, from += pitch, out += ld) {
        const float *row = kl__read_row(k, x.dtype, from, D, out);
        if (row != out)
            memcpy(out, row, sizeof *out * (size_t)D);
        if (ld > D)
            memset(out + D, 0, sizeof *out * (size_t)(ld - D));
    }
}

float kl__head_scalar(kl_tensor x, int64_t t, int64_t h)
{
    return kl__scalar_at(x.dtype, kl__head_row(x, t, h));
}
