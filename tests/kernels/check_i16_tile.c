#include "kcheck.h"

#include <stdbool.h>

struct args {
    float *sum, *keep, *x_scale, *p_scale;
    int16_t *x, *p;
    int64_t sum_pitch, x_pitch, n_pair;
    int m, n;
};

static void call(kc_any_fn *fn, const void *args)
{
    const struct args *a = args;
    ((kl__i16_tile_fn *)fn)(a->sum, a->sum_pitch, a->keep, a->x, a->x_pitch, a->x_scale, a->p, a->p_scale, a->n_pair,
                            a->m, a->n);
}

/* Integers as large as a sum of 2^31 lets them be. */
static void refill(kc *c, int16_t *x, int64_t n, int64_t n_pair)
{
    int64_t most = 32767;
    while (2 * n_pair * most * most >= (int64_t)1 << 31)
        most = most * 9 / 10;
    for (int64_t i = 0; i < n; i++)
        x[i] = (int16_t)(kc_below(c, 2 * most + 1) - most);
}

static struct args operands(kc *c, int m, int n, int64_t n_pair, bool keep, bool scaled)
{
    struct args a = {.m = m, .n = n, .n_pair = n_pair, .sum_pitch = n + 3, .x_pitch = 2 * n_pair + 2};
    int64_t n_x = (m - 1) * a.x_pitch + 2 * n_pair, n_sum = (m - 1) * a.sum_pitch + n;
    kc_align(c, 4);
    a.x = kc_in_bytes(c, "x", 2 * n_x);
    refill(c, a.x, n_x, n_pair);
    a.x_scale = kc_in(c, "x_scale", m, KC_UNIT);
    a.keep = keep ? kc_in(c, "keep", m, KC_UNIT) : NULL;
    a.p_scale = scaled ? kc_in(c, "p_scale", n, KC_UNIT) : NULL;
    kc_align(c, 64);
    a.p = kc_in_bytes(c, "p", 128 * n_pair);
    refill(c, a.p, 64 * n_pair, n_pair);
    kc_align(c, 4);
    a.sum = kc_inout(c, "sum", n_sum, KC_NORMAL, 0);
    return a;
}

void check_i16_tile(kc *c)
{
    static const int64_t lengths[] = {0, 1, 2, 7, 32, 288};
    for (int m = 1; m <= KL__I16_ROWS; m++)
        for (int i = 0; i < 6; i++)
            for (int form = 0; form < 4; form++) {
                int n = 32 - (int)kc_below(c, form % 2 ? 32 : 1);
                struct args a = operands(c, m, n, lengths[i], form & 1, form & 2);
                kc_run(c, call, &a, "m %d, n %d, %lld pairs%s%s", m, n, (long long)a.n_pair, form & 1 ? ", keep" : "",
                       form & 2 ? ", scaled" : "");
            }
    for (int m = 1; m <= KL__I16_ROWS; m = m == 1 ? KL__I16_ROWS : m + 1) {
        struct args a = operands(c, m, 32, 288, false, true);
        kc_run_timed(c, call, &a, "m %d, 288 pairs", m);
        struct args b = operands(c, m, 32, 32, true, false);
        kc_run_timed(c, call, &b, "m %d, 32 pairs, keep", m);
    }
}
