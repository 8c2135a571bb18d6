#include "kcheck.h"

struct args {
    float *y;
    const float *gate, *up;
    int64_t n;
};

static void call(kc_any_fn *fn, const void *args)
{
    const struct args *a = args;
    ((kl__swiglu_row_fn *)fn)(a->y, a->gate, a->up, a->n);
}

void check_swiglu_row(kc *c)
{
    for (int i = 0; kc_length(i) >= 0; i++)
        for (int fill = 0; fill <= KC_NAN; fill++) {
            struct args a = {.n = kc_length(i)};
            a.gate = kc_in(c, "gate", a.n, (enum kc_fill)fill);
            a.up = kc_in(c, "up", a.n, KC_NORMAL);
            a.y = kc_out(c, "y", a.n, 2e-6);
            kc_run(c, call, &a, "n %lld, %s gate", (long long)a.n, kc_fill_name((enum kc_fill)fill));
            a.gate = kc_in(c, "gate", a.n, KC_NORMAL);
            a.up = a.y = kc_inout(c, "up", a.n, (enum kc_fill)fill, 2e-6);
            kc_run(c, call, &a, "n %lld, %s up, in place", (long long)a.n, kc_fill_name((enum kc_fill)fill));
        }
    struct args a = {.n = 1024};
    a.gate = kc_in(c, "gate", a.n, KC_NORMAL);
    a.up = kc_in(c, "up", a.n, KC_NORMAL);
    a.y = kc_out(c, "y", a.n, 2e-6);
    kc_run_timed(c, call, &a, "n %lld", (long long)a.n);
}
