/** Products of activations with weights of a file that are quantised, or bf16 where the machine multiplies pairs.
 *
 *  32 rows of weights at a time are unpacked into a panel that stays in the first-level cache (a few hundred numbers of
 *  each row), and multiplied by all tokens before the next part is unpacked.  So weights are read from memory once, as
 *  they lie, whether there is one token or hundreds, and unpacking is shared by the tokens.
 *
 *  A sum runs over parts, and in a part over groups or numbers, in their order: a token has the same bits alone as
 *  among others. */
#ifndef KL_CPU_PANELS_H
#define KL_CPU_PANELS_H

#include "cpu/inputs.h"

/** First byte of a row of one matrix. */
const void *kl__weight_row(const struct kl__weight *w, int64_t matrix, int64_t row);

/* ----------------------------------------------------------------------------------------------- cut of a matrix -- */

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
/** Where a panel of one matrix begins in memory. */
const void *kl__panel_start(const struct kl__weight *w, int64_t matrix, int64_t panel);

/** Neighbouring panels that make a task: enough to stream memory from end to end. */
enum { KL__RUN = 4 };
static inline int64_t kl__n_run(int64_t n_out)
{
    return (kl__n_panel(n_out) + KL__RUN - 1) / KL__RUN;
}
static inline int64_t kl__end_of_run(int64_t n_out, int64_t run)
{
    return (run + 1) * KL__RUN < kl__n_panel(n_out) ? (run + 1) * KL__RUN : kl__n_panel(n_out);
}

/* --------------------------------------------------------------------------------------------- cut of the tokens -- */

/** Rows of activations of one product: number i is row at[i] / per, or first + i without `at`. */
struct kl__chosen {
    const int64_t *at;
    int64_t per, first, n;
};

/** Most rows of a product: what it reads of x stays in a second-level cache. */
enum { KL__TOKENS = 256 };
/** Products that n rows are dealt out to, all nearly alike. */
int64_t kl__n_token_block(struct kl__form form, int64_t n);
/** First row of block i of n_block; that of block n_block is n. */
static inline int64_t kl__token_block(int64_t n, int64_t n_block, int64_t i)
{
    return n * i / n_block;
}

/* ------------------------------------------------------------------------------------------------------- product -- */

/** What one thread multiplies with. */
struct kl__panel {
    void *numbers;
    float *scale, *low;
    char *spare; /* rows of a matrix that has fewer than a panel */
    float *sum;  /* [KL__TOKENS][KL__PANEL] */
};
struct kl__panel kl__carve_panel(struct kl__carver *c);

/** sum[i][j] = row i of the chosen (at most KL__TOKENS) times row rows.first + j of the matrix.
 *  `ahead`: what this thread will probably need next, a panel of some matrix; it is fetched into the second-level
 *  cache meanwhile, so that weights arrive at the speed of memory.  NULL: nothing. */
void kl__panel_product(const struct kl__kernels *kernels, const struct kl__panel *p, float *sum,
                       const struct kl__inputs *x, struct kl__chosen chosen, const struct kl__weight *w, int64_t matrix,
                       struct kl__panel_rows rows, const void *ahead);

#endif
