#include "kcheck.h"

#include <math.h>

struct args {
    int16_t *q;
    float *scale, *s, *value_scale;
    int32_t to;
};

static void call(kc_any_fn *fn, const void *args)
{
    const struct args *a = args;
    ((kl__i16_weights_fn *)fn)(a->q, a->scale, a->s, a->value_scale, a->to);
}

static struct args operands(kc *c, int32_t to, enum kc_fill fill)
{
    struct args a = {.to = to};
    kc_align(c, 2);
    a.q = kc_out_bytes(c, "q", 2 * KL__I16_BLOCK);
    kc_align(c, 4);
    a.scale = kc_out(c, "scale", 1, 0);
    a.s = kc_in(c, "s", KL__I16_BLOCK, KC_UNIT);
    a.value_scale = kc_in(c, "value_scale", KL__I16_BLOCK, fill);
    for (int i = 0; i < KL__I16_BLOCK; i++)
        a.value_scale[i] = fabsf(a.value_scale[i]);
    return a;
}

void check_i16_weights(kc *c)
{
    for (int fill = 0; fill <= KC_NAN; fill++)
        for (int32_t to = 0; to <= KL__I16_BLOCK; to++) {
            struct args a = operands(c, to, (enum kc_fill)fill);
            kc_run(c, call, &a, "to %d, %s", (int)to, kc_fill_name((enum kc_fill)fill));
        }
    struct args a = operands(c, KL__I16_BLOCK, KC_NORMAL);
    kc_run_timed(c, call, &a, "all");
}
