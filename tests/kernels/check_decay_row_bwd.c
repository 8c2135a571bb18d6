#include "kcheck.h"

#include <math.h>

struct args {
    float *dx, *dbias, *dA_log;
    const float *dg, *x, *bias;
    int64_t n;
    kl_gate gate;
    float rate, lower_bound;
};

static void call(kc_any_fn *fn, const void *args)
{
    const struct args *a = args;
    ((kl__decay_row_bwd_fn *)fn)(a->dx, a->dbias, a->dA_log, a->dg, a->x, a->bias, a->n, a->gate, a->rate,
                                 a->lower_bound);
}

enum { BIAS = 1, SUMS = 2, ODD = 4, IN_PLACE = 8, N_KIND = 16 };

/* Odd: inputs far out, where gates saturate, and infinite ones, whose gradient is 0. */
static struct args operands(kc *c, int64_t n, kl_gate gate, int kind)
{
    static const float far_out[] = {0, 50, -50, 1000, -1000, 19.9f, 20.1f, INFINITY, -INFINITY};
    struct args a = {.n = n, .gate = gate, .lower_bound = -5};
    a.rate = gate == KL_GATE_LOG ? 1 : (float)exp(kc_uniform(c) * 2.8);
    float *x = kc_in(c, "x", n, KC_NORMAL);
    a.x = x;
    float *dg = kind & IN_PLACE ? kc_inout(c, "dg", n, KC_NORMAL, 2e-5) : kc_in(c, "dg", n, KC_NORMAL);
    a.dg = dg;
    a.dx = kind & IN_PLACE ? dg : kc_out(c, "dx", n, 2e-5);
    for (int64_t i = 0; kind & ODD && i < n; i++)
        if (kc_below(c, 3) == 0) {
            x[i] = far_out[kc_below(c, sizeof far_out / sizeof *far_out)];
            dg[i] = isinf(x[i]) ? 0 : dg[i];
        }
    if (kind & BIAS && gate != KL_GATE_LOG)
        a.bias = kc_in(c, "bias", n, KC_NORMAL);
    if (kind & SUMS) {
        a.dbias = kc_inout(c, "dbias", n, KC_NORMAL, 2e-5);
        a.dA_log = kc_inout(c, "dA_log", 1, KC_NORMAL, 2e-5);
        kc_cancels(c, kind & ODD ? 1e5 : 50 * sqrt((double)n + 1));
    }
    return a;
}

void check_decay_row_bwd(kc *c)
{
    static const char *const gates[] = {"log", "softplus", "bounded"};
    for (int i = 0; kc_length(i) >= 0; i++)
        for (int gate = KL_GATE_LOG; gate <= KL_GATE_BOUNDED; gate++)
            for (int kind = 0; kind < N_KIND; kind++) {
                struct args a = operands(c, kc_length(i), (kl_gate)gate, kind);
                kc_run(c, call, &a, "n %lld, %s%s%s%s%s", (long long)a.n, gates[gate], a.bias ? ", bias" : "",
                       kind & SUMS ? ", sums" : "", kind & ODD ? ", far out" : "", kind & IN_PLACE ? ", in place" : "");
            }
    for (int gate = KL_GATE_LOG; gate <= KL_GATE_BOUNDED; gate++) {
        struct args a = operands(c, 128, (kl_gate)gate, BIAS | SUMS);
        kc_run_timed(c, call, &a, "n %lld, %s", (long long)a.n, gates[gate]);
    }
}
