#include "cpu/slabs.h"

#include <string.h>

/* Columns of slab `s` that exist. */
static int64_t columns_of(int64_t V, int s)
{
    int64_t rest = V - (int64_t)s * KL_SLAB;
    return rest < KL_SLAB ? rest : KL_SLAB;
}

/* The numbers of one row of a slab; whole rows, which nearly all are, are one line of the cache. */
static inline void copy_row(float *to, const float *from, int64_t n)
{
    if (n == KL_SLAB)
        memcpy(to, from, sizeof *to * KL_SLAB);
    else
        memcpy(to, from, sizeof *to * (size_t)n);
}

/* In both directions the state is gone through in the order of memory: it may come from afar, slabs are near. */
void kl__slabs_load(float *slabs, const float *state, kl_layout layout, int64_t K, int64_t V, int first_slab,
                    int n_slab)
{
    const float *from = state ? state + (int64_t)first_slab * KL_SLAB : NULL;
    if (!state || V % KL_SLAB)
        memset(slabs, 0, sizeof *slabs * (size_t)n_slab * (size_t)K * KL_SLAB);
    for (int64_t i = 0; state && layout == KL_LAYOUT_KV && i < K; i++)
        for (int s = 0; s < n_slab; s++)
            copy_row(slabs + (s * K + i) * KL_SLAB, from + i * V + s * KL_SLAB, columns_of(V, first_slab + s));
    for (int s = 0; state && layout == KL_LAYOUT_VK && s < n_slab; s++)
        for (int64_t j = 0; j < columns_of(V, first_slab + s); j++)
            for (int64_t i = 0; i < K; i++)
                slabs[(s * K + i) * KL_SLAB + j] = state[((int64_t)(first_slab + s) * KL_SLAB + j) * K + i];
}

void kl__slabs_store(float *state, const float *slabs, kl_layout layout, int64_t K, int64_t V, int first_slab,
                     int n_slab)
{
    float *to = state + (int64_t)first_slab * KL_SLAB;
    for (int64_t i = 0; layout == KL_LAYOUT_KV && i < K; i++)
        for (int s = 0; s < n_slab; s++)
            copy_row(to + i * V + s * KL_SLAB, slabs + (s * K + i) * KL_SLAB, columns_of(V, first_slab + s));
    for (int s = 0; layout == KL_LAYOUT_VK && s < n_slab; s++)
        for (int64_t j = 0; j < columns_of(V, first_slab + s); j++)
            for (int64_t i = 0; i < K; i++)
                state[((int64_t)(first_slab + s) * KL_SLAB + j) * K + i] = slabs[(s * K + i) * KL_SLAB + j];
}
