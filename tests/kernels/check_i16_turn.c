#include "kcheck.h"

struct args {
    float *to, *from;
    int64_t n;
};

static void call(kc_any_fn *fn, const void *args)
{
    const struct args *a = args;
    ((kl__i16_turn_fn *)fn)(a->to, a->from, a->n);
}

void check_i16_turn(kc *c)
{
    for (int64_t n = 0; n <= KL__I16_BLOCK; n += 16) {
        struct args a = {.n = n};
        a.to = kc_out(c, "to", n * KL__I16_BLOCK, 0);
        a.from = kc_in(c, "from", KL__I16_BLOCK * KL__I16_BLOCK, KC_NORMAL);
        kc_run_timed(c, call, &a, "n %lld", (long long)n);
    }
}
