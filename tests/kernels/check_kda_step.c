#include "kcheck.h"

struct args {
    float *o, *S;
    const float *q, *k, *v, *alpha;
    float beta, scale;
    int64_t K, V;
    kl_rule rule;
};

static void call(kc_any_fn *fn, const void *args)
{
    const struct args *a = args;
    ((kl__kda_step_fn *)fn)(a->o, a->S, a->q, a->k, a->v, a->alpha, a->beta, a->scale, a->K, a->V, a->rule);
}

static struct args operands(kc *c, int64_t K, int64_t V, enum kc_fill decay, float beta, kl_rule rule)
{
    struct args a = {.K = K, .V = V, .beta = beta, .scale = 0.125f, .rule = rule};
    float *q = kc_in(c, "q", K, KC_NORMAL), *k = kc_in(c, "k", K, KC_NORMAL);
    kc_unit_rows(q, 1, K);
    kc_unit_rows(k, 1, K);
    a.q = q;
    a.k = k;
    a.v = kc_in(c, "v", V, KC_NORMAL);
    a.alpha = kc_in(c, "alpha", K, decay);
    a.o = kc_out(c, "o", V, 1e-5);
    kc_cancels(c, 0.125);
    a.S = kc_inout(c, "S", K * V, KC_NORMAL, 1e-5);
    return a;
}

void check_kda_step(kc *c)
{
    static const int64_t heads[] = {1, 3, 8, 15, 16, 17, 33, 64, 100, 128, 256};
    enum { N_HEAD = sizeof heads / sizeof *heads };
    static const enum kc_fill decays[] = {KC_ONE, KC_DECAY, KC_DECAY_MIXED};
    static const float betas[] = {0, 0.3f, 1, 2};
    for (int i = 0; i < N_HEAD * N_HEAD; i++)
        for (size_t d = 0; d < sizeof decays / sizeof *decays; d++)
            for (int rule = KL_RULE_DELTA; rule <= KL_RULE_ADD; rule++) {
                float beta = betas[(i + (int)d) % 4];
                struct args a = operands(c, heads[i / N_HEAD], heads[i % N_HEAD], decays[d], beta, (kl_rule)rule);
                kc_run(c, call, &a, "K %lld, V %lld, decay %s, beta %.2g, rule %d", (long long)a.K, (long long)a.V,
                       kc_fill_name(decays[d]), (double)beta, rule);
            }
    for (int64_t n = 64; n <= 256; n *= 2) {
        struct args a = operands(c, n, n, KC_DECAY, 0.5f, KL_RULE_DELTA);
        kc_run_timed(c, call, &a, "K %lld, V %lld", (long long)n, (long long)n);
    }
}
