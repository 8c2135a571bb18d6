/** Rows of activations as f32, whatever their element type: how operators stay written once for f32 and bf16. */
#ifndef KL_CPU_ROWS_H
#define KL_CPU_ROWS_H

#include "cpu/kernels/kernels.h"
#include "tensor/tensor.h"

/** `n` elements at `p` of type `dtype` as f32: `p` itself for f32, otherwise converted into `scratch` [n]. */
static inline const float *kl__read_row(const struct kl__kernels *k, kl_dtype dtype, const void *p, int64_t n,
                                        float *scratch)
{
    if (dtype == KL_F32)
        return p;
    k->f32_of_bf16(scratch, p, n);
    return scratch;
}

/** Where to compute an output row of type `dtype` at `p`: in place for f32, else in `scratch`.  Then kl__end_row. */
static inline float *kl__begin_row(kl_dtype dtype, void *p, float *scratch)
{
    return dtype == KL_F32 ? p : scratch;
}

static inline void kl__end_row(const struct kl__kernels *k, kl_dtype dtype, void *p, int64_t n, const float *scratch)
{
    if (dtype != KL_F32)
        k->bf16_of_f32(p, scratch, n);
}

#endif
