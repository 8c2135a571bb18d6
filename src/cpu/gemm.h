/** The matrix product under every operator:  C = A B^T + bias  or  C += A B^T + bias,  sums in f32.
 *
 *  Order of summation.  With s_b the sum of the products of block b of k (KL__GEMM_K long, the last one shorter), added
 *  one after the other from 0, an element is  held + (bias + ((s_0 + s_1) + s_2 + ...)),  held being what C held.
 *  It depends on the instruction set (whether products are fused) and on nothing else: not on the number of
 *  threads, not on M or N, not on where and how operands lie.  A row computed alone has the same bits as in any batch.
 *  [T: unit/gemm]
 *
 *  Cost 2 M N K flops.  A and B are packed block by block into the workspace, so they may lie in either order. */
#ifndef KL_CPU_GEMM_H
#define KL_CPU_GEMM_H

#include "cpu/kernels/kernels.h"
#include "ops/backend.h"
#include "tensor/quant/quant.h"

/** An operand: element (i, k) is data[i pitch + k], or data[k pitch + i] when `transposed`. */
struct kl__matrix {
    const void *data;
    int64_t pitch;  /* elements */
    kl_dtype dtype; /* f32|bf16; bf16 is widened exactly */
    bool transposed;
};

/** One product.  The three of a linear layer y = x w^T are, with the matrices as they lie in memory,
 *      y  = x w^T         a = x,              b = w                (m tokens, n outputs, k inputs)
 *      dx = dy w          a = dy,             b = w transposed     (m tokens, n inputs,  k outputs)
 *      dw += dy^T x       a = dy transposed,  b = x transposed     (m outputs, n inputs, k tokens) */
struct kl__gemm {
    int64_t m, n, k;        /* each >= 0 */
    struct kl__matrix a, b; /* (m, k) and (n, k) */
    /** NULL, or: the rows of b are such blocks, at any address, decoded on the way; its dtype is f32, its pitch counts
     *  numbers, whole blocks, and it is not transposed. */
    const struct kl__type_info *b_blocks;
    /** NULL, or: the same numbers as b, which is bf16 and not transposed, packed in panels of 32 rows
     *  (kernels/slots_weight.h); they are read instead. */
    const void *b_packed;
    void *c;                /* [m][n] at c_pitch elements; overlaps nothing */
    int64_t c_pitch;
    kl_dtype c_dtype; /* f32, or bf16: rounded once, at the end */
    bool add;         /* start from what c holds; f32 only */
    const void *bias; /* [n]; start from it; not with `add`.  NULL: none */
    kl_dtype bias_dtype;
};

/** The rows of a two-dimensional tensor, as operand. */
struct kl__matrix kl__matrix_of(kl_tensor t);
/** The same, read as its transpose. */
struct kl__matrix kl__transpose_of(kl_tensor t);

/** Scratch of one thread, whatever the shapes, for kl__gemm_here. */
size_t kl__gemm_scratch(const struct kl__kernels *kernels);
/** One product on the calling thread: for use inside tasks.  `scratch` is aligned to KL_ALIGN. */
void kl__gemm_here(const struct kl__kernels *kernels, const struct kl__gemm *g, void *scratch);

/** Workspace that kl__gemm_run needs, whatever the shapes and the number of products. */
size_t kl__gemm_workspace(const kl_backend *be);
/** `n` independent products, spread together over the backend's pool.  Not from inside a task. */
void kl__gemm_run(const kl_backend *be, const struct kl__gemm *g, int64_t n, kl_workspace work);

#endif
