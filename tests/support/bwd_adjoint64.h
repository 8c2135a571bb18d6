/** The adjoint of the recurrence of kl_kda in double, token by token, as the mathematics is written. */
#ifndef BWD_ADJOINT64_H
#define BWD_ADJOINT64_H

#include "support/bwd_problem.h"

struct bwd_gradients {
    double *q, *k, *v, *g, *beta, *A_log, *dt_bias, *S0; /* dense */
    double *A_log_size;                                  /* [HV] sum of the magnitudes that d_A_log adds up */
};

struct bwd_gradients bwd_adjoint64(const struct bwd_problem *p);
/** Element (i, j) of a head's state, in the problem's layout. */
int64_t bwd_state_at(const struct bwd_problem *p, int64_t seq, int64_t head, int64_t i, int64_t j);
/** Fails where what `level` has computed is not what is wanted. */
void bwd_compare(const struct bwd_problem *p, const char *level, const kl_kda_bwd_args *b,
                 const struct bwd_gradients *want);

#endif
