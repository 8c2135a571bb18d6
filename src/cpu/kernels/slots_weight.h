/** Contracts of the leaf loops under products with the weights of a file (cpu/panels.h).  32 rows of weights are
 *  unpacked into a panel, which is then multiplied by rows of activations: as integers with activations rounded to 8
 *  bits where weights are quantised, in pairs of bf16 where they are bf16.
 *
 *  Integers.  A format's integers are tensor/quant/levels.h: number k of a row is scale (v - offset) - low, scale and
 *  low being those of its group of numbers.  Activations share a scale in blocks of 32: x = scale q.  So a block of
 *  32 adds
 *      sum_k w x = sum over its groups of  w.scale x.scale (sum_k v q - offset sum_k q) - w.low x.scale sum_k q
 *  where everything in brackets is an exact integer, the same for every instruction set. */
#ifndef KL_CPU_SLOTS_WEIGHT_H
#define KL_CPU_SLOTS_WEIGHT_H

#include "tensor/quant/quant.h"

enum {
    KL__PANEL = 32,      /* rows of weights side by side */
    KL__Q8_BLOCK = 32,   /* activations that share a scale */
    KL__Q8_ROWS = 6,     /* rows of activations that a product of integers takes at once, */
    KL__BF16_ROWS = 12,  /* and one of pairs of bf16 */
};

/** 8-bit activations.  n is whole blocks.  q [n] in -127 .. 127, scale [n / 32] and, for each group of 16 or 32,
 *      offset > 0:  aux [n / group] int32 = -offset sum q        offset == 0:  aux [n / group] float = scale sum q
 *  scale = largest |x| / 127, q = x / scale rounded to nearest.  Blocks below 1e-30 count as zero.  A block with a
 *  number that is not finite has scale NaN and q 0, so that products with it are NaN.   The same bits everywhere. */
typedef void kl__q8_row_fn(int8_t *q, float *scale, void *aux, const float *x, int64_t n, int group, int offset);

/** A panel of 32 rows of weights, n_block blocks of `type` each, `row_bytes` apart, at any address, as integers:
 *      q [n / 4][32][4]: v        scale, low [n / group][32]; low is written where the format has it
 *  Meanwhile as many bytes as the panel has are fetched into the second-level cache from `ahead` on, one after the
 *  other; NULL: none.   The same bits on every level. */
typedef void kl__weight_panel_fn(uint8_t *q, float *scale, float *low, enum kl__type type, const void *from,
                                 int64_t row_bytes, int64_t n_block, const void *ahead);

/** Rows of 8-bit activations: of row i, q, scale and aux start at row[i], row[i] + scale, row[i] + aux. */
struct kl__q8_rows {
    const char *row[KL__Q8_ROWS];
    int64_t scale, aux; /* bytes; multiples of 4 from an address of float */
};

/** sum[i][j] = s, or with `add` continues from sum[i][j]:  s = sum over n_k numbers of row i of x and row j of the
 *  panel, group after group.  sum [m][32], 1 <= m <= KL__Q8_ROWS; n_k is whole blocks of 32; low is NULL where the
 *  format has none.  The result for a row does not depend on m.  q, scale, low and sum are aligned to 64 bytes. */
typedef void kl__q8_tile_fn(float *sum, const struct kl__q8_rows *x, const uint8_t *q, const float *scale,
                            const float *low, int64_t n_k, int group, int offset, int m, bool add);

/* ---- packed panels
 *
 * A matrix can be packed once: panel after panel, and in a panel group after group of 32 numbers of its 32 rows, so
 * that a product reads memory from end to end and finds numbers where its vectors want them.  v as above, L: [32][4],
 * four numbers of every row.
 *     Q8_0   a group:  scale [32] f16,  v [8] L
 *     Q4_0   a group:  scale [32] f16,  [4] L: line j has lines j and, 4 bits higher, j + 4 of v
 *     Q4_K   8 groups: d [32] f16, dmin [32] f16, scale [8][32] u8, low [8][32] u8, then [8][4] L as for Q4_0
 *     BF16   two numbers: [32][2], a zero beside a last number that is alone; for products in f32 (slots_gemm.h) */

/** Bytes of a packed panel of n numbers a row, a multiple of 64; 0: the type is not packed.  n is whole blocks. */
static inline int64_t kl__packed_bytes(enum kl__type type, int64_t n)
{
    switch (type) {
    case KL__TYPE_Q8_0: return n / 32 * (64 + 1024);
    case KL__TYPE_Q4_0: return n / 32 * (64 + 512);
    case KL__TYPE_Q4_K: return n / 256 * (128 + 512 + 4096);
    case KL__TYPE_BF16: return (n + 1) / 2 * 128;
    default: return 0;
    }
}

/** n numbers (whole blocks) of each row of a packed panel of blocks, as weight_panel leaves them.  The same bits
 *  everywhere. */
typedef void kl__packed_panel_fn(uint8_t *q, float *scale, float *low, enum kl__type type, const void *from, int64_t n,
                                 const void *ahead);

/** sum[i][j] = sum over n_k numbers (whole blocks) of row i of x and row j of a packed panel, 1 <= m <= KL__Q8_ROWS:
 *  the same bits as packed_panel and q8_tile of the same level.  The panel and what follows it at `ahead` are fetched
 *  as they are needed; NULL: what lies behind it.  from and sum are aligned to 64 bytes. */
typedef void kl__packed_tile_fn(float *sum, const struct kl__q8_rows *x, enum kl__type type, const void *from,
                                int64_t n_k, int m, const void *ahead);

/* ---- pairs of bf16 */

/** A panel of 32 rows of n_k numbers of bf16, `row_bytes` apart, at any address:  p [(n_k + 1) / 2][32][2],  a zero
 *  beside a last number that is alone.  `ahead` as above. */
typedef void kl__bf16_panel_fn(uint16_t *p, const void *from, int64_t row_bytes, int64_t n_k, const void *ahead);

/** sum[i][j] = s, or += s with `add`:  s is the sum of n_pair pairs  x[i][k] p[k][j] + x[i][k+1] p[k+1][j]
 *  for row j of the panel, in f32 with subnormal numbers as zero; in which order a pair's products are added is the
 *  machine's.  sum [m][32], 1 <= m <= KL__BF16_ROWS; row i of x starts at x[i].  The result for a row does not depend
 *  on m. p and sum are aligned to 64 bytes. */
typedef void kl__bf16_tile_fn(float *sum, const uint16_t *const *x, const uint16_t *p, int64_t n_pair, int m, bool add);

#endif
