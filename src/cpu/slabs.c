#include "cpu/slabs.h"

#include <string.h>

/* Columns of slab `s` that exist. */
static int64_t columns_of(int64_t V, int s)
{
    int64_t rest = V - (int64_t)s * KL_SLAB;
    return rest < KL_SLAB ? rest : KL_SLAB;
}

void kl__slabs_load(float *slabs, const float *state, kl_layout layout, int64_t K, int64_t V, int first_slab,
                    int n_slab)
{
    if (!state || V % KL_SLAB)
        memset(slabs, 0, sizeof *slabs * (size_t)n_slab * (size_t)K * KL_SLAB);
    for (int s = 0; state && s < n_slab; s++) {
        int64_t n = columns_of(V, first_slab + s), first = (int64_t)(first_slab + s) * KL_SLAB;
        float *slab = slabs + (int64_t)s * K * KL_SLAB;
        if (layout == KL_LAYOUT_KV)
            for (int64_t i = 0; i < K; i++)
                memcpy(slab + i * KL_SLAB, state + i * V + first, sizeof *slab * (size_t)n);
        else
            for (int64_t j = 0; j < n; j++)
                for (int64_t i = 0; i < K; i++)
                    slab[i * KL_SLAB + j] = state[(first + j) * K + i];
    }
}

void kl__slabs_store(float *state, const float *slabs, kl_layout layout, int64_t K, int64_t V, int first_slab,
                     int n_slab)
{
    for (int s = 0; s < n_slab; s++) {
        int64_t n = columns_of(V, first_slab + s), first = (int64_t)(first_slab + s) * KL_SLAB;
        const float *slab = slabs + (int64_t)s * K * KL_SLAB;
        if (layout == KL_LAYOUT_KV)
            for (int64_t i = 0; i < K; i++)
                memcpy(state + i * V + first, slab + i * KL_SLAB, sizeof *slab * (size_t)n);
        else
            for (int64_t j = 0; j < n; j++)
                for (int64_t i = 0; i < K; i++)
                    state[(first + j) * K + i] = slab[i * KL_SLAB + j];
    }
}
