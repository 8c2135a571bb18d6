#include "kcheck.h"

#include <math.h>

struct args {
    float *max, *sum;
    const float *x;
    int64_t n;
};

static void call(kc_any_fn *fn, const void *args)
{
    const struct args *a = args;
    ((kl__lse_row_fn *)fn)(a->max, a->sum, a->x, a->n);
}

/* What a row has gathered so far: nothing, or a maximum below, amidst or above the tile's. */
static const struct {
    float max, sum;
} before[] = {{-INFINITY, 0}, {-3, 2.5f}, {0.5f, 1}, {40, 1.25f}, {INFINITY, INFINITY}};
enum { N_BEFORE = sizeof before / sizeof *before };

static struct args operands(kc *c, int64_t n, enum kc_fill fill, int b)
{
    struct args a = {.n = n};
    a.x = kc_in(c, "x", n, fill);
    a.max = kc_inout(c, "max", 1, KC_ZERO, 1e-9);
    a.sum = kc_inout(c, "sum", 1, KC_ZERO, 2e-5);
    *a.max = before[b].max;
    *a.sum = before[b].sum;
    return a;
}

void check_lse_row(kc *c)
{
    for (int i = 0; kc_length(i) >= 0; i++)
        for (int b = 0; b < N_BEFORE; b++) {
            for (int fill = 0; fill <= KC_NAN; fill++) {
                struct args a = operands(c, kc_length(i), (enum kc_fill)fill, b);
                kc_run(c, call, &a, "n %lld, %s x, max %g before", (long long)a.n, kc_fill_name((enum kc_fill)fill),
                       (double)before[b].max);
            }
            struct args a = operands(c, kc_length(i), KC_NORMAL, b);
            for (int64_t j = 0; j < a.n; j++)
                ((float *)a.x)[j] = -INFINITY;
            kc_run(c, call, &a, "n %lld, -inf x, max %g before", (long long)a.n, (double)before[b].max);
        }
    struct args a = operands(c, 2048, KC_NORMAL, 1);
    kc_run_timed(c, call, &a, "n %lld", (long long)a.n);
}
