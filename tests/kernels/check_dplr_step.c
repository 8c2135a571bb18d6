#include "kcheck.h"

struct args {
    float *o, *S;
    const float *q, *k, *v, *a, *b, *alpha;
    float scale;
    int64_t K, V;
};

static void call(kc_any_fn *fn, const void *args)
{
    const struct args *x = args;
    ((kl__dplr_step_fn *)fn)(x->o, x->S, x->q, x->k, x->v, x->a, x->b, x->alpha, x->scale, x->K, x->V);
}

static const float *unit_row(kc *c, const char *name, int64_t n)
{
    float *x = kc_in(c, name, n, KC_NORMAL);
    kc_unit_rows(x, 1, n);
    return x;
}

static struct args operands(kc *c, int64_t K, int64_t V, enum kc_fill decay)
{
    struct args x = {.K = K, .V = V, .scale = 0.125f};
    x.q = unit_row(c, "q", K);
    x.k = unit_row(c, "k", K);
    x.a = unit_row(c, "a", K);
    x.b = unit_row(c, "b", K);
    x.v = kc_in(c, "v", V, KC_NORMAL);
    x.alpha = kc_in(c, "alpha", K, decay);
    x.o = kc_out(c, "o", V, 1e-5);
    kc_cancels(c, 0.125);
    x.S = kc_inout(c, "S", K * V, KC_NORMAL, 1e-5);
    return x;
}

void check_dplr_step(kc *c)
{
    static const int64_t heads[] = {1, 3, 8, 15, 16, 17, 33, 64, 100, 128, 256};
    enum { N_HEAD = sizeof heads / sizeof *heads };
    static const enum kc_fill decays[] = {KC_ONE, KC_DECAY, KC_DECAY_MIXED};
    for (int i = 0; i < N_HEAD * N_HEAD; i++)
        for (size_t d = 0; d < sizeof decays / sizeof *decays; d++) {
            struct args x = operands(c, heads[i / N_HEAD], heads[i % N_HEAD], decays[d]);
            kc_run(c, call, &x, "K %lld, V %lld, decay %s", (long long)x.K, (long long)x.V, kc_fill_name(decays[d]));
        }
    struct args x = operands(c, 128, 128, KC_DECAY);
    kc_run_timed(c, call, &x, "K 128, V 128");
}
