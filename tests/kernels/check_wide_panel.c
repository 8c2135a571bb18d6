#include "kcheck.h"

struct args {
    float *to;
    const uint16_t *from;
    int64_t n_k;
};

/* All columns, as many at a time as the level's tiles have. */
static void call(kc_any_fn *fn, const void *args)
{
    const struct args *a = args;
    kl__wide_panel_fn *panel = (kl__wide_panel_fn *)fn;
    int columns = panel == kl__wide_panel_ref ? 8 : KL__PANEL;
#if defined(__x86_64__)
    columns = panel == kl__wide_panel_avx2 ? 16 : columns;
#endif
    for (int column = 0; column < KL__PANEL; column += columns) {
        float part[64 * KL__PANEL];
        panel(part, a->from, column, a->n_k);
        for (int64_t k = 0; k < a->n_k; k++)
            for (int j = 0; j < columns; j++)
                a->to[k * KL__PANEL + column + j] = part[k * columns + j];
    }
}

void check_wide_panel(kc *c)
{
    for (int64_t n_k = 0; n_k <= 64; n_k += n_k < 5 ? 1 : 7) {
        struct args a = {.n_k = n_k};
        kc_align(c, 64);
        a.from = kc_in_bf16(c, "from", (n_k + 1) / 2 * 2 * KL__PANEL, KC_NORMAL);
        a.to = kc_out(c, "to", n_k * KL__PANEL, 0);
        kc_run(c, call, &a, "n_k %lld", (long long)n_k);
    }
}
