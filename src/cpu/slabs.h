/** One head's state between its public layout and the slabs that kernels work on (see kernels/slots_kda.h). */
#ifndef KL_CPU_SLABS_H
#define KL_CPU_SLABS_H

#include "cpu/kernels/slots_kda.h"

/** Slabs that V columns need. */
static inline int kl__n_slab(int64_t V)
{
    return (int)((V + KL_SLAB - 1) / KL_SLAB);
}

/** How often a kernel that runs n tokens on slabs calls kl__fetch_some, at least. */
static inline int64_t kl__slabs_fetches(int n, int64_t K, int n_slab)
{
    return (int64_t)((n + KL_ROWS - 1) / KL_ROWS) * ((n_slab + 1) / 2) * ((K + 15) / 16);
}

/** slabs [n_slab][K][KL_SLAB] <- columns first_slab * KL_SLAB ... of `state`; columns past V are 0.
 *  state NULL: zeros. */
void kl__slabs_load(float *slabs, const float *state, kl_layout layout, int64_t K, int64_t V, int first_slab,
                    int n_slab);
/** The way back; columns past V are dropped. */
void kl__slabs_store(float *state, const float *slabs, kl_layout layout, int64_t K, int64_t V, int first_slab,
                     int n_slab);

#endif
