/** Single tokens of the general rule: the calls are the same in both layouts of the state. */
#ifndef DPLR_STEPS_H
#define DPLR_STEPS_H

#include "kcheck.h"

struct dplr_step_args {
    float *o, *S;
    struct kl__dplr_rows rows;
    const float *v;
    float scale;
    int64_t K, V;
};

static inline const float *dplr_unit_row(kc *c, const char *name, int64_t n)
{
    float *x = kc_in(c, name, n, KC_NORMAL);
    kc_unit_rows(x, 1, n);
    return x;
}

static inline struct dplr_step_args dplr_step_operands(kc *c, int64_t K, int64_t V, enum kc_fill decay)
{
    struct dplr_step_args x = {.K = K, .V = V, .scale = 0.125f};
    x.rows.q = dplr_unit_row(c, "q", K);
    x.rows.k = dplr_unit_row(c, "k", K);
    x.rows.a = dplr_unit_row(c, "a", K);
    x.rows.b = dplr_unit_row(c, "b", K);
    x.rows.alpha = kc_in(c, "alpha", K, decay);
    x.v = kc_in(c, "v", V, KC_NORMAL);
    x.o = kc_out(c, "o", V, 1e-5);
    kc_cancels(c, 0.125);
    x.S = kc_inout(c, "S", K * V, KC_NORMAL, 1e-5);
    return x;
}

static inline void check_dplr_steps(kc *c, kc_call_fn *call)
{
    static const int64_t heads[] = {1, 3, 8, 15, 16, 17, 33, 64, 100, 128, 256};
    enum { N_HEAD = sizeof heads / sizeof *heads };
    static const enum kc_fill decays[] = {KC_ONE, KC_DECAY, KC_DECAY_MIXED};
    for (int i = 0; i < N_HEAD * N_HEAD; i++)
        for (size_t d = 0; d < sizeof decays / sizeof *decays; d++) {
            struct dplr_step_args x = dplr_step_operands(c, heads[i / N_HEAD], heads[i % N_HEAD], decays[d]);
            kc_run(c, call, &x, "K %lld, V %lld, decay %s", (long long)x.K, (long long)x.V, kc_fill_name(decays[d]));
        }
    struct dplr_step_args x = dplr_step_operands(c, 128, 128, KC_DECAY);
    kc_run_timed(c, call, &x, "K 128, V 128");
}

#endif
