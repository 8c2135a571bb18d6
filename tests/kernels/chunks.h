/** Chunks of the delta-rule family as inputs of the checkers of their gradients. */
#ifndef CHUNKS_H
#define CHUNKS_H

#include "kcheck.h"

#include <math.h>

/** Tokens and head sizes worth trying: every tail of a tile, and what models use. */
static const int chunk_tokens[] = {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 63, 64};
static const int chunk_heads[] = {1, 5, 16, 37, 64, 128};
enum {
    N_CHUNK_TOKENS = sizeof chunk_tokens / sizeof *chunk_tokens,
    N_CHUNK_HEADS = sizeof chunk_heads / sizeof *chunk_heads,
};

static inline ptrdiff_t padded(int K)
{
    return (K + 15) / 16 * 16;
}

static inline float *key_rows(kc *c, const char *name, int n, int K)
{
    float *x = kc_in_rows(c, name, n, K, padded(K), KC_NORMAL, 0);
    kc_unit_rows(x, n, padded(K));
    return x;
}

/** The same, rows `distance` >= padded(K) floats apart, at any address, with NaN in the gaps between them. */
static inline float *key_rows_apart(kc *c, const char *name, int n, int K, ptrdiff_t distance)
{
    ptrdiff_t ld = padded(K);
    float *x = kc_in(c, name, (n - 1) * distance + ld, KC_NORMAL);
    for (int r = 0; r < n; r++) {
        float *row = x + r * distance;
        for (ptrdiff_t j = K; j < (r + 1 < n ? distance : ld); j++)
            row[j] = j < ld ? 0 : NAN;
        kc_unit_rows(row, 1, ld);
    }
    return x;
}

/** Rows of the general rule; `gap` floats and multiples of it lie between them. */
static inline struct kl__dplr_rows dplr_rows(kc *c, int n, int K, int gap, enum kc_fill decay)
{
    ptrdiff_t ld = padded(K);
    struct kl__dplr_rows x = {.ldq = ld + gap, .ldk = ld + 2 * gap, .lda = ld + 3 * gap, .ldb = ld + 4 * gap};
    x.q = key_rows_apart(c, "q", n, K, x.ldq);
    x.k = key_rows_apart(c, "k", n, K, x.ldk);
    x.a = key_rows_apart(c, "a", n, K, x.lda);
    x.b = key_rows_apart(c, "b", n, K, x.ldb);
    kc_align(c, 64);
    x.alpha = kc_in_rows(c, "alpha", n, K, ld, decay, 1);
    return x;
}

/** Entries (r, i) with i < r, or i <= r, normal; the others NaN, for nobody may use them. */
static inline float *pairs(kc *c, const char *name, int n, bool diagonal)
{
    float *x = kc_in(c, name, n * KL_CHUNK_MAX, KC_NORMAL);
    for (int r = 0; r < n; r++)
        for (int i = r + diagonal; i < KL_CHUNK_MAX; i++)
            x[r * KL_CHUNK_MAX + i] = NAN;
    return x;
}

/** Copies the entries (r, i) with i < r, or i <= r, to the dense `to` [n][n], zeros elsewhere. */
static inline void keep_pairs(float *to, const float *from, int n, bool diagonal)
{
    for (int r = 0; r < n; r++)
        for (int i = 0; i < n; i++)
            to[r * n + i] = i < r + diagonal ? from[r * KL_CHUNK_MAX + i] : 0;
}

/** Rows that arrays over n tokens have room for. */
static inline int rows_of(int n)
{
    return (n + KL_ROWS - 1) / KL_ROWS * KL_ROWS;
}

/** [rows_of(n)][ld], NaN: what is past n may be read, never used. */
static inline float *padded_rows(kc *c, const char *name, int n, ptrdiff_t ld)
{
    float *x = kc_in(c, name, rows_of(n) * ld, KC_ZERO);
    for (ptrdiff_t i = 0; i < rows_of(n) * ld; i++)
        x[i] = NAN;
    return x;
}

/** A chunk of the delta rule as the mathematics makes it, from keys of unit length. */
static inline struct kl__kda_chunk kda_chunk(kc *c, int n, int K, enum kc_fill decay)
{
    ptrdiff_t ld = padded(K);
    struct kl__kda_chunk chunk = {.n = n, .K = K, .ld = ld};
    float *q = key_rows(c, "q", n, K), *k = key_rows(c, "k", n, K);
    float *alpha = kc_in_rows(c, "alpha", n, K, ld, decay, 1);
    chunk.kd = padded_rows(c, "kd", n, ld);
    chunk.qd = padded_rows(c, "qd", n, ld);
    chunk.ku = padded_rows(c, "ku", n, ld);
    chunk.A = padded_rows(c, "A", n, KL_CHUNK_MAX);
    chunk.P = padded_rows(c, "P", n, KL_CHUNK_MAX);
    chunk.gamma = kc_in(c, "gamma", ld, KC_ZERO);
    chunk.beta = padded_rows(c, "beta", n, 1);
    kc_refill(c, chunk.beta, n, KC_UNIT);
    kl__kda_prep_ref(&chunk, q, ld, k, ld, alpha, 1 / sqrtf((float)K));
    return chunk;
}

/** A chunk of the general rule as the mathematics makes it, with a = 0.7 b of unit length: stable. */
static inline struct kl__dplr_chunk dplr_chunk(kc *c, int n, int K, enum kc_fill decay)
{
    ptrdiff_t ld = padded(K);
    struct kl__dplr_chunk chunk = {.n = n, .K = K, .ld = ld};
    float *q = key_rows(c, "q, k, b, a", 4 * n, K), *k = q + n * ld, *b = k + n * ld, *a = b + n * ld;
    float *alpha = kc_in_rows(c, "alpha", n, K, ld, decay, 1);
    for (int64_t i = 0; i < n * ld; i++)
        a[i] = 0.7f * b[i];
    chunk.bd = padded_rows(c, "bd", n, ld);
    chunk.qd = padded_rows(c, "qd", n, ld);
    chunk.ku = padded_rows(c, "ku", n, ld);
    chunk.au = padded_rows(c, "au", n, ld);
    chunk.Abk = padded_rows(c, "Abk", n, KL_CHUNK_MAX);
    chunk.Aba = padded_rows(c, "Aba", n, KL_CHUNK_MAX);
    chunk.Aqk = padded_rows(c, "Aqk", n, KL_CHUNK_MAX);
    chunk.Aqa = padded_rows(c, "Aqa", n, KL_CHUNK_MAX);
    chunk.gamma = kc_in(c, "gamma", ld, KC_ZERO);
    struct kl__dplr_rows rows = {q, k, a, b, ld, ld, ld, ld, alpha};
    kl__dplr_prep_ref(&chunk, &rows, 1 / sqrtf((float)K));
    return chunk;
}

#endif
