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

#endif
