/* A variant takes columns of its own width, and rows of any pitch; plain C gets the same product as tiles of its size.
 * The bits are those of gemm_tile of the same level (unit/gemm: they do not depend on the layout). */
#include "gemm_tiles.h"

static void call_in_small_tiles(const struct args *a)
{
    struct kl__gemm_sizes s = kl__gemm_sizes_ref();
    float columns[KL__GEMM_K * MAX_TILE], sum[MAX_TILE * MAX_TILE];
    for (int i = 0; i < a->m; i += s.rows)
        for (int j = 0; j < a->columns; j += s.columns) {
            int m = a->m - i < s.rows ? a->m - i : s.rows;
            narrow(columns, s.columns, a->b, a->columns, j, a->n_k);
            narrow(sum, s.columns, a->sum, a->columns, i * a->columns + j, m);
            kl__gemm_rows_ref(sum, a->a + i * a->a_pitch, a->a_pitch, columns, a->n_k, m, a->add, NULL);
            widen(a->sum, a->columns, i * a->columns + j, sum, s.columns, m);
        }
}

static void call(kc_any_fn *fn, const void *args)
{
    const struct args *a = args;
    struct kl__ahead ahead = ahead_of(a, (int64_t)sizeof(float));
    if (fn == (kc_any_fn *)kl__gemm_rows_ref)
        call_in_small_tiles(a);
    else
        ((kl__gemm_rows_fn *)fn)(a->sum, a->a, a->a_pitch, a->b, a->n_k, a->m, a->add, a->ahead ? &ahead : NULL);
}

void check_gemm_rows(kc *c)
{
    check_tiles(c, call, 5);
}
