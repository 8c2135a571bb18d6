/** Rows of one head out of [T][H][D] tensors. */
#ifndef KL_CPU_HEADS_H
#define KL_CPU_HEADS_H

#include "base/half.h"
#include "cpu/kernels/kernels.h"
#include "tensor/tensor.h"

/** Row of token `t` and head `h` of x [T][H][D], or element (t, h) of x [T][H]. */
static inline void *kl__head_row(kl_tensor x, int64_t t, int64_t h)
{
    int64_t n = x.n_dim == 3 ? x.dim[2] : 1;
    return (char *)kl__row(x, t) + (size_t)(h * n) * kl_dtype_bytes(x.dtype);
}

/** Bytes from a token's row to the next token's. */
static inline ptrdiff_t kl__token_bytes(kl_tensor x)
{
    return (ptrdiff_t)((size_t)kl__pitch(x) * kl_dtype_bytes(x.dtype));
}

/** Adds elements first .. first+n-1 of the rows of head `h` of tokens t0 .. t0+n_token-1. */
void kl__ahead_add(struct kl__ahead *a, kl_tensor x, int64_t t0, int n_token, int64_t h, int64_t first, int64_t n);
/** Spreads what was added over `n_call` calls of kl__fetch_some. */
void kl__ahead_spread(struct kl__ahead *a, int64_t n_call);

/** Channels padded to whole 64-byte lines. */
static inline ptrdiff_t kl__padded(int64_t n)
{
    return (ptrdiff_t)((n + 15) / 16 * 16);
}

/** out [n][ld] <- head `h` of tokens t0 .. t0+n-1 of x [T][H][D], as f32; zeros from D to ld. */
void kl__head_rows(const struct kl__kernels *k, float *out, ptrdiff_t ld, kl_tensor x, int64_t t0, int n, int64_t h);

/** The number at p. */
static inline float kl__scalar_at(kl_dtype dtype, const void *p)
{
    return dtype == KL_F32 ? *(const float *)p : kl__f32_of_bf16(*(const uint16_t *)p);
}

/** One number of a [T][H] tensor as f32. */
float kl__head_scalar(kl_tensor x, int64_t t, int64_t h);

#endif
