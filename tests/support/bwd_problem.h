/** Calls of kl_kda_bwd over random settings of everything, and the way the operator computes them. */
#ifndef BWD_PROBLEM_H
#define BWD_PROBLEM_H

#include "support/kt.h"

enum { BWD_MAX_SEQ = 5 };

enum gate_shape { NO_GATE, PER_HEAD, PER_CHANNEL };
enum gate_regime { MILD, ALL_ZERO, ALL_FIFTY, HALF_FIFTY, SPIKES, FORGETS, N_REGIME };

struct bwd_problem {
    int64_t T, H, HV, K, V, n_seq, cu[BWD_MAX_SEQ + 1];
    enum gate_shape gate_shape;
    enum gate_regime regime;
    kl_gate gate;
    kl_rule rule;
    kl_layout layout;
    bool l2norm, sigmoid, twice, has_beta, has_params, has_states, bf16, padded;
    int chunk;
    int64_t snapshot_every; /* 0: none */
    float scale, lower_bound;
    /* f32 values, rounded to bf16 where the tensors are */
    float *q, *k, *v, *g, *beta, *A_log, *dt_bias, *S0, *d_o, *dS;
    int64_t q_pitch, v_pitch, g_pitch; /* elements */
    uint16_t *q16, *k16, *v16, *g16, *beta16, *d_o16;
    float *snapshots, *errors; /* errors NULL: not kept */
    bool has_errors;
};

/** Channels of a gate: K, 1, or 0 where there is none. */
int64_t bwd_n_gate(const struct bwd_problem *p);
/** Draws the inputs of a problem whose settings are there. */
void bwd_fill(kt_rng *r, struct bwd_problem *p);
struct bwd_problem bwd_random(kt_rng *r);
/** In words, for a report; the next call overwrites it. */
const char *bwd_describe(const struct bwd_problem *p);

/** Runs the forward for its outputs; state_out may be NULL. */
void bwd_run_forward(const struct bwd_problem *p, const kl_backend *be, float *o, float *state_out);
/** Runs the forward for what the problem keeps for its backward. */
void bwd_keep(struct bwd_problem *p);
/** All gradients, in new memory; those of parameters start from 3, to see that gradients are added. */
kl_kda_bwd_args bwd_args(const struct bwd_problem *p);
void bwd_run(const kl_backend *be, kl_kda_bwd_args *b);

#endif
