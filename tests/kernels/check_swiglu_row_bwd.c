#include "kcheck.h"

#include <stddef.h>

struct args {
    float *d_gate, *d_up;
    const float *dy, *gate, *up;
    int64_t n;
};

static void call(kc_any_fn *fn, const void *args)
{
    const struct args *a = args;
    ((kl__swiglu_row_bwd_fn *)fn)(a->d_gate, a->d_up, a->dy, a->gate, a->up, a->n);
}

static void check_row(kc *c, int64_t n, enum kc_fill fill)
{
    struct args a = {.n = n};
    a.gate = kc_in(c, "gate", n, fill);
    a.up = kc_in(c, "up", n, KC_NORMAL);
    a.d_gate = kc_out(c, "d_gate", n, 2e-6);
    a.d_up = kc_out(c, "d_up", n, 2e-6);
    a.dy = kc_in(c, "dy", n, KC_NORMAL);
    kc_run(c, call, &a, "n %lld, %s gate", (long long)n, kc_fill_name(fill));
    a.gate = kc_in(c, "gate", n, fill);
    a.up = kc_in(c, "up", n, KC_NORMAL);
    a.d_gate = NULL;
    a.dy = a.d_up = kc_inout(c, "dy", n, KC_NORMAL, 2e-6);
    kc_run(c, call, &a, "n %lld, %s gate, d_up in place", (long long)n, kc_fill_name(fill));
    a.gate = kc_in(c, "gate", n, fill);
    a.up = kc_in(c, "up", n, KC_NORMAL);
    a.d_up = NULL;
    a.dy = a.d_gate = kc_inout(c, "dy", n, KC_NORMAL, 2e-6);
    kc_run(c, call, &a, "n %lld, %s gate, d_gate in place", (long long)n, kc_fill_name(fill));
}

void check_swiglu_row_bwd(kc *c)
{
    for (int i = 0; kc_length(i) >= 0; i++)
        for (int fill = 0; fill <= KC_NAN; fill++)
            check_row(c, kc_length(i), (enum kc_fill)fill);
    struct args a = {.n = 1024};
    a.gate = kc_in(c, "gate", a.n, KC_NORMAL);
    a.up = kc_in(c, "up", a.n, KC_NORMAL);
    a.dy = kc_in(c, "dy", a.n, KC_NORMAL);
    a.d_gate = kc_out(c, "d_gate", a.n, 2e-6);
    a.d_up = kc_out(c, "d_up", a.n, 2e-6);
    kc_run_timed(c, call, &a, "n %lld", (long long)a.n);
}
