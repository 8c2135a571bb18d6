/* A variant takes panels of its own width; plain C gets the same product as tiles of its size. */
#include "gemm_tiles.h"

static void call_in_small_tiles(const struct args *a)
{
    struct kl__gemm_sizes s = kl__gemm_sizes_ref();
    float rows[KL__GEMM_K * MAX_TILE], columns[KL__GEMM_K * MAX_TILE], sum[MAX_TILE * MAX_TILE];
    for (int i = 0; i < a->m; i += s.rows)
        for (int j = 0; j < a->columns; j += s.columns) {
            int m = a->m - i < s.rows ? a->m - i : s.rows;
            narrow(rows, m, a->a, a->m, i, a->n_k);
            narrow(columns, s.columns, a->b, a->columns, j, a->n_k);
            narrow(sum, s.columns, a->sum, a->columns, i * a->columns + j, m);
            kl__gemm_tile_ref(sum, rows, columns, a->n_k, m, a->add, NULL);
            widen(a->sum, a->columns, i * a->columns + j, sum, s.columns, m);
        }
}

static void call(kc_any_fn *fn, const void *args)
{
    const struct args *a = args;
    struct kl__ahead ahead = ahead_of(a, (int64_t)sizeof(float) * a->m);
    if (fn == (kc_any_fn *)kl__gemm_tile_ref)
        call_in_small_tiles(a);
    else
        ((kl__gemm_tile_fn *)fn)(a->sum, a->a, a->b, a->n_k, a->m, a->add, a->ahead ? &ahead : NULL);
}

void check_gemm_tile(kc *c)
{
    check_tiles(c, call, 0);
}
