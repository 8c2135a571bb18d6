#include "kcheck.h"

#include <math.h>

struct args {
    float *dx;
    const float *dy, *x;
    int64_t n;
    float eps;
};

static void call(kc_any_fn *fn, const void *args)
{
    const struct args *a = args;
    ((kl__l2norm_row_bwd_fn *)fn)(a->dx, a->dy, a->x, a->n, a->eps);
}

/* In a short row nearly all of dy lies along x and is taken away: what is left is judged against r |dy|. */
static double magnitude(const float *x, int64_t n, float eps)
{
    double square = (double)eps;
    for (int64_t i = 0; i < n; i++)
        square += (double)x[i] * x[i];
    return 1 / sqrt(square);
}

void check_l2norm_row_bwd(kc *c)
{
    for (int i = 0; kc_length(i) >= 0; i++)
        for (int fill = 0; fill < KC_N_FILL; fill++) {
            struct args a = {.n = kc_length(i), .eps = 1e-6f};
            a.x = kc_in(c, "x", a.n, (enum kc_fill)fill);
            a.dy = kc_in(c, "dy", a.n, KC_NORMAL);
            a.dx = kc_out(c, "dx", a.n, 1e-5);
            kc_cancels(c, magnitude(a.x, a.n, a.eps));
            kc_run(c, call, &a, "n %lld, %s x", (long long)a.n, kc_fill_name((enum kc_fill)fill));
            a.x = kc_in(c, "x", a.n, (enum kc_fill)fill);
            a.dy = a.dx = kc_inout(c, "dy", a.n, KC_NORMAL, 1e-5);
            kc_cancels(c, magnitude(a.x, a.n, a.eps));
            kc_run(c, call, &a, "n %lld, %s x, in place", (long long)a.n, kc_fill_name((enum kc_fill)fill));
        }
    struct args a = {.n = 128, .eps = 1e-6f};
    a.x = kc_in(c, "x", a.n, KC_NORMAL);
    a.dy = kc_in(c, "dy", a.n, KC_NORMAL);
    a.dx = kc_out(c, "dx", a.n, 1e-5);
    kc_run_timed(c, call, &a, "n %lld", (long long)a.n);
}
