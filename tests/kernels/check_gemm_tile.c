/* A variant takes panels of its own width; plain C gets the same product as tiles of its size. */
#include "kcheck.h"

enum { MAX_TILE = 64 };

struct args {
    float *c;
    int64_t c_pitch;
    const float *a, *b; /* [n_k][m], [n_k][columns] */
    int64_t n_k;
    int m, n, columns;
    bool add;
};

/* Columns from[k][first .. first + n - 1] as a panel of `width` columns, zeros in what is left. */
static void narrow(float *to, int width, const float *from, int pitch, int first, int n, int64_t n_k)
{
    for (int64_t k = 0; k < n_k; k++)
        for (int i = 0; i < width; i++)
            to[k * width + i] = i < n ? from[k * pitch + first + i] : 0;
}

static int at_most(int limit, int n)
{
    return n < limit ? n : limit;
}

static void call_in_small_tiles(const struct args *a)
{
    struct kl__gemm_sizes s = kl__gemm_sizes_ref();
    float rows[KL__GEMM_K * MAX_TILE], columns[KL__GEMM_K * MAX_TILE];
    for (int i = 0; i < a->m; i += s.rows)
        for (int j = 0; j < a->n; j += s.columns) {
            int m = at_most(s.rows, a->m - i), n = at_most(s.columns, a->n - j);
            narrow(rows, m, a->a, a->m, i, m, a->n_k);
            narrow(columns, s.columns, a->b, a->columns, j, n, a->n_k);
            kl__gemm_tile_ref(a->c + i * a->c_pitch + j, a->c_pitch, rows, columns, a->n_k, m, n, a->add);
        }
}

static void call(kc_any_fn *fn, const void *args)
{
    const struct args *a = args;
    if (fn == (kc_any_fn *)kl__gemm_tile_ref)
        call_in_small_tiles(a);
    else
        ((kl__gemm_tile_fn *)fn)(a->c, a->c_pitch, a->a, a->b, a->n_k, a->m, a->n, a->add);
}

static struct args operands(kc *c, int m, int n, int columns, int64_t n_k, bool add, enum kc_fill fill, int64_t gap)
{
    struct args a = {.m = m, .n = n, .columns = columns, .n_k = n_k, .add = add, .c_pitch = n + gap};
    a.a = kc_in(c, "a", n_k * m, fill);
    a.b = kc_in(c, "b", n_k * columns, KC_NORMAL);
    int64_t elements = m > 0 ? (m - 1) * a.c_pitch + n : 0;
    a.c = add ? kc_inout(c, "c", elements, fill, 1e-5) : kc_out(c, "c", elements, 1e-5);
    return a;
}

static void check_tile(kc *c, int m, int n, int columns)
{
    static const int64_t lengths[] = {0, 1, 2, 5, 64};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        for (int add = 0; add <= 1; add++) {
            struct args a = operands(c, m, n, columns, lengths[i], add, KC_NORMAL, 3 * add);
            kc_run(c, call, &a, "m %d, n %d, n_k %lld%s", m, n, (long long)lengths[i], add ? ", add" : "");
        }
}

void check_gemm_tile(kc *c)
{
    struct kl__kernels k;
    kl__kernels_fill(&k, kc_needs(c));
    struct kl__gemm_sizes s = k.gemm_sizes();
    for (int m = 0; m <= s.rows; m++)
        for (int n = 0; n <= s.columns; n++)
            check_tile(c, m, n, s.columns);
    for (int fill = 0; fill <= KC_NAN; fill++) {
        struct args a = operands(c, s.rows, s.columns, s.columns, KL__GEMM_K, true, (enum kc_fill)fill, 0);
        kc_run(c, call, &a, "full tile, n_k %d, %s a", KL__GEMM_K, kc_fill_name((enum kc_fill)fill));
    }
    struct args a = operands(c, s.rows, s.columns, s.columns, KL__GEMM_K, false, KC_NORMAL, 0);
    kc_run_timed(c, call, &a, "%d x %d x %d", s.rows, s.columns, KL__GEMM_K);
}
