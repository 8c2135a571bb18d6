#include "kcheck.h"

struct args {
    uint8_t *q;
    float *scale, *low;
    enum kl__type type;
    const uint8_t *from, *ahead;
    int64_t n;
};

static void call(kc_any_fn *fn, const void *args)
{
    const struct args *a = args;
    ((kl__packed_panel_fn *)fn)(a->q, a->scale, a->low, a->type, a->from, a->n, a->ahead);
}

/* Any bytes are a panel. */
static struct args operands(kc *c, enum kl__type type, int64_t n)
{
    struct args a = {.type = type, .n = n};
    int64_t n_byte = kl__packed_bytes(type, n);
    kc_align(c, 64);
    uint8_t *from = kc_in_bytes(c, "from", n_byte);
    for (int64_t i = 0; i < n_byte; i++)
        from[i] = (uint8_t)kc_below(c, 256);
    a.from = from;
    a.ahead = n % 512 ? from : NULL;
    a.q = kc_out_bytes(c, "q", n * KL__PANEL);
    a.scale = kc_out(c, "scale", n / 32 * KL__PANEL, 0);
    a.low = type == KL__TYPE_Q4_K ? kc_out(c, "low", n / 32 * KL__PANEL, 0) : NULL;
    return a;
}

void check_packed_panel(kc *c)
{
    static const enum kl__type types[] = {KL__TYPE_Q8_0, KL__TYPE_Q4_0, KL__TYPE_Q4_K};
    for (int t = 0; t < 3; t++) {
        int64_t block = kl__type_info(types[t])->elements;
        for (int64_t n = 0; n <= 3 * block; n += block) {
            struct args a = operands(c, types[t], n);
            kc_run(c, call, &a, "%s, %lld numbers", kl__type_info(a.type)->name, (long long)n);
        }
        struct args a = operands(c, types[t], 512);
        kc_run_timed(c, call, &a, "%s, 512 numbers", kl__type_info(a.type)->name);
    }
}
