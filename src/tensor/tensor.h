/** Questions about a kl_tensor. */
#ifndef KL_TENSOR_TENSOR_H
#define KL_TENSOR_TENSOR_H

#include "klinear/kl/base.h"

static inline bool kl__present(kl_tensor t)
{
    return t.n_dim > 0;
}

/** Elements of one entry of dim[0]. */
static inline int64_t kl__row_elements(kl_tensor t)
{
    int64_t n = 1;
    for (int i = 1; i < t.n_dim; i++)
        n *= t.dim[i];
    return n;
}
/** Elements from one entry of dim[0] to the next. */
static inline int64_t kl__pitch(kl_tensor t)
{
    return t.pitch ? t.pitch : kl__row_elements(t);
}
/** Columns first .. first + n - 1 of a two-dimensional tensor. */
static inline kl_tensor kl__columns(kl_tensor t, int64_t first, int64_t n)
{
    t.pitch = kl__pitch(t);
    t.data = (char *)t.data + (size_t)first * kl_dtype_bytes(t.dtype);
    t.dim[1] = n;
    return t;
}
/** True when the two views share at least one byte.  The gaps of a pitch count, unless both have the same pitch and
 *  each lies in the gaps of the other: columns of the same wider rows share nothing. */
bool kl__overlap(kl_tensor a, kl_tensor b);
/** True when the two views are the very same elements. */
bool kl__same(kl_tensor a, kl_tensor b);
/** The first byte of entry `i` of dim[0]. */
static inline void *kl__row(kl_tensor t, int64_t i)
{
    return (char *)t.data + (size_t)i * (size_t)kl__pitch(t) * kl_dtype_bytes(t.dtype);
}

#endif
