#include "kcheck.h"

struct args {
    float *w;
    const float *taps;
    int64_t pitch, n;
    int W;
};

static void call(kc_any_fn *fn, const void *args)
{
    const struct args *a = args;
    ((kl__short_conv_taps_fn *)fn)(a->w, a->taps, a->pitch, a->n, a->W);
}

static struct args operands(kc *c, int64_t n, int W, int64_t gap)
{
    struct args a = {.n = n, .W = W, .pitch = W + gap};
    a.taps = kc_in_rows(c, "taps", n, W, a.pitch, KC_NAN, 7);
    a.w = kc_out(c, "w", n * W, 0);
    return a;
}

void check_short_conv_taps(kc *c)
{
    for (int i = 0; kc_length(i) >= 0; i++)
        for (int W = 1; W <= 16; W++)
            for (int64_t gap = 0; gap <= 3; gap += 3) {
                struct args a = operands(c, kc_length(i), W, gap);
                kc_run(c, call, &a, "n %lld, W %d, pitch %lld", (long long)a.n, W, (long long)a.pitch);
            }
    struct args a = operands(c, 256, 4, 0);
    kc_run_timed(c, call, &a, "n %lld, W %d", (long long)a.n, a.W);
}
