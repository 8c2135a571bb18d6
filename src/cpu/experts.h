/** What the forward and the backward of the routed experts share.  The rows of an expert are cut into chunks; a task
 *  takes one chunk through all that depends on nothing else, so that it stays in the second-level cache of one core.
 *  Buffers have a line for each row: D or F numbers. */
#ifndef KL_CPU_EXPERTS_H
#define KL_CPU_EXPERTS_H

#include "cpu/expert_rows.h"
#include "cpu/gemm.h"

/** Most rows of a chunk. */
enum { KL__CHUNK_ROWS = 252 };

struct kl__experts {
    const kl_backend *be;
    const kl_experts_args *a;
    int64_t n_out, n_hidden; /* D, F */
    struct kl__expert_rows rows;
};

/** Cuts the front of a workspace. */
struct kl__experts kl__carve_experts(struct kl__carver *c, const kl_backend *be, const kl_experts_args *a);
/** n floats for every row. */
float *kl__carve_lines(struct kl__carver *c, const struct kl__experts *s, int64_t n);

/** Rows first .. first + n - 1, which are of one expert. */
struct kl__chunk {
    int64_t expert, first, n;
};
int64_t kl__n_chunk(const struct kl__expert_rows *rows);
struct kl__chunk kl__chunk_of(const struct kl__expert_rows *rows, int64_t i);

/** Lines of n numbers as an operand, from the first of them on. */
struct kl__matrix kl__lines(const void *first, kl_dtype dtype, int64_t n);
/** Matrix `e` of w, or its transpose. */
struct kl__matrix kl__expert_weight(kl_tensor w, int64_t e, bool transposed);
/** to (+)= a b^T  for the lines of a chunk, n numbers each, summed over k; `scratch` of kl__gemm_scratch. */
void kl__chunk_product(const struct kl__experts *s, struct kl__chunk c, float *to, int64_t n, int64_t k,
                       struct kl__matrix a, struct kl__matrix b, bool add, void *scratch);

#endif
