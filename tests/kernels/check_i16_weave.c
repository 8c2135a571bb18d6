#include "kcheck.h"

struct args {
    int16_t *p, *rows;
    int64_t pitch, n;
};

static void call(kc_any_fn *fn, const void *args)
{
    const struct args *a = args;
    ((kl__i16_weave_fn *)fn)(a->p, a->rows, a->pitch, a->n);
}

static struct args operands(kc *c, int64_t n, int64_t more)
{
    struct args a = {.n = n, .pitch = n + more};
    kc_align(c, 2);
    a.p = kc_out_bytes(c, "p", (n + 31) / 32 * 32 * KL__I16_BLOCK * 2);
    int64_t all = n > 0 ? (KL__I16_BLOCK - 1) * a.pitch + n : 0;
    a.rows = kc_in_bytes(c, "rows", 2 * all);
    for (int64_t i = 0; i < all; i++)
        a.rows[i] = (int16_t)(kc_below(c, 65535) - 32767);
    return a;
}

void check_i16_weave(kc *c)
{
    static const int64_t lengths[] = {0, 1, 2, 15, 16, 31, 32, 33, 64, 95, 128};
    for (int i = 0; i < 11; i++) {
        struct args a = operands(c, lengths[i], i % 3);
        kc_run(c, call, &a, "n %lld", (long long)a.n);
    }
    struct args a = operands(c, 512, 64);
    kc_run_timed(c, call, &a, "n 512");
}
