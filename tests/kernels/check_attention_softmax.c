#include "kcheck.h"

#include <math.h>

struct args {
    float *s, *max, *sum, *keep;
    const int32_t *to;
    float scale;
    int64_t m;
};

static void call(kc_any_fn *fn, const void *args)
{
    const struct args *x = args;
    ((kl__attention_softmax_fn *)fn)(x->s, x->max, x->sum, x->keep, x->to, x->scale, x->m);
}

/* Every third row is at its first block.  A row in seven has nothing but -infinity, as far as it sees. */
static struct args operands(kc *c, int64_t m, enum kc_fill fill, float scale)
{
    struct args x = {.m = m, .scale = scale};
    x.s = kc_inout(c, "s", m * KL__ATTENTION_BLOCK, fill, 1e-5);
    x.max = kc_inout(c, "max", m, KC_NORMAL, 1e-6);
    x.sum = kc_inout(c, "sum", m, KC_UNIT, 1e-5);
    x.keep = kc_out(c, "keep", m, 1e-5);
    int32_t *to = kc_in_i32(c, "to", m);
    for (int64_t i = 0; i < m; i++) {
        to[i] = i % 2 ? KL__ATTENTION_BLOCK : (int32_t)kc_below(c, KL__ATTENTION_BLOCK + 1);
        x.sum[i] += 1;
        if (i % 3 == 0) {
            x.max[i] = -INFINITY;
            x.sum[i] = 0;
        }
        for (int j = 0; i % 7 == 6 && j < KL__ATTENTION_BLOCK; j++)
            x.s[i * KL__ATTENTION_BLOCK + j] = -INFINITY;
    }
    x.to = to;
    return x;
}

void check_attention_softmax(kc *c)
{
    static const float scales[] = {1, 0.0721687824f, -0.5f};
    for (int64_t m = 0; m <= 24; m++)
        for (int fill = 0; fill < KC_N_FILL; fill++)
            for (int i = 0; i < 3; i++) {
                struct args x = operands(c, m, (enum kc_fill)fill, scales[i]);
                kc_run(c, call, &x, "m %lld, %s s, scale %g", (long long)m, kc_fill_name((enum kc_fill)fill),
                       (double)x.scale);
            }
    struct args x = operands(c, 64, KC_NORMAL, 0.125f);
    kc_run_timed(c, call, &x, "m 64");
}
