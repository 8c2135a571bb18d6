#include "kcheck.h"

#include <math.h>

struct args {
    float *s, *d;
    const float *lse, *delta;
    const int32_t *to;
    float scale;
    int64_t m;
};

static void call(kc_any_fn *fn, const void *args)
{
    const struct args *x = args;
    ((kl__attention_softmax_bwd_fn *)fn)(x->s, x->d, x->lse, x->delta, x->to, x->scale, x->m);
}

/* lse as a forward leaves it, at least the largest score; -infinity in one row of five. */
static struct args operands(kc *c, int64_t m, enum kc_fill fill, float scale)
{
    struct args x = {.m = m, .scale = scale};
    x.s = kc_inout(c, "s", m * KL__ATTENTION_BLOCK, fill, 1e-5);
    x.d = kc_inout(c, "d", m * KL__ATTENTION_BLOCK, KC_NORMAL, 1e-5);
    float *lse = kc_in(c, "lse", m, KC_UNIT);
    x.delta = kc_in(c, "delta", m, KC_NORMAL);
    int32_t *to = kc_in_i32(c, "to", m);
    for (int64_t i = 0; i < m; i++) {
        to[i] = i % 2 ? KL__ATTENTION_BLOCK : (int32_t)kc_below(c, KL__ATTENTION_BLOCK + 1);
        float largest = -INFINITY;
        for (int j = 0; j < KL__ATTENTION_BLOCK; j++)
            largest = fmaxf(largest, scale * x.s[i * KL__ATTENTION_BLOCK + j]);
        lse[i] = i % 5 == 4 ? -INFINITY : largest + lse[i];
    }
    x.lse = lse;
    x.to = to;
    return x;
}

void check_attention_softmax_bwd(kc *c)
{
    static const float scales[] = {1, 0.0721687824f};
    for (int64_t m = 0; m <= 24; m++)
        for (int fill = 0; fill < KC_N_FILL; fill++)
            for (int i = 0; i < 2; i++) {
                struct args x = operands(c, m, (enum kc_fill)fill, scales[i]);
                kc_run(c, call, &x, "m %lld, %s s, scale %g", (long long)m, kc_fill_name((enum kc_fill)fill),
                       (double)x.scale);
            }
    struct args x = operands(c, 64, KC_NORMAL, 0.125f);
    kc_run_timed(c, call, &x, "m 64");
}
