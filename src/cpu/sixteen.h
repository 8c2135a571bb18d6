/** Attention on 16-bit integers (kernels/slots_i16.h): blocks of KL__I16_BLOCK positions of a cache as rows of
 *  integers, and values the way products want them; and the weights between latents and heads, packed once.
 *
 *      scores   k . q        rows of keys by panels of 32 queries, or the other way round where there are few queries:
 *                            an integer is the same either way
 *      output   weights . v  panels of 32 columns, pairs of positions
 *
 *  An integer row is off by about 1e-4 of its own size, as f16 would be. */
#ifndef KL_CPU_SIXTEEN_H
#define KL_CPU_SIXTEEN_H

#include "base/memory.h"
#include "cpu/kernels/kernels.h"
#include "tensor/tensor.h"

/** Numbers of a row of integers that has n: they meet in pairs. */
static inline int64_t kl__i16_even(int64_t n)
{
    return n + n % 2;
}
/** Panels of n columns or rows. */
static inline int64_t kl__i16_panels(int64_t n)
{
    return (n + KL__PANEL - 1) / KL__PANEL;
}

/** Rows of KL__I16_BLOCK positions, those that are not there zeros. */
struct kl__i16_rows {
    int16_t *row; /* [KL__I16_BLOCK][n], n even */
    float *scale; /* [KL__I16_BLOCK] */
    int64_t n;
};
void kl__i16_carve_rows(struct kl__i16_rows *r, struct kl__carver *c, int64_t n);
/** Rows first .. KL__I16_BLOCK - 1 become zeros. */
void kl__i16_clear_rows(struct kl__i16_rows *r, int64_t first);

/** Keys of a block of positions, and values as products want them. */
struct kl__i16_block {
    struct kl__i16_rows k;
    int16_t *v; /* [panels of n_v][KL__I16_BLOCK / 2][32][2]; NULL: woven of the keys' first columns when needed */
    float *v_scale; /* [KL__I16_BLOCK] */
};
void kl__i16_carve_block(struct kl__i16_block *b, struct kl__carver *c, int64_t n_k, int64_t n_v);

/** c[i][j] = x_i . row j of the panels, for i < m and j < n: x [m][2 n_pair] with scales, panels with scales (NULL:
 *  ones); `keep` [m] or NULL as in slots_i16.h. */
struct kl__i16_product {
    float *c;
    int64_t c_pitch;
    const float *keep;
    const int16_t *x;
    int64_t x_pitch;
    const float *x_scale;
    const int16_t *panel;
    int64_t panel_numbers; /* from one panel to the next */
    const float *panel_scale;
    int64_t n_pair, m, n;
};
void kl__i16_multiply(const struct kl__kernels *k, const struct kl__i16_product *p);

/* ------------------------------------------------------------------- weights between latents and heads, one head -- */

/** What products with one head's weights read.  n_nope rows of w_uk, n_v rows of w_uv, of n_latent columns. */
struct kl__i16_weights {
    int16_t *absorb; /* panels of n_latent columns, pairs of n_nope rows of w_uk */
    int16_t *expand; /* panels of n_nope rows, pairs of columns */
    int16_t *value;  /* panels of n_v rows of w_uv, pairs of columns */
    float *absorb_scale, *expand_scale, *value_scale;
};
void kl__i16_carve_weights(struct kl__i16_weights *w, struct kl__carver *c, int64_t n_nope, int64_t n_v,
                           int64_t n_latent);
/** `panels` from a matrix [n_row][n_column] of f32: panels of rows and pairs of columns, or with `turn` the other
 *  way round.  `line` has room for the numbers of a pair's side, `integers` for 32 times as many. */
void kl__i16_pack(const struct kl__kernels *k, int16_t *panels, float *scale, const float *matrix, int64_t n_row,
                  int64_t n_column, bool turn, float *line, int16_t *integers);

#endif
