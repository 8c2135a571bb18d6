/** What the preparations of chunks share: panels of channels, and sums over channels for the pairs of a block of
 *  KL_ROWS tokens with others, which stay in vectors and are added up across lanes a tree at a time. */
#ifndef KL_CPU_PREP_H
#define KL_CPU_PREP_H

#include "cpu/kernels/slots_kda.h"
#include "cpu/kernels/vec/pairs.h"

#define INLINE static inline __attribute__((always_inline))

enum {
    PANEL = 128,                   /* channels */
    STEP = KL_LANES == 16 ? 8 : 4, /* vectors of channels that are handled together, in registers */
};

/* The sums of the lanes of n_sum vectors, in their order. */
INLINE void add_lanes(vf *to, const vf *sums, int n_sum)
{
#pragma GCC unroll 4
    for (int at = 0; at < n_sum; at += KL_LANES)
        to[at / KL_LANES] = sum_each(sums + at);
}

/* to[0 .. n-1] <- numbers first .. first+n-1 of n_sum, or added to what is there. */
INLINE void store_some(float *to, const vf *sums, int n_sum, int first, int n, bool add)
{
#pragma GCC unroll 4
    for (int at = 0; at < n_sum; at += KL_LANES) {
        int from = first > at ? first - at : 0, end = first + n - at < KL_LANES ? first + n - at : KL_LANES;
        vf x = sums[at / KL_LANES];
        if (from < end)
            vstore_lanes(to + at - first, add ? x + vload_lanes(to + at - first, from, end) : x, from, end);
    }
}

INLINE void multiply_rows(float *rows, ptrdiff_t ld, const float *factor, int n, ptrdiff_t end)
{
    for (int r = 0; r < n; r++)
        for (ptrdiff_t j = 0; j < end; j += KL_LANES)
            vstore(rows + r * ld + j, vload(rows + r * ld + j) * vload(factor + j));
}

/* The tokens of a block as two kinds of readers, on a panel: rows that have decayed from the block's start on. */
struct readers {
    int t0, n;
    ptrdiff_t end, ld;
    bool add; /* to the pairs of earlier panels */
    const float *first, *second;
};

enum { MOST_WRITERS = 16 };

/* Sums over n_vec vectors from channel j of the panel on, of reader r with n_row writers from row `rows` on: those of
 * the first kind, then those of the second. */
INLINE void add_products(const struct readers *b, int r, const float *rows, ptrdiff_t j, vf *sums, int n_row, int n_vec)
{
    vf first[STEP], second[STEP];
#pragma GCC unroll 8
    for (int v = 0; v < n_vec; v++) {
        first[v] = vload(b->first + r * b->ld + j + v * KL_LANES);
        second[v] = vload(b->second + r * b->ld + j + v * KL_LANES);
    }
    for (int i = 0; i < n_row; i++, rows += b->ld) {
        vf x = j == 0 ? (vf){0} : sums[i], y = j == 0 ? (vf){0} : sums[n_row + i];
#pragma GCC unroll 8
        for (int v = 0; v < n_vec; v++) {
            vf w = vload(rows + j + v * KL_LANES);
            x += w * first[v];
            y += w * second[v];
        }
        sums[i] = x;
        sums[n_row + i] = y;
    }
}

/* The pairs of the block with one kind of rows of earlier blocks, which are n_row <= MOST_WRITERS tokens each. */
INLINE void pair_with_earlier(const struct readers *b, const float *rows, float *with_first, float *with_second,
                              int n_row)
{
    for (int i0 = 0; i0 < b->t0; i0 += n_row)
        for (int r = 0; r < b->n; r++) {
            vf sums[2 * MOST_WRITERS], sum[2 * MOST_WRITERS / KL_LANES];
            const float *from = rows + i0 * b->ld;
            ptrdiff_t j = 0, row = (b->t0 + r) * KL_CHUNK_MAX + i0;
            for (; j + STEP * KL_LANES <= b->end; j += STEP * KL_LANES)
                add_products(b, r, from, j, sums, n_row, STEP);
            for (; j < b->end; j += KL_LANES)
                add_products(b, r, from, j, sums, n_row, 1);
            add_lanes(sum, sums, 2 * n_row);
            store_some(with_first + row, sum, 2 * n_row, 0, n_row, b->add);
            store_some(with_second + row, sum, 2 * n_row, n_row, n_row, b->add);
        }
}

#endif
