#include "kcheck.h"

#include <math.h>
#include <stddef.h>

struct args {
    float *dx, *dw, *dz;
    const float *dy, *x, *w, *z;
    int64_t n;
    float eps;
    kl_activation act;
};

static void call(kc_any_fn *fn, const void *args)
{
    const struct args *a = args;
    ((kl__rmsnorm_row_bwd_fn *)fn)(a->dx, a->dw, a->dz, a->dy, a->x, a->w, a->z, a->n, a->eps, a->act);
}

/* In a short row nearly all of du lies along x and is taken away: what is left is judged against r |du|. */
static double magnitude(const struct args *a)
{
    double square = 0, du2 = 0;
    for (int64_t i = 0; i < a->n; i++) {
        double z = a->z ? a->z[i] : 0, sigmoid = 1 / (1 + exp(-z));
        double gate = !a->z || a->act == KL_ACT_SIGMOID ? 1 : a->act == KL_ACT_SILU ? z * sigmoid : z;
        double du = a->dy[i] * (a->w ? a->w[i] : 1) * gate;
        square += (double)a->x[i] * a->x[i];
        du2 += du * du;
    }
    return sqrt(du2 / ((double)a->n * (square / (double)a->n + (double)a->eps)));
}

static void check_row(kc *c, int64_t n, enum kc_fill fill, int wanted, bool gated, kl_activation act)
{
    struct args a = {.n = n, .eps = 1e-5f, .act = act};
    a.w = wanted & 1 ? kc_in(c, "w", n, KC_NORMAL) : NULL;
    a.z = gated ? kc_in(c, "z", n, fill) : NULL;
    a.x = kc_in(c, "x", n, fill);
    a.dw = wanted & 2 ? kc_inout(c, "dw", n, KC_NORMAL, 2e-5) : NULL;
    a.dz = gated && wanted & 4 ? kc_out(c, "dz", n, 2e-5) : NULL;
    if (wanted & 8)
        a.dy = a.dx = kc_inout(c, "dy", n, KC_NORMAL, 2e-5);
    else
        a.dy = kc_in(c, "dy", n, KC_NORMAL);
    if (a.dx && n > 0)
        kc_cancels(c, magnitude(&a));
    kc_run(c, call, &a, "n %lld, %s x and z%s%s%s%s, act %d", (long long)n, kc_fill_name(fill), gated ? ", z" : "",
           a.w ? ", w" : "", a.dw ? ", dw" : "", a.dz ? ", dz" : "", (int)act);
}

void check_rmsnorm_row_bwd(kc *c)
{
    for (int i = 0; kc_length(i) >= 0; i++)
        for (int fill = 0; fill < KC_N_FILL; fill++)
            for (int wanted = 0; wanted < 16; wanted++) {
                check_row(c, kc_length(i), (enum kc_fill)fill, wanted, false, KL_ACT_NONE);
                check_row(c, kc_length(i), (enum kc_fill)fill, wanted, true, (kl_activation)(wanted % 3));
            }
    struct args a = {.n = 128, .eps = 1e-5f, .act = KL_ACT_SIGMOID};
    a.w = kc_in(c, "w", a.n, KC_NORMAL);
    a.z = kc_in(c, "z", a.n, KC_NORMAL);
    a.x = kc_in(c, "x", a.n, KC_NORMAL);
    a.dy = kc_in(c, "dy", a.n, KC_NORMAL);
    a.dw = kc_inout(c, "dw", a.n, KC_NORMAL, 2e-5);
    a.dz = kc_out(c, "dz", a.n, 2e-5);
    a.dx = kc_out(c, "dx", a.n, 2e-5);
    kc_run_timed(c, call, &a, "n %lld, sigmoid gate", (long long)a.n);
}
