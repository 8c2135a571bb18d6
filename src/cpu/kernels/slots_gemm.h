/** Contracts of the two leaf loops under every matrix product (cpu/gemm.h): packing a panel, multiplying two panels.
 *  A panel holds `width` rows of an operand, k outermost: panel[k][width]. */
#ifndef KL_CPU_SLOTS_GEMM_H
#define KL_CPU_SLOTS_GEMM_H

#include "klinear/kl.h"

enum {
    /** Sums over k run in blocks of this length, the same for every instruction set: part of the result's bits.
     *  A panel of 32 columns then takes 32 KiB, which stays in the first-level cache. */
    KL__GEMM_K = 256,
};

/** What the tile of one instruction set is tuned for. */
struct kl__gemm_sizes {
    int rows, columns;             /* of the largest tile */
    int block_rows, block_columns; /* of the packed blocks, a good half of a second-level cache in all */
};
typedef struct kl__gemm_sizes kl__gemm_sizes_fn(void);

/** to[k][i] = from(i, k) as f32, exactly, for k < n_k and i < n; 0 for n <= i < width.
 *  from(i, k) is from[i pitch + k], or from[k pitch + i] when `transposed`; dtype f32 or bf16.
 *  width is `columns`, or n with n <= `rows`.  Writes n_k * width floats and reads nothing but the n * n_k elements. */
typedef void kl__gemm_pack_fn(float *to, const void *from, kl_dtype dtype, int64_t pitch, bool transposed, int n,
                              int width, int64_t n_k);

/** c[i][j] = sum_k a[k][i] b[k][j], or c[i][j] += that sum with `add`, for i < m, j < n; the sum starts from 0 and runs
 *  over k = 0 .. n_k-1 one after the other, whatever m and n are.  a [n_k][m], m <= `rows`; b [n_k][columns],
 *  n <= `columns`.  c has rows c_pitch apart.  Products are fused with the sum where the instruction set can. */
typedef void kl__gemm_tile_fn(float *c, int64_t c_pitch, const float *a, const float *b, int64_t n_k, int m, int n,
                              bool add);

#endif
