/** What the forward and the backward of the routed experts share: products of each expert's rows with its matrices.
 *  Buffers have a line for each row: D or F numbers. */
#ifndef KL_CPU_EXPERTS_H
#define KL_CPU_EXPERTS_H

#include "cpu/expert_rows.h"
#include "cpu/gemm.h"

struct kl__experts {
    const kl_backend *be;
    const kl_experts_args *a;
    int64_t n_out, n_hidden; /* D, F */
    struct kl__expert_rows rows;
    struct kl__gemm *gemm; /* room for three products of each expert that can have rows */
    int64_t n_gemm;
    kl_workspace gemm_work;
    float *x;         /* [n_pair][D]: holds elements of x's type, or f32 later */
    float *gate, *up; /* [n_pair][F] */
};

/** Cuts the front of a workspace; what the backward needs besides follows. */
struct kl__experts kl__carve_experts(struct kl__carver *c, const kl_backend *be, const kl_experts_args *a);
/** n floats for every row. */
float *kl__carve_lines(struct kl__carver *c, const struct kl__experts *s, int64_t n);

/** Sorts, gathers, and projects:  gate = w_gate x,  up = w_up x. */
void kl__project_experts(struct kl__experts *s);

/** Operands of expert e: its lines of n f32 numbers in `lines`, its lines of x, its matrix in w. */
struct kl__matrix kl__expert_lines(const struct kl__experts *s, const float *lines, int64_t e, int64_t n,
                                   bool transposed);
struct kl__matrix kl__expert_x(const struct kl__experts *s, int64_t e, bool transposed);
struct kl__matrix kl__expert_weight(kl_tensor w, int64_t e, bool transposed);

/** Puts on the list  to (+)= a b^T  for the lines of expert e, n numbers each, summed over k. */
void kl__push_lines(struct kl__experts *s, int64_t e, float *to, int64_t n, int64_t k, struct kl__matrix a,
                    struct kl__matrix b, bool add);
/** Puts on the list  matrix e of d_w [E][m][n] += a b^T,  summed over the rows of expert e. */
void kl__push_weight(struct kl__experts *s, int64_t e, kl_tensor d_w, struct kl__matrix a, struct kl__matrix b);
/** Runs what is on the list, and empties it. */
void kl__run_pushed(struct kl__experts *s);

/** Rows of expert e. */
static inline int64_t kl__expert_n_row(const struct kl__experts *s, int64_t e)
{
    return s->rows.start[e + 1] - s->rows.start[e];
}

#endif
