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

#endif
