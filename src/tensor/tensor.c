#include "tensor/tensor.h"

static const struct {
    const char *name;
    size_t bytes;
} dtypes[] = {
    [KL_F32] = {"f32", 4},
    [KL_BF16] = {"bf16", 2},
    [KL_F16] = {"f16", 2},
    [KL_I32] = {"i32", 4},
    [KL_Q8_0] = {"q8_0", 1},
};

static bool is_dtype(kl_dtype dtype)
{
    return (size_t)dtype < sizeof dtypes / sizeof *dtypes;
}

size_t kl_dtype_bytes(kl_dtype dtype)
{
    return is_dtype(dtype) ? dtypes[dtype].bytes : 0;
}

const char *kl_dtype_name(kl_dtype dtype)
{
    return is_dtype(dtype) ? dtypes[dtype].name : "?";
}

static size_t span_bytes(kl_tensor t)
{
    if (!kl__present(t) || t.dim[0] == 0 || kl__row_elements(t) == 0)
        return 0;
    return (size_t)((t.dim[0] - 1) * kl__pitch(t) + kl__row_elements(t)) * kl_dtype_bytes(t.dtype);
}

static size_t row_bytes(kl_tensor t)
{
    return (size_t)kl__row_elements(t) * kl_dtype_bytes(t.dtype);
}

/* Rows of one lie in the gaps of the other: columns of the same wider rows. */
static bool beside(kl_tensor a, kl_tensor b)
{
    size_t pitch = (size_t)kl__pitch(a) * kl_dtype_bytes(a.dtype);
    if (pitch != (size_t)kl__pitch(b) * kl_dtype_bytes(b.dtype))
        return false;
    uintptr_t pa = (uintptr_t)a.data, pb = (uintptr_t)b.data;
    size_t from = pb >= pa ? (pb - pa) % pitch : (pitch - (pa - pb) % pitch) % pitch;
    return from >= row_bytes(a) && from + row_bytes(b) <= pitch;
}

bool kl__overlap(kl_tensor a, kl_tensor b)
{
    size_t na = span_bytes(a), nb = span_bytes(b);
    uintptr_t pa = (uintptr_t)a.data, pb = (uintptr_t)b.data;
    return na && nb && pa < pb + nb && pb < pa + na && !beside(a, b);
}

bool kl__same(kl_tensor a, kl_tensor b)
{
    bool one_row = a.dim[0] <= 1 && b.dim[0] <= 1; /* then no pitch is ever stepped over */
    return a.data == b.data && a.dtype == b.dtype && kl__row_elements(a) == kl__row_elements(b) &&
           (one_row || kl__pitch(a) == kl__pitch(b)) && span_bytes(a) == span_bytes(b);
}
