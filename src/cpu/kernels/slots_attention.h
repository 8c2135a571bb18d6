/** Contracts of the leaf loops of softmax attention.  All work on small tiles of f32 in cache; a pitch is the number of
 *  elements from one row to the next.  Pointers need no alignment beyond the element's; outputs overlap no input.
 *
 *  What one row of a result is made of, and in which order, never depends on the other rows of the tile: the same
 *  query gives the same bits in whatever block it is worked on.   Source: arXiv:2205.14135. */
#ifndef KL_CPU_SLOTS_ATTENTION_H
#define KL_CPU_SLOTS_ATTENTION_H

#include <stdint.h>

/** Columns of a tile of scores: rows of the cache that are looked at together. */
enum { KL__ATTENTION_BLOCK = 64 };

/** c[i][j] = a_i . b_j.   a [m][n_dim], b [n][n_dim], c [m][n]. */
typedef void kl__attention_dot_fn(float *c, int64_t c_pitch, const float *a, int64_t a_pitch, const float *b,
                                  int64_t b_pitch, int64_t m, int64_t n, int64_t n_dim);

/** c_i <- keep_i c_i + sum over j = from_i .. to_i - 1, in ascending order, of a(i, j) b_j.
 *  c [m][n_dim]; a(i, j) = a[i * a_row + j * a_col], so that a may be read transposed; b [n][n_dim]; keep [m], NULL: 1;
 *  from, to [m] with 0 <= from_i, to_i <= n (an empty range leaves keep_i c_i); NULL: 0 and n. */
typedef void kl__attention_mix_fn(float *c, int64_t c_pitch, const float *keep, const float *a, int64_t a_row,
                                  int64_t a_col, const float *b, int64_t b_pitch, const int32_t *from,
                                  const int32_t *to, int64_t m, int64_t n, int64_t n_dim);

/** One block of the online softmax, m rows.  With s_ij = scale s[i][j] for j < to_i and nothing beyond:
 *      new = max(max_i, max_j s_ij);  keep_i = exp(max_i - new);  s[i][j] <- exp(s_ij - new), 0 for j >= to_i;
 *      sum_i <- keep_i sum_i + sum_j s[i][j];  max_i <- new
 *  s [m][KL__ATTENTION_BLOCK] in/out, all columns written; max, sum [m] in/out, -infinity and 0 before the first block;
 *  keep [m] out.  As long as new is -infinity: s = 0, keep = 1.  A NaN among the scores makes sum_i NaN. */
typedef void kl__attention_softmax_fn(float *s, float *max, float *sum, float *keep, const int32_t *to, float scale,
                                      int64_t m);

/** Backward of the softmax of one block, m rows: p = exp(scale s - lse_i);  s <- p;  d <- scale p (d - delta_i).
 *  s, d [m][KL__ATTENTION_BLOCK] in/out; columns from to_i on become 0 in both; all do where lse_i is -infinity. */
typedef void kl__attention_softmax_bwd_fn(float *s, float *d, const float *lse, const float *delta, const int32_t *to,
                                          float scale, int64_t m);

#endif
