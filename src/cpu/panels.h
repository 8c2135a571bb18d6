/** Products of activations with block-quantised weights, in integers.
 *
 *  Activations are rounded to 8 bits once (kl__q8).  32 rows of weights at a time are unpacked into a panel that stays
 *  in the first-level cache (PANEL_K numbers of each row), and multiplied by all tokens before the next part is
 *  unpacked; so weights are read from memory once, as they lie, whether there is one token or hundreds.
 *
 *  A sum runs over groups of numbers in their order, whatever the number of tokens: a token has the same bits alone. */
#ifndef KL_CPU_PANELS_H
#define KL_CPU_PANELS_H

#include "base/memory.h"
#include "cpu/kernels/kernels.h"
#include "ops/backend.h"
#include "tensor/quant/levels.h"

/** Rows of numbers in 8 bits, as one form of weights wants them (slots_weight.h): a record for each row. */
struct kl__q8 {
    int group, offset; /* of the weights */
    int64_t n_row, n;  /* n: numbers of a row */
    int64_t pitch;     /* bytes of a record: q [n], scale, aux */
    char *data;
};

/** Takes memory for rows that meet weights of this form. */
struct kl__q8 kl__carve_q8(struct kl__carver *c, const struct kl__levels_info *form, int64_t n_row, int64_t n);
/** Rounds n numbers of row `row` from number k on; n is whole blocks. */
void kl__q8_write(const struct kl__kernels *kernels, const struct kl__q8 *to, int64_t row, int64_t k, const float *x,
                  int64_t n);
/** Rounds all rows of x [n_row][n] f32, on the pool. */
void kl__q8_of(const kl_backend *be, const struct kl__q8 *to, kl_tensor x);

enum { KL__PANEL_TOKENS = 256 }; /* of one product: what it needs of x stays in the second-level cache */

/** What one thread multiplies with. */
struct kl__panel {
    uint8_t *q;
    float *scale, *low;
    char *spare; /* rows of a matrix that has fewer than a panel */
    float *sum;  /* [KL__PANEL_TOKENS][KL__PANEL] */
};
struct kl__panel kl__carve_panel(struct kl__carver *c);

/** Rows of a matrix that make a panel: `n` rows from `row` on.  Near the end, where less than a panel is left, `first`
 *  lies before `row`: what is computed from there on is computed twice, and the same. */
struct kl__panel_rows {
    int64_t first, row;
    int n;
};
static inline int64_t kl__n_panel(int64_t n_out)
{
    return n_out / KL__PANEL + (n_out % KL__PANEL != 0);
}
struct kl__panel_rows kl__panel_rows(int64_t n_out, int64_t panel);

/** Which rows of activations: number i is row at[i] / per, or first + i without `at`. */
struct kl__chosen {
    const int64_t *at;
    int64_t per, first, n;
};

/** sum[i][j] = row i of the chosen (at most KL__PANEL_TOKENS) times row rows.first + j of the matrix.
 *  `ahead`: what this thread will probably need next, a panel of the same matrix or of another of its shape: fetched
 *  into the second-level cache meanwhile, so that weights arrive at the speed of memory.  NULL: nothing. */
void kl__panel_product(const struct kl__kernels *kernels, const struct kl__panel *p, float *sum, const struct kl__q8 *x,
                       struct kl__chosen chosen, const struct kl__weight *w, int64_t matrix,
                       struct kl__panel_rows rows, const void *ahead);

#endif
