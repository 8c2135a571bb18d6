#include "support/pitched.h"

#include "base/half.h"
#include "tensor/tensor.h"

#include <math.h>
#include <string.h>

enum { POISON = 0xa5 };

/* Memory of its own, all poison, with a gap after every row but the last. */
static kl_tensor apart(kt_rng *r, kl_tensor t, kl_dtype dtype)
{
    int64_t row = kl__row_elements(t), pitch = row + kt_below(r, 8);
    t.dtype = dtype;
    t.pitch = pitch == row && kt_below(r, 2) ? 0 : pitch;
    int64_t n = t.dim[0] > 0 ? (t.dim[0] - 1) * pitch + row : 0;
    t.data = kt_bytes((size_t)n * kl_dtype_bytes(dtype));
    return t;
}

static void set(kl_tensor t, int64_t at, float x)
{
    if (t.dtype == KL_BF16)
        ((uint16_t *)t.data)[at] = kl__bf16_of_f32(x);
    else
        ((float *)t.data)[at] = x;
}

kl_tensor pitched_input(kt_rng *r, kl_tensor t, kl_dtype dtype)
{
    if (!t.n_dim)
        return t;
    kl_tensor to = apart(r, t, dtype);
    int64_t row = kl__row_elements(t), pitch = kl__pitch(to);
    for (int64_t i = 0; i < t.dim[0]; i++)
        for (int64_t j = 0; j < (i + 1 < t.dim[0] ? pitch : row); j++)
            set(to, i * pitch + j, j < row ? (float)ref64_get(t, i * row + j) : NAN);
    return to;
}

kl_tensor pitched_output(kt_rng *r, kl_tensor t, kl_dtype dtype)
{
    if (!t.n_dim)
        return t;
    kl_tensor to = apart(r, t, dtype);
    for (int64_t i = 0; i < t.dim[0] && dtype == KL_F32; i++)
        for (int64_t j = 0; j < kl__row_elements(t); j++)
            set(to, i * kl__pitch(to) + j, NAN);
    return to;
}

void pitched_check(const char *what, kl_tensor t)
{
    if (!t.n_dim)
        return;
    size_t size = kl_dtype_bytes(t.dtype), row = (size_t)kl__row_elements(t) * size,
           pitch = (size_t)kl__pitch(t) * size;
    const unsigned char *p = t.data;
    for (int64_t i = 0; i + 1 < t.dim[0]; i++)
        for (size_t j = row; j < pitch; j++)
            if (p[(size_t)i * pitch + j] != POISON)
                fail_msg("%s: a write after the end of row %lld", what, (long long)i);
}
