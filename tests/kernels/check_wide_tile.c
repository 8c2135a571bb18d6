#include "kcheck.h"

struct args {
    float *sum;
    const float *a;
    const uint16_t *from;
    int64_t n_k, pitch;
    int m;
};

/* All columns, as many at a time as the level's tiles have. */
static void call(kc_any_fn *fn, const void *args)
{
    const struct args *a = args;
    kl__wide_tile_fn *tile = (kl__wide_tile_fn *)fn;
    int columns = tile == kl__wide_tile_ref ? 8 : KL__PANEL;
#if defined(__x86_64__)
    columns = tile == kl__wide_tile_avx2 ? 16 : columns;
#endif
    for (int column = 0; column < KL__PANEL; column += columns) {
        float part[KL__WIDE_ROWS * KL__PANEL];
        tile(part, a->a, a->pitch, a->from, column, a->n_k, a->m);
        for (int i = 0; i < a->m; i++)
            for (int j = 0; j < columns; j++)
                a->sum[i * KL__PANEL + column + j] = part[i * columns + j];
    }
}

static struct args operands(kc *c, int m, int64_t n_k)
{
    struct args a = {.m = m, .n_k = n_k, .pitch = n_k + 3};
    a.a = kc_in(c, "a", (m - 1) * a.pitch + n_k, KC_NORMAL);
    kc_align(c, 64);
    a.from = kc_in_bf16(c, "from", (n_k + 1) / 2 * 2 * KL__PANEL, KC_NORMAL);
    a.sum = kc_out(c, "sum", m * KL__PANEL, 1e-5);
    return a;
}

void check_wide_tile(kc *c)
{
    static const int64_t lengths[] = {0, 1, 2, 31, KL__GEMM_K - 1, KL__GEMM_K, KL__GEMM_K + 1, 2 * KL__GEMM_K + 5};
    for (int m = 1; m <= KL__WIDE_ROWS; m++) {
        for (int i = 0; i < 8; i++) {
            struct args a = operands(c, m, lengths[i]);
            kc_run(c, call, &a, "m %d, n_k %lld", m, (long long)lengths[i]);
        }
        struct args a = operands(c, m, 2304);
        kc_run_timed(c, call, &a, "m %d, n_k 2304", m);
    }
}
