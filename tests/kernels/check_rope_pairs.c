#include "kcheck.h"

struct args {
    float *v;
    const float *cosine, *sine;
    int64_t n;
};

static void call(kc_any_fn *fn, const void *args)
{
    const struct args *a = args;
    ((kl__rope_pairs_fn *)fn)(a->v, a->cosine, a->sine, a->n);
}

static struct args operands(kc *c, int64_t n, enum kc_fill fill)
{
    struct args a = {.n = n};
    a.v = kc_inout(c, "v", 2 * n, fill, 1e-6);
    a.cosine = kc_in(c, "cosine", n, KC_NORMAL);
    a.sine = kc_in(c, "sine", n, KC_NORMAL);
    return a;
}

void check_rope_pairs(kc *c)
{
    for (int i = 0; kc_length(i) >= 0; i++)
        for (int fill = 0; fill <= KC_NAN; fill++) {
            struct args a = operands(c, kc_length(i), (enum kc_fill)fill);
            kc_run(c, call, &a, "n %lld, %s v", (long long)a.n, kc_fill_name((enum kc_fill)fill));
        }
    struct args a = operands(c, 64, KC_NORMAL);
    kc_run_timed(c, call, &a, "n %lld", (long long)a.n);
}
