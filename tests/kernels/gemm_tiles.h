/** Products of a variant's width in tiles of plain C's width: what the checkers of gemm_tile and gemm_rows share. */
#ifndef GEMM_TILES_H
#define GEMM_TILES_H

#include "kcheck.h"

enum { MAX_TILE = 64 };

struct args {
    float *sum;         /* [m][columns] */
    const float *a, *b; /* gemm_tile: [n_k][m], gemm_rows: [m][n_k] at a_pitch; [n_k][columns] */
    int64_t a_pitch, n_k;
    int m, columns;
    bool add, ahead;
};

/** Columns from[k][first .. first + n - 1] as a panel of their own: to [n_k][n]. */
static inline void narrow(float *to, int n, const float *from, int pitch, int first, int64_t n_k)
{
    for (int64_t k = 0; k < n_k; k++)
        for (int i = 0; i < n; i++)
            to[k * n + i] = from[k * pitch + first + i];
}

/** The way back: to[r][first .. first + n - 1] = from[r], for from [m][n]. */
static inline void widen(float *to, int pitch, int first, const float *from, int n, int m)
{
    for (int r = 0; r < m; r++)
        for (int i = 0; i < n; i++)
            to[r * pitch + first + i] = from[r * n + i];
}

/** What rows of a may be fetched ahead, as the products do it. */
static inline struct kl__ahead ahead_of(const struct args *a, int64_t step)
{
    return (struct kl__ahead){.stream[0] = {(const char *)a->a, (ptrdiff_t)step, (ptrdiff_t)step, (int)a->n_k},
                              .n_stream = a->n_k > 0,
                              .rows_a_call = 3};
}

/** Rows of a are `gap` numbers apart; where they are packed column by column there is none. */
static inline struct args operands(kc *c, int m, int columns, int64_t n_k, int64_t gap, bool add, enum kc_fill fill)
{
    struct args a = {.m = m, .columns = columns, .n_k = n_k, .add = add, .ahead = m % 2, .a_pitch = n_k + gap};
    a.a = kc_in(c, "a", (m - 1) * a.a_pitch + n_k, fill);
    kc_align(c, 64);
    a.b = kc_in(c, "b", n_k * columns, KC_NORMAL);
    a.sum = add ? kc_inout(c, "sum", m * columns, fill, 1e-5) : kc_out(c, "sum", m * columns, 1e-5);
    return a;
}

/** Every number of rows, lengths, fills; `gap` between rows in half of them. */
static inline void check_tiles(kc *c, kc_call_fn *call, int64_t gap)
{
    static const int64_t lengths[] = {0, 1, 2, 5, 64};
    struct kl__kernels k;
    kl__kernels_fill(&k, kc_needs(c));
    struct kl__gemm_sizes s = k.gemm_sizes();
    for (int m = 1; m <= s.rows; m++)
        for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
            for (int add = 0; add <= 1; add++) {
                struct args a = operands(c, m, s.columns, lengths[i], gap * add, add, KC_NORMAL);
                kc_run(c, call, &a, "m %d, n_k %lld%s", m, (long long)lengths[i], add ? ", add" : "");
            }
    for (int fill = 0; fill <= KC_NAN; fill++) {
        struct args a = operands(c, s.rows, s.columns, KL__GEMM_K, 103 * gap, true, (enum kc_fill)fill);
        kc_run(c, call, &a, "full tile, n_k %d, %s a", KL__GEMM_K, kc_fill_name((enum kc_fill)fill));
    }
    struct args a = operands(c, s.rows, s.columns, KL__GEMM_K, 0, false, KC_NORMAL);
    kc_run_timed(c, call, &a, "%d x %d x %d", s.rows, s.columns, KL__GEMM_K);
}

#endif
