#include "ops/check.h"

#include <stdio.h>
#include <string.h>

/* "[3][2][64]"; in what is wanted, -1 stands for anything and prints as "[n]". */
static void print_shape(char *text, size_t bytes, int n_dim, const int64_t *dim, bool wanted)
{
    size_t at = 0;
    text[0] = 0;
    for (int i = 0; i < n_dim && at < bytes; i++) {
        int n = wanted && dim[i] == -1 ? snprintf(text + at, bytes - at, "[n]")
                             : snprintf(text + at, bytes - at, "[%lld]", (long long)dim[i]);
        at += n > 0 ? (size_t)n : 0;
    }
}

static void print_dtypes(char *text, size_t bytes, unsigned dtypes)
{
    size_t at = 0;
    text[0] = 0;
    for (int i = 0; kl_dtype_bytes((kl_dtype)i) != 0 && at < bytes; i++)
        if (dtypes & 1u << i) {
            int n = snprintf(text + at, bytes - at, "%s%s", at ? "|" : "", kl_dtype_name((kl_dtype)i));
            at += n > 0 ? (size_t)n : 0;
        }
}

kl_status kl__check_call(const char *op, const void *backend, const void *args, kl_error *err)
{
    if (!backend)
        return kl__fail(err, KL_ERR_ARGUMENT, "%s: backend is NULL, expected an open backend", op);
    if (!args)
        return kl__fail(err, KL_ERR_ARGUMENT, "%s: args is NULL, expected arguments", op);
    return KL_OK;
}

static bool countable(kl_tensor t)
{
    int64_t n = (int64_t)kl_dtype_bytes(t.dtype);
    for (int i = 1; i < t.n_dim; i++)
        if (__builtin_mul_overflow(n, t.dim[i], &n))
            return false;
    int64_t pitch_bytes, total;
    return !__builtin_mul_overflow(t.pitch ? t.pitch : 1, (int64_t)kl_dtype_bytes(t.dtype), &pitch_bytes) &&
           !__builtin_mul_overflow(t.dim[0], t.pitch ? pitch_bytes : n, &total) && total >= 0 &&
           total < (int64_t)1 << 62;
}

kl_status kl__check_tensor(const char *op, const char *name, kl_tensor t, unsigned dtypes, int n_dim,
                           const int64_t *dim, kl_error *err)
{
    char want[80], found[80], types[32];
    if (t.n_dim < 0 || t.n_dim > 4)
        return kl__fail(err, KL_ERR_SHAPE, "%s: %s has n_dim %d, expected 0 .. 4", op, name, t.n_dim);
    if (!kl_dtype_bytes(t.dtype) || (kl__present(t) && !(dtypes & 1u << t.dtype))) {
        print_dtypes(types, sizeof types, dtypes);
        return kl__fail(err, KL_ERR_DTYPE, "%s: %s is %s, expected %s", op, name, kl_dtype_name(t.dtype), types);
    }
    bool fits = t.n_dim == n_dim;
    for (int i = 0; fits && i < n_dim; i++)
        fits = t.dim[i] >= 0 && (dim[i] == -1 || t.dim[i] == dim[i]);
    if (!fits) {
        print_shape(want, sizeof want, n_dim, dim, true);
        print_shape(found, sizeof found, t.n_dim, t.dim, false);
        return kl__fail(err, KL_ERR_SHAPE, "%s: %s is %s, expected %s", op, name, t.n_dim ? found : "absent", want);
    }
    if (t.pitch < 0)
        return kl__fail(err, KL_ERR_SHAPE, "%s: %s has pitch %lld, expected 0 or more", op, name, (long long)t.pitch);
    if (!countable(t))
        return kl__fail(err, KL_ERR_SHAPE, "%s: %s has more bytes than an address can count", op, name);
    if (t.pitch && t.pitch < kl__row_elements(t))
        return kl__fail(err, KL_ERR_SHAPE, "%s: %s has pitch %lld, expected 0 or at least the %lld elements of a row",
                        op, name, (long long)t.pitch, (long long)kl__row_elements(t));
    if (!t.data && t.dim[0] > 0 && kl__row_elements(t) > 0)
        return kl__fail(err, KL_ERR_ARGUMENT, "%s: %s has no data, expected a pointer", op, name);
    if ((uintptr_t)t.data % kl_dtype_bytes(t.dtype))
        return kl__fail(err, KL_ERR_ARGUMENT, "%s: %s lies at %p, expected an address aligned to %zu bytes", op, name,
                        t.data, kl_dtype_bytes(t.dtype));
    return KL_OK;
}

kl_status kl__check_optional(const char *op, const char *name, kl_tensor t, unsigned dtypes, int n_dim,
                             const int64_t *dim, kl_error *err)
{
    return t.n_dim == 0 ? KL_OK : kl__check_tensor(op, name, t, dtypes, n_dim, dim, err);
}

kl_status kl__check_vector(const char *op, const char *name, kl_tensor t, unsigned dtypes, int64_t n, kl_error *err)
{
    KL_TRY(kl__check_optional(op, name, t, dtypes, 1, &n, err));
    if (kl__present(t) && t.pitch > 1)
        return kl__fail(err, KL_ERR_SHAPE, "%s: %s has pitch %lld, expected a dense vector", op, name,
                        (long long)t.pitch);
    return KL_OK;
}

static bool declared_equal(const struct kl__operand *a, const struct kl__operand *b)
{
    return (a->may_equal && strcmp(a->may_equal, b->name) == 0) || (b->may_equal && strcmp(b->may_equal, a->name) == 0);
}

kl_status kl__check_overlap(const char *op, const struct kl__operand *operand, int n_operand, kl_error *err)
{
    for (int i = 0; i < n_operand; i++)
        for (int j = i + 1; j < n_operand; j++) {
            const struct kl__operand *a = &operand[i], *b = &operand[j];
            if (!a->out && !b->out)
                continue;
            if (!kl__overlap(a->t, b->t) || (declared_equal(a, b) && kl__same(a->t, b->t)))
                continue;
            return kl__fail(err, KL_ERR_OVERLAP, "%s: %s overlaps %s, expected separate memory", op,
                            a->out ? a->name : b->name, a->out ? b->name : a->name);
        }
    return KL_OK;
}

kl_status kl__check_sequences(const char *op, const char *name, const int64_t *cu, int64_t n_seq, int64_t n_token,
                              kl_error *err)
{
    if (!cu)
        return n_seq == 0 ? KL_OK
                          : kl__fail(err, KL_ERR_ARGUMENT, "%s: n_seq is %lld without %s, expected 0", op,
                                     (long long)n_seq, name);
    if (n_seq < 0)
        return kl__fail(err, KL_ERR_ARGUMENT, "%s: n_seq is %lld, expected at least 0", op, (long long)n_seq);
    for (int64_t n = 0; n <= n_seq; n++) {
        int64_t low = n ? cu[n - 1] : 0, high = n == 0 ? 0 : n_token;
        if (cu[n] < low || cu[n] > high || (n == n_seq && cu[n] != n_token))
            return kl__fail(err, KL_ERR_ARGUMENT, "%s: %s[%lld] is %lld, expected ascending offsets from 0 to %lld", op,
                            name, (long long)n, (long long)cu[n], (long long)n_token);
    }
    return KL_OK;
}

kl_status kl__check_ids(const char *op, const char *name, kl_tensor t, int64_t n, kl_error *err)
{
    for (int64_t i = 0; i < t.dim[0]; i++)
        for (int64_t j = 0; j < kl__row_elements(t); j++) {
            int32_t id = ((const int32_t *)kl__row(t, i))[j];
            if (id >= 0 && id < n)
                continue;
            char column[24] = "";
            if (t.n_dim > 1)
                snprintf(column, sizeof column, "[%lld]", (long long)j);
            return kl__fail(err, KL_ERR_ARGUMENT, "%s: %s[%lld]%s is %d, expected 0 .. %lld", op, name, (long long)i,
                            column, (int)id, (long long)n - 1);
        }
    return KL_OK;
}

kl_status kl__check_work(const char *op, kl_workspace work, size_t need, kl_error *err)
{
    if (need == 0 || (work.data && work.bytes >= need))
        return KL_OK;
    return kl__fail(err, KL_ERR_WORKSPACE, "%s: workspace is %zu bytes, expected %zu", op,
                    work.data ? work.bytes : (size_t)0, need);
}
