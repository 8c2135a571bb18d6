#include "kcheck.h"

struct args {
    float *y;
    const float *x;
    int64_t n;
};

static void call(kc_any_fn *fn, const void *args)
{
    const struct args *a = args;
    ((kl__add_row_fn *)fn)(a->y, a->x, a->n);
}

void check_add_row(kc *c)
{
    for (int i = 0; kc_length(i) >= 0; i++)
        for (int fill = 0; fill <= KC_NAN; fill++) {
            struct args a = {.n = kc_length(i)};
            a.x = kc_in(c, "x", a.n, (enum kc_fill)fill);
            a.y = kc_inout(c, "y", a.n, KC_NORMAL, 0);
            kc_run(c, call, &a, "n %lld, %s x", (long long)a.n, kc_fill_name((enum kc_fill)fill));
        }
    struct args a = {.n = 256};
    a.x = kc_in(c, "x", a.n, KC_NORMAL);
    a.y = kc_inout(c, "y", a.n, KC_NORMAL, 0);
    kc_run_timed(c, call, &a, "n %lld", (long long)a.n);
}
