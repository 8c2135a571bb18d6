/** Calls of kl_dplr in the form of RWKV-7: b of unit length and a = gain . b, so that the transition never grows. */
#ifndef DPLR_CASE_H
#define DPLR_CASE_H

#include "support/kda_case.h"

typedef struct dplr_shape {
    int64_t T, H, K, V;
} dplr_shape;

/** Dense f32 inputs with the log decays of `gates` (per channel, or none), a random state_in, no outputs. */
kl_dplr_args dplr_draw(kt_rng *r, dplr_shape shape, kda_gates gates);
/** [n_seq][H][K][V] or its VK form, normally distributed. */
kl_tensor dplr_states(kt_rng *r, const kl_dplr_args *a, int64_t n_seq);
/** The same call on the tokens start .. end-1, as one sequence from `state_in`. */
kl_dplr_args dplr_slice(const kl_dplr_args *a, int64_t start, int64_t end, kl_tensor state_in);
/** Runs the call along a variant with fresh f32 outputs and returns it with them. */
kl_dplr_args dplr_run_variant(const kda_variant *v, kl_dplr_args a);

#endif
