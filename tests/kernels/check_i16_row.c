#include "kcheck.h"

struct args {
    int16_t *q;
    float *scale;
    void *x; /* [n] f32, or bf16 */
    int64_t n, n_q;
};

static void call(kc_any_fn *fn, const void *args)
{
    const struct args *a = args;
    ((kl__i16_row_fn *)fn)(a->q, a->scale, a->x, a->n, a->n_q);
}

static void call_bf16(kc_any_fn *fn, const void *args)
{
    const struct args *a = args;
    ((kl__i16_row_bf16_fn *)fn)(a->q, a->scale, a->x, a->n, a->n_q);
}

static struct args operands(kc *c, bool half, int64_t n, int64_t n_q, enum kc_fill fill)
{
    struct args a = {.n = n, .n_q = n_q};
    kc_align(c, 2);
    a.q = kc_out_bytes(c, "q", 2 * n_q);
    kc_align(c, 4);
    a.scale = kc_out(c, "scale", 1, 0);
    a.x = half ? (void *)kc_in_bf16(c, "x", n, fill) : (void *)kc_in(c, "x", n, fill);
    return a;
}

static void check_rows(kc *c, bool half)
{
    kc_call_fn *run = half ? call_bf16 : call;
    for (int fill = 0; fill <= KC_NAN; fill++)
        for (int i = 0; kc_length(i) >= 0; i++) {
            int64_t n = kc_length(i);
            struct args a = operands(c, half, n, n + n % 2 + 2 * (i % 2), (enum kc_fill)fill);
            kc_run(c, run, &a, "n %lld of %lld, %s", (long long)n, (long long)a.n_q, kc_fill_name((enum kc_fill)fill));
        }
    struct args a = operands(c, half, 576, 576, KC_NORMAL);
    kc_run_timed(c, run, &a, "n 576");
}

void check_i16_row(kc *c)
{
    check_rows(c, false);
}

void check_i16_row_bf16(kc *c)
{
    check_rows(c, true);
}
