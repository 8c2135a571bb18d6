#include "kcheck.h"

#include <string.h>

struct args {
    uint16_t *y;
    const float *x;
    int64_t n;
};

static void call(kc_any_fn *fn, const void *args)
{
    const struct args *a = args;
    ((kl__bf16_of_f32_fn *)fn)(a->y, a->x, a->n);
}

/* Bit patterns of every kind: halfway cases for ties to even, subnormals, infinities, NaNs with small payloads. */
static void any_bits(kc *c, float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        uint32_t high = (uint32_t)kc_below(c, 0x10000) << 16, low = (uint32_t)kc_below(c, 0x10000);
        uint32_t bits = high | (kc_below(c, 2) ? 0x8000 : low);
        memcpy(x + i, &bits, 4);
    }
}

void check_bf16_of_f32(kc *c)
{
    for (int i = 0; kc_length(i) >= 0; i++)
        for (int fill = 0; fill <= KC_NAN; fill++) {
            struct args a = {.n = kc_length(i)};
            a.x = kc_in(c, "x", a.n, (enum kc_fill)fill);
            a.y = kc_out_bf16(c, "y", a.n, 0);
            kc_run(c, call, &a, "n %lld, %s x", (long long)a.n, kc_fill_name((enum kc_fill)fill));
        }
    float *x = kc_in(c, "x", 10007, KC_ZERO);
    any_bits(c, x, 10007);
    struct args a = {.x = x, .n = 10007};
    a.y = kc_out_bf16(c, "y", a.n, 0);
    kc_run_timed(c, call, &a, "n %lld, any bits", (long long)a.n);
}
