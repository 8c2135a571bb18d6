/** The checks in front of every operator: each failure names operator, argument, found and expected. */
#ifndef KL_OPS_CHECK_H
#define KL_OPS_CHECK_H

#include "base/error.h"
#include "ops/backend.h"
#include "tensor/tensor.h"

/** Accepted element types, one bit each. */
enum {
    KL__F32 = 1 << KL_F32,
    KL__BF16 = 1 << KL_BF16,
    KL__F16 = 1 << KL_F16,
    KL__I32 = 1 << KL_I32,
    KL__Q8_0 = 1 << KL_Q8_0,
    KL__FLOAT = KL__F32 | KL__BF16, /* what activations and weights may be */
};

/** Backend and arguments are there at all. */
kl_status kl__check_call(const char *op, const void *backend, const void *args, kl_error *err);

/** `t` is present, has `n_dim` dimensions dim[0..n_dim-1] (-1: any, not negative), one of `dtypes`, data, and a pitch
 *  of at least one row; its bytes can be counted in 62 bits. */
kl_status kl__check_tensor(const char *op, const char *name, kl_tensor t, unsigned dtypes, int n_dim,
                           const int64_t *dim, kl_error *err);
/** The same, or absent. */
kl_status kl__check_optional(const char *op, const char *name, kl_tensor t, unsigned dtypes, int n_dim,
                             const int64_t *dim, kl_error *err);

/** A vector of parameters: absent, or [n] with its elements side by side (a pitch other than 0 and 1 is refused). */
kl_status kl__check_vector(const char *op, const char *name, kl_tensor t, unsigned dtypes, int64_t n, kl_error *err);

/** One tensor of a call, for the check of overlaps. */
struct kl__operand {
    const char *name;
    kl_tensor t;
    bool out;
    const char *may_equal; /* name of an operand that may be the very same view; NULL: none */
};
/** No output overlaps another operand, but for whole views declared equal.  Absent operands do not count. */
kl_status kl__check_overlap(const char *op, const struct kl__operand *operand, int n_operand, kl_error *err);

/** Sequence offsets: `cu` has n_seq + 1 ascending entries from 0 to n_token; NULL asks for n_seq == 0. */
kl_status kl__check_sequences(const char *op, const char *name, const int64_t *cu, int64_t n_seq, int64_t n_token,
                              kl_error *err);
/** Sequences of a call: n_seq, or 1 when there are no offsets. */
static inline int64_t kl__n_seq(const int64_t *cu, int64_t n_seq)
{
    return cu ? n_seq : 1;
}
/** First token of sequence `n`; kl__seq_start(cu, n + 1, T) is the end of sequence n. */
static inline int64_t kl__seq_start(const int64_t *cu, int64_t n, int64_t n_token)
{
    return cu ? cu[n] : n * n_token;
}

/** Every number of `t` (i32, one or two dimensions, checked before) is in 0 .. n-1; names the first that is not. */
kl_status kl__check_ids(const char *op, const char *name, kl_tensor t, int64_t n, kl_error *err);

/** The workspace holds `need` bytes. */
kl_status kl__check_work(const char *op, kl_workspace work, size_t need, kl_error *err);

#endif
