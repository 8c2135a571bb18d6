#include "kcheck.h"

struct args {
    float *y;
    const float *x;
    int64_t n;
    float lse, d;
};

static void call(kc_any_fn *fn, const void *args)
{
    const struct args *a = args;
    ((kl__softmax_row_fn *)fn)(a->y, a->x, a->n, a->lse, a->d);
}

void check_softmax_row(kc *c)
{
    for (int i = 0; kc_length(i) >= 0; i++)
        for (int fill = 0; fill <= KC_NAN; fill++) {
            /* An lse below the largest x by more than an exponential holds makes infinities; they have to agree. */
            struct args a = {.n = kc_length(i), .lse = 2.5f, .d = -0.75f};
            a.x = kc_in(c, "x", a.n, (enum kc_fill)fill);
            a.y = kc_out(c, "y", a.n, 2e-6);
            kc_run(c, call, &a, "n %lld, %s x", (long long)a.n, kc_fill_name((enum kc_fill)fill));
            a.x = a.y = kc_inout(c, "x", a.n, (enum kc_fill)fill, 2e-6);
            kc_run(c, call, &a, "n %lld, %s x, in place", (long long)a.n, kc_fill_name((enum kc_fill)fill));
        }
    struct args a = {.n = 1024, .lse = 7, .d = 1};
    a.x = kc_in(c, "x", a.n, KC_NORMAL);
    a.y = kc_out(c, "y", a.n, 2e-6);
    kc_run_timed(c, call, &a, "n %lld", (long long)a.n);
}
