#include "kcheck.h"
#include "tensor/quant/levels.h"

struct args {
    uint8_t *q;
    float *scale, *low;
    enum kl__type type;
    const uint8_t *from, *ahead;
    int64_t row_bytes, n_block;
};

static void call(kc_any_fn *fn, const void *args)
{
    const struct args *a = args;
    ((kl__weight_panel_fn *)fn)(a->q, a->scale, a->low, a->type, a->from, a->row_bytes, a->n_block, a->ahead);
}

/* Any bytes are blocks. */
static struct args operands(kc *c, enum kl__type type, int64_t n_block, int64_t gap)
{
    const struct kl__levels_info *info = kl__levels_info(type);
    const struct kl__type_info *t = kl__type_info(type);
    struct args a = {.type = type, .n_block = n_block, .row_bytes = n_block * t->bytes + gap};
    int64_t n = n_block * t->elements, n_byte = n_block > 0 ? (KL__PANEL - 1) * a.row_bytes + n_block * t->bytes : 0;
    uint8_t *from = kc_in_bytes(c, "from", n_byte);
    for (int64_t i = 0; i < n_byte; i++)
        from[i] = (uint8_t)kc_below(c, 256);
    a.from = from;
    a.ahead = n_block % 2 ? from : NULL;
    kc_align(c, 64);
    a.q = kc_out_bytes(c, "q", n * KL__PANEL);
    a.scale = kc_out(c, "scale", n / info->group * KL__PANEL, 0);
    a.low = info->low ? kc_out(c, "low", n / info->group * KL__PANEL, 0) : NULL;
    return a;
}

void check_weight_panel(kc *c)
{
    for (int t = 0; t < KL__N_TYPE; t++) {
        if (!kl__levels_info((enum kl__type)t))
            continue;
        for (int64_t n_block = 0; n_block <= 3; n_block++) {
            struct args a = operands(c, (enum kl__type)t, n_block, n_block * 5);
            kc_run(c, call, &a, "%s, %lld blocks", kl__type_info(a.type)->name, (long long)n_block);
        }
        struct args a = operands(c, (enum kl__type)t, 512 / kl__type_info((enum kl__type)t)->elements, 1024);
        kc_run_timed(c, call, &a, "%s, 512 numbers", kl__type_info(a.type)->name);
    }
}
