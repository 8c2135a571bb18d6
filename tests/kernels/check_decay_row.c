#include "kcheck.h"

#include <math.h>

struct args {
    float *alpha;
    const float *x, *bias;
    int64_t n;
    kl_gate gate;
    float rate, lower_bound;
};

static void call(kc_any_fn *fn, const void *args)
{
    const struct args *a = args;
    ((kl__decay_row_fn *)fn)(a->alpha, a->x, a->bias, a->n, a->gate, a->rate, a->lower_bound);
}

static const float odd_numbers[] = {0, -0.0f, 50, -50, 87, -87.3f, -89, 1000, -1000, 1e-20f, -1e-20f, 19.9f, 20.1f,
                                    INFINITY, -INFINITY, NAN};
enum { N_ODD = sizeof odd_numbers / sizeof *odd_numbers };

/* Log decays for KL_GATE_LOG, raw projections for the others; here and there an odd one. */
static void draw(kc *c, float *x, int64_t n, kl_gate gate, bool odd)
{
    kc_refill(c, x, n, gate == KL_GATE_LOG ? KC_DECAY : KC_NORMAL);
    for (int64_t i = 0; i < n; i++) {
        x[i] = gate == KL_GATE_LOG ? logf(x[i]) : 4 * x[i];
        if (odd && kc_below(c, 3) == 0)
            x[i] = odd_numbers[kc_below(c, N_ODD)];
        if (gate == KL_GATE_LOG && x[i] > 0)
            x[i] = -x[i];
    }
}

/* The gate's own exponent carries its relative error into alpha times its size; very small decays matter to nobody. */
static struct args operands(kc *c, int64_t n, kl_gate gate, bool with_bias, bool odd, bool in_place)
{
    struct args a = {.n = n, .gate = gate, .lower_bound = -5};
    a.rate = gate == KL_GATE_LOG ? 1 : (float)exp(kc_uniform(c) * 2.8);
    float *x = in_place ? kc_inout(c, "x", n, KC_ZERO, 2e-5) : kc_in(c, "x", n, KC_ZERO);
    a.x = x;
    draw(c, x, n, gate, odd);
    a.alpha = in_place ? x : kc_out(c, "alpha", n, 2e-5);
    kc_each(c, gate == KL_GATE_LOG ? 1e-36 : 1e-3);
    if (with_bias)
        a.bias = kc_in(c, "bias", n, KC_NORMAL);
    return a;
}

void check_decay_row(kc *c)
{
    static const char *const gates[] = {"log", "softplus", "bounded"};
    for (int i = 0; kc_length(i) >= 0; i++)
        for (int gate = KL_GATE_LOG; gate <= KL_GATE_BOUNDED; gate++)
            for (int kind = 0; kind < 8; kind++) {
                bool bias = kind & 1 && gate != KL_GATE_LOG, odd = kind & 2, in_place = kind & 4;
                struct args a = operands(c, kc_length(i), (kl_gate)gate, bias, odd, in_place);
                kc_run(c, call, &a, "n %lld, %s%s%s%s", (long long)a.n, gates[gate], bias ? ", bias" : "",
                       odd ? ", odd numbers" : "", in_place ? ", in place" : "");
            }
    for (int gate = KL_GATE_LOG; gate <= KL_GATE_BOUNDED; gate++) {
        struct args a = operands(c, 128, (kl_gate)gate, false, false, false);
        kc_run_timed(c, call, &a, "n %lld, %s", (long long)a.n, gates[gate]);
    }
}
