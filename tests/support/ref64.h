/** The delta-rule recurrences in float64, token by token, on the same arguments as the operators: what random
 *  configurations are compared with.  Slow and plain; holds every state of a (sequence, head) for the adjoint.
 *  Results are dense, row-major, laid out as the tensors of the call; memory comes from kt_bytes. */
#ifndef REF64_H
#define REF64_H

#include "support/kt.h"

/** Element `i` (counted densely) of a tensor that may be bf16 or pitched. */
double ref64_get(kl_tensor t, int64_t i);
int64_t ref64_count(kl_tensor t);

typedef struct ref64_outputs {
    double *o, *state_out, *snapshots; /* snapshots only when the call has them */
    double *e;                         /* of KDA only */
} ref64_outputs;

ref64_outputs ref64_kda(const kl_kda_args *a);
ref64_outputs ref64_dplr(const kl_dplr_args *a);

/** Gradients, all of them, whether the call wants them or not; NULL for inputs that are absent.  k is the sum of
 *  k_read (where the state is read with it) and k_write (where it is written with it), both [T][H][K] like k; they are
 *  with respect to k after the L2 norm, if there is one. */
typedef struct ref64_kda_grads {
    double *q, *k, *v, *g, *beta, *A_log, *dt_bias, *state_in;
    double *k_read, *k_write;
} ref64_kda_grads;
ref64_kda_grads ref64_kda_bwd(const kl_kda_bwd_args *a);

typedef struct ref64_dplr_grads {
    double *q, *k, *a, *b, *v, *g, *state_in;
} ref64_dplr_grads;
ref64_dplr_grads ref64_dplr_bwd(const kl_dplr_bwd_args *a);

/** RMS(t - want) / RMS(want) over a tensor, NaN where `want` has NaN. */
double ref64_ratio(kl_tensor t, const double *want);
/** Fails unless that is at most `tolerance` (a bf16 tensor is allowed half of its last bit on top). */
void ref64_expect(const char *what, kl_tensor t, const double *want, double tolerance);

#endif
