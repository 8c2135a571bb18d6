/* A variant takes columns of its own width, and rows of any pitch; plain C gets the same product as tiles of its size.
 * The bits are those of gemm_tile of the same level (unit/gemm: they do not depend on the layout). */
#include "gemm_tiles.h"
#include "kcheck.h"

struct args {
    float *sum;         /* [m][columns] */
    const float *a, *b; /* [m][n_k] at a_pitch, [n_k][columns] */
    int64_t a_pitch, n_k;
    int m, columns;
    bool add, ahead;
};

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
    ptrdiff_t step = (ptrdiff_t)sizeof(float);
    struct kl__ahead ahead = {
        .stream[0] = {(const char *)a->a, step, step, (int)a->n_k}, .n_stream = a->n_k > 0, .rows_a_call = 3};
    if (fn == (kc_any_fn *)kl__gemm_rows_ref)
        call_in_small_tiles(a);
    else
        ((kl__gemm_rows_fn *)fn)(a->sum, a->a, a->a_pitch, a->b, a->n_k, a->m, a->add, a->ahead ? &ahead : NULL);
}

static struct args operands(kc *c, int m, int columns, int64_t n_k, int64_t gap, bool add, enum kc_fill fill)
{
    struct args a = {.m = m, .columns = columns, .n_k = n_k, .add = add, .ahead = m % 2, .a_pitch = n_k + gap};
    a.a = kc_in(c, "a", (m - 1) * a.a_pitch + n_k, fill);
    kc_align(c, 64);
    a.b = kc_in(c, "b", n_k * columns, KC_NORMAL);
    a.sum = add ? kc_inout(c, "sum", m * columns, fill, 1e-5) : kc_out(c, "sum", m * columns, 1e-5);
    return a;
}

static void check_rows(kc *c, int m, int columns)
{
    static const int64_t lengths[] = {0, 1, 2, 5, 64};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        for (int add = 0; add <= 1; add++) {
            struct args a = operands(c, m, columns, lengths[i], 5 * add, add, KC_NORMAL);
            kc_run(c, call, &a, "m %d, n_k %lld%s", m, (long long)lengths[i], add ? ", add" : "");
        }
}

void check_gemm_rows(kc *c)
{
    struct kl__kernels k;
    kl__kernels_fill(&k, kc_needs(c));
    struct kl__gemm_sizes s = k.gemm_sizes();
    for (int m = 1; m <= s.rows; m++)
        check_rows(c, m, s.columns);
    for (int fill = 0; fill <= KC_NAN; fill++) {
        struct args a = operands(c, s.rows, s.columns, KL__GEMM_K, 515, true, (enum kc_fill)fill);
        kc_run(c, call, &a, "full tile, n_k %d, %s a", KL__GEMM_K, kc_fill_name((enum kc_fill)fill));
    }
    struct args a = operands(c, s.rows, s.columns, KL__GEMM_K, 0, false, KC_NORMAL);
    kc_run_timed(c, call, &a, "%d x %d x %d", s.rows, s.columns, KL__GEMM_K);
}
