/** Row-wise operators: how rows of activations are read as f32 whatever their element type, and how they are dealt out
 *  to threads.  So an operator on rows is one function of one row, written once for f32 and bf16. */
#ifndef KL_CPU_ROWS_H
#define KL_CPU_ROWS_H

#include "base/memory.h"
#include "cpu/kernels/kernels.h"
#include "ops/backend.h"
#include "tensor/tensor.h"

/* ------------------------------------------------------------------------------------------------- element types -- */

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

/* ---------------------------------------------------------------------------------------------------------- rows -- */

/** The rows of an activation: each of n_token tokens holds n_head rows, which start n_dim elements apart. */
struct kl__rows {
    int64_t n_token, n_head, n_dim;
};

/** [T][D]: one row a token; [T][H][D]: one row a head. */
struct kl__rows kl__rows_of(kl_tensor x);
/** [T][D] where every element stands alone: rows cut into pieces, so that one long row keeps several threads busy.
 *  The last piece of a token may be shorter: kl__piece_elements. */
struct kl__rows kl__pieces_of(kl_tensor x);
static inline int64_t kl__piece_elements(struct kl__rows s, int64_t n_column, int64_t head)
{
    int64_t rest = n_column - head * s.n_dim;
    return rest < s.n_dim ? rest : s.n_dim;
}

/** First element of row (token, head) of `x`. */
static inline void *kl__head(kl_tensor x, struct kl__rows s, int64_t token, int64_t head)
{
    return (char *)kl__row(x, token) + (size_t)(head * s.n_dim) * kl_dtype_bytes(x.dtype);
}

/** What happens to one row.  `scratch` belongs to the thread. */
typedef void kl__row_fn(const void *job, int64_t token, int64_t head, float *scratch);

/** Calls fn for every row of `s`, with kl__scratch(work, n_array, n_float, thread) as its scratch. */
void kl__for_rows(const kl_backend *be, struct kl__rows s, kl_workspace work, int n_array, int64_t n_float,
                  kl__row_fn *fn, const void *job);

/* ------------------------------------------------------------------------------------------------------- scratch -- */

/** Every thread's own memory at the start of a workspace: n_array arrays of n_float floats, one after the other. */
float *kl__scratch(kl_workspace work, int n_array, int64_t n_float, int thread);
/** Advances `c` over the scratch of all threads, so that what else an operator needs can follow. */
void kl__carve_scratch(struct kl__carver *c, const kl_backend *be, int n_array, int64_t n_float);
/** The workspace of an operator that needs nothing else. */
size_t kl__scratch_workspace(const kl_backend *be, int n_array, int64_t n_float);

/* ---------------------------------------------------------------------------------- sums over tokens: parameters -- */

/** Tokens in blocks that depend on their number only: at most KL__MAX_BLOCKS, so that partial sums of a parameter's
 *  gradient, one per block, stay few, and their order is the same for any number of threads. */
enum { KL__MAX_BLOCKS = 64, KL__BLOCK_TOKENS = 64 };
struct kl__blocks {
    int64_t n, n_token; /* blocks, tokens in each but the last */
};
struct kl__blocks kl__blocks_of(int64_t n_token);

/** sum[i] += (part[0][i] + part[1][i] + ...)  in this order, split over the columns i.  part [n_part][n] is used up. */
void kl__add_parts(const kl_backend *be, float *sum, float *part, int64_t n_part, int64_t n);

#endif
