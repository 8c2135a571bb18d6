#include "kcheck.h"

struct args {
    float *sum;
    const uint16_t *x[KL__BF16_ROWS], *p;
    int64_t n_pair;
    int m;
    bool add;
};

static void call(kc_any_fn *fn, const void *args)
{
    const struct args *a = args;
    ((kl__bf16_tile_fn *)fn)(a->sum, a->x, a->p, a->n_pair, a->m, a->add);
}

static struct args operands(kc *c, int m, int64_t n_pair, bool add, enum kc_fill fill)
{
    struct args a = {.m = m, .n_pair = n_pair, .add = add};
    for (int i = 0; i < m; i++)
        a.x[i] = kc_in_bf16(c, "x", 2 * n_pair, fill);
    kc_align(c, 64);
    a.p = kc_in_bf16(c, "p", 2 * n_pair * KL__PANEL, KC_NORMAL);
    a.sum = add ? kc_inout(c, "sum", m * KL__PANEL, fill, 1e-5) : kc_out(c, "sum", m * KL__PANEL, 1e-5);
    return a;
}

void check_bf16_tile(kc *c)
{
    static const int64_t lengths[] = {0, 1, 2, 5, 64};
    for (int m = 1; m <= KL__BF16_ROWS; m++)
        for (int i = 0; i < 5; i++)
            for (int add = 0; add <= 1; add++) {
                struct args a = operands(c, m, lengths[i], add, KC_NORMAL);
                kc_run(c, call, &a, "m %d, %lld pairs%s", m, (long long)a.n_pair, add ? ", add" : "");
            }
    for (int fill = 0; fill <= KC_NAN; fill++) {
        struct args a = operands(c, KL__BF16_ROWS, 128, true, (enum kc_fill)fill);
        kc_run(c, call, &a, "m %d, 128 pairs, %s x", a.m, kc_fill_name((enum kc_fill)fill));
    }
    for (int m = 1; m <= KL__BF16_ROWS; m = m == 1 ? KL__BF16_ROWS : m + 1) {
        struct args a = operands(c, m, 128, true, KC_NORMAL);
        kc_run_timed(c, call, &a, "m %d, 128 pairs", m);
    }
}
