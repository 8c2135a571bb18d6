#include "kcheck.h"

#include <stddef.h>

struct args {
    float *y;
    const float *x, *w, *z;
    int64_t n;
    float eps;
    kl_activation act;
};

static void call(kc_any_fn *fn, const void *args)
{
    const struct args *a = args;
    ((kl__rmsnorm_row_fn *)fn)(a->y, a->x, a->w, a->z, a->n, a->eps, a->act);
}

static void check_row(kc *c, int64_t n, enum kc_fill fill, bool weighted, bool gated, kl_activation act)
{
    struct args a = {.n = n, .eps = 1e-5f, .act = act};
    a.w = weighted ? kc_in(c, "w", n, KC_NORMAL) : NULL;
    a.z = gated ? kc_in(c, "z", n, fill) : NULL;
    if (act == KL_ACT_NONE && weighted) {
        a.x = a.y = kc_inout(c, "x", n, fill, 2e-5);
    } else {
        a.x = kc_in(c, "x", n, fill);
        a.y = kc_out(c, "y", n, 2e-5);
    }
    kc_run(c, call, &a, "n %lld, %s x and z%s%s, act %d", (long long)n, kc_fill_name(fill), weighted ? ", w" : "",
           gated ? ", z" : "", (int)act);
}

static void time_row(kc *c, int64_t n, bool gated, kl_activation act)
{
    struct args a = {.n = n, .eps = 1e-5f, .act = act};
    a.w = kc_in(c, "w", n, KC_NORMAL);
    a.z = gated ? kc_in(c, "z", n, KC_NORMAL) : NULL;
    a.x = kc_in(c, "x", n, KC_NORMAL);
    a.y = kc_out(c, "y", n, 2e-5);
    kc_run_timed(c, call, &a, "n %lld, act %d", (long long)n, (int)act);
}

void check_rmsnorm_row(kc *c)
{
    for (int i = 0; kc_length(i) >= 0; i++)
        for (int fill = 0; fill <= KC_NAN; fill++)
            for (int weighted = 0; weighted <= 1; weighted++) {
                check_row(c, kc_length(i), (enum kc_fill)fill, weighted, false, KL_ACT_NONE);
                for (int act = KL_ACT_NONE; act <= KL_ACT_SILU; act++)
                    check_row(c, kc_length(i), (enum kc_fill)fill, weighted, true, (kl_activation)act);
            }
    time_row(c, 2304, false, KL_ACT_NONE);
    time_row(c, 128, true, KL_ACT_SIGMOID);
}
