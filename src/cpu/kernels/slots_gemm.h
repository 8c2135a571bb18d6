/** Contracts of the leaf loops under every matrix product (cpu/gemm.h): packing a panel, multiplying two, storing sums.
 *  A panel holds `width` rows of an operand, k outermost: panel[k][width]. */
#ifndef KL_CPU_SLOTS_GEMM_H
#define KL_CPU_SLOTS_GEMM_H

#include "cpu/kernels/ahead.h"
#include "klinear/kl/base.h"

enum {
    /** Sums over k run in blocks of this length, the same for every instruction set: part of the result's bits.
     *  A panel of 32 columns then takes 24 KiB, half a first-level cache, beside which those of 14 rows pass. */
    KL__GEMM_K = 192,
    /** A tile asks for memory that comes after it this often: all at once would fill the queues between the caches. */
    KL__GEMM_FETCH = 16,
};

/** What the tile of one instruction set is tuned for. */
struct kl__gemm_sizes {
    int rows, columns; /* of the largest tile */
    /** A block of k of so many rows (a multiple of `rows`), and sums of so many rows and columns (a multiple of
     *  `columns`), fit into a second-level cache together. */
    int block_rows, block_columns;
};
typedef struct kl__gemm_sizes kl__gemm_sizes_fn(void);

/** to[k][i] = from(i, k) as f32, exactly, for k < n_k and i < width; 0 where i >= n.
 *  from(i, k) is from[i pitch + k], or from[k pitch + i] when `transposed`; dtype f32 or bf16.
 *  n >= 0 rows are there to be read, which may be more than `width`; width is `columns`, or 0 .. `rows` and at most n.
 *  Writes n_k * width floats. */
typedef void kl__gemm_pack_fn(float *to, const void *from, kl_dtype dtype, int64_t pitch, bool transposed, int64_t n,
                              int width, int64_t n_k);

/** sum[i][j] = s, or sum[i][j] += s with `add`, where s = sum_k a[k][i] b[k][j] starts from 0 and runs over
 *  k = 0 .. n_k-1 one after the other, whatever m is.  sum [m][columns], 1 <= m <= `rows`; a [n_k][m];
 *  b [n_k][columns], n_k >= 0.  Products are fused with the sum where the instruction set can.  sum and b are aligned
 *  to 64 bytes.  Some of `ahead` (may be NULL) is fetched every KL__GEMM_FETCH numbers of k. */
typedef void kl__gemm_tile_fn(float *sum, const float *a, const float *b, int64_t n_k, int m, bool add,
                              struct kl__ahead *ahead);

/** gemm_tile, with its very bits, for rows of a as they lie: a [m][n_k] at a_pitch floats. */
typedef void kl__gemm_rows_fn(float *sum, const float *a, int64_t a_pitch, const float *b, int64_t n_k, int m, bool add,
                              struct kl__ahead *ahead);

/** c[i][j] = bias[j] + sum[i][j], or with `add` c[i][j] += that, for i < m, j < n <= `columns`; rounded to nearest when
 *  dtype is bf16, which does not add.  sum [m][columns]; c has rows c_pitch elements apart; bias [n] or NULL for 0. */
typedef void kl__gemm_store_fn(void *c, kl_dtype dtype, int64_t c_pitch, const float *sum, const float *bias, bool add,
                               int64_t m, int n);

/* ---- bf16 packed in panels of 32 rows (slots_weight.h): columns `column` .. `column` + columns - 1 of one, which is a
 *      multiple of `columns`, from an even number k on */

enum { KL__WIDE_ROWS = 4 };

/** to[k][j] as gemm_pack leaves it, for k < n_k and j < columns. */
typedef void kl__wide_panel_fn(float *to, const void *from, int column, int64_t n_k);

/** sum[i][j] as gemm_tile leaves it after all blocks of KL__GEMM_K, the first of them without `add`, of n_k numbers:
 *  for few rows the panel is read as it goes by.  a [m][n_k] at a_pitch, 1 <= m <= KL__WIDE_ROWS; sum [m][columns].
 *  The same bits as wide_panel and gemm_tile of the same level. */
typedef void kl__wide_tile_fn(float *sum, const float *a, int64_t a_pitch, const void *from, int column, int64_t n_k,
                              int m);

#endif
