#include "kcheck.h"

struct args {
    uint16_t *p;
    const uint8_t *from, *ahead;
    int64_t row_bytes, n_k;
};

static void call(kc_any_fn *fn, const void *args)
{
    const struct args *a = args;
    ((kl__bf16_panel_fn *)fn)(a->p, a->from, a->row_bytes, a->n_k, a->ahead);
}

static struct args operands(kc *c, int64_t n_k, int64_t gap)
{
    struct args a = {.n_k = n_k, .row_bytes = 2 * n_k + gap};
    int64_t n_byte = n_k > 0 ? (KL__PANEL - 1) * a.row_bytes + 2 * n_k : 0;
    uint8_t *from = kc_in_bytes(c, "from", n_byte);
    for (int64_t i = 0; i < n_byte; i++)
        from[i] = (uint8_t)kc_below(c, 256);
    a.from = from;
    a.ahead = n_k % 2 ? from : NULL;
    kc_align(c, 64);
    a.p = kc_out_bytes(c, "p", (n_k + 1) / 2 * KL__PANEL * 4);
    return a;
}

void check_bf16_panel(kc *c)
{
    for (int64_t n_k = 0; n_k <= 35; n_k++) {
        struct args a = operands(c, n_k, n_k % 3);
        kc_run(c, call, &a, "n_k %lld", (long long)n_k);
    }
    struct args a = operands(c, 256, 1024);
    kc_run_timed(c, call, &a, "256 numbers");
}
