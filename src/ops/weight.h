/** Products with the weights of a model as they lie in its file: f32, f16, bf16 and every block format of
 *  tensor/quant.  Internal: these are the operators under the projections, experts and embeddings of a model.
 *
 *  Bits.  A token's row of a result depends on the backend's instruction set, the token, the weights and `exact`
 *  (products with the numbers as they are, instead of in integers), and on nothing else: not on the other tokens of the
 *  call, not on the number of threads, not on where operands lie.   [T: ops/weight]
 *
 *  Bad arguments are refused before anything is touched, as for the public operators; sentences name the argument. */
#ifndef KL_OPS_WEIGHT_H
#define KL_OPS_WEIGHT_H

#include "klinear/kl_ops.h"
#include "tensor/quant/quant.h"

/** A matrix of a model as it lies in its file: rows of blocks, dense, one row after the other. */
struct kl__weight {
    enum kl__type type; /* one that decodes */
    int64_t n_matrix;   /* experts; 1 for a plain matrix */
    int64_t n_out, n_in; /* rows and columns of each; a row is whole blocks */
    const void *data;   /* [n_matrix][n_out] rows, any alignment; borrowed, usually mapped */
    const void *const *each; /* [n_matrix] matrices where they lie apart, and data is NULL; else NULL */
    const void *packed; /* what kl__weight_pack made of it for the backend that is used; NULL: nothing */
    bool exact; /* inputs are f32 in every product, as accurate as can be; else they may be rounded to 8 or 16 bits */
};

/** Bytes of all matrices of `w` in the layout that the backend multiplies fastest with; 0: as they are is as good.
 *  Whatever product uses the packed ones has the same bits with them as without.   [T: ops/weight] */
size_t kl__weight_packed_bytes(const kl_backend *be, const struct kl__weight *w);
/** Writes that layout to `to`, aligned to 64 bytes.  Threads: the backend's.  Reads every row once. */
void kl__weight_pack(const kl_backend *be, void *to, const struct kl__weight *w);

/** y = x w^T, or y += x w^T with `add`.   y [T][n_out] f32, x [T][n_in] f32, each with any pitch; n_matrix is 1. */
size_t kl__weight_linear_workspace(const kl_backend *be, const struct kl__weight *w, int64_t n_token);
kl_status kl__weight_linear(const kl_backend *be, kl_tensor y, kl_tensor x, const struct kl__weight *w, bool add,
                            kl_workspace work, kl_error *err);

/** One of several products with the same x. */
struct kl__weight_product {
    kl_tensor y; /* out [T][n_out] f32 */
    const struct kl__weight *w;
    bool add;
};
/** Several at once, with the same bits as one after the other: x is looked at once and threads meet once.  Outputs
 *  overlap neither x nor each other (slices of one wider row do not). */
size_t kl__weight_linears_workspace(const kl_backend *be, const struct kl__weight_product *p, int n, int64_t n_token);
kl_status kl__weight_linears(const kl_backend *be, const struct kl__weight_product *p, int n, kl_tensor x,
                             kl_workspace work, kl_error *err);

/** Routed experts, as kl_experts:  y_t = sum_j weight_tj down_e (silu(gate_e x_t) * up_e x_t),  e = id_tj; with `add`
 *  y_t +=.  Each expert's weights are read once per call.
 *      y, x [T][D] f32    id [T][topk] i32    weight [T][topk] f32, absent: ones
 *      gate, up: n_matrix experts of [F][D]    down: of [D][F] */
size_t kl__weight_experts_workspace(const kl_backend *be, const struct kl__weight *gate, const struct kl__weight *up,
                                    const struct kl__weight *down, int64_t n_token, int64_t topk);
kl_status kl__weight_experts(const kl_backend *be, kl_tensor y, kl_tensor x, kl_tensor id, kl_tensor weight,
                             const struct kl__weight *gate, const struct kl__weight *up, const struct kl__weight *down,
                             bool add, kl_workspace work, kl_error *err);

/** Embedding: y_t = row id_t of the table, decoded exactly.   y [T][n_in] f32, id [T] i32. */
kl_status kl__weight_rows(const kl_backend *be, kl_tensor y, kl_tensor id, const struct kl__weight *table,
                          kl_error *err);

#endif
