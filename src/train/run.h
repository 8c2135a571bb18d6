/** Operators as the training walk calls them: with the workspace that it was lent, measured or timed. */
#ifndef KL_TRAIN_RUN_H
#define KL_TRAIN_RUN_H

#include "klinear/kl_train.h"

/** What time is taken of: every operator, forward and backward, and the rest. */
enum kl__timed {
#define OP(x) KL__TIMED_##x, KL__TIMED_##x##_bwd,
#include "ops/ops.def"
#undef OP
    KL__TIMED_ROWS, /* copies and sums of rows between operators */
    KL__TIMED_MUON,
    KL__TIMED_ADAMW,
    KL__N_TIMED
};

/** With `measure` nothing is computed: operators only say how much workspace they want, and pointers are not
 *  followed. */
struct kl__run {
    const kl_backend *be;
    kl_workspace work;
    size_t *measure; /* largest workspace so far; NULL: compute */
    double *seconds; /* [KL__N_TIMED] +=; NULL: nobody wants to know */
    kl_error *err;
};

/** Each runs one operator; `work` of the arguments is set here. */
#define OP(x)                                                                                                          \
    kl_status kl__run_##x(const struct kl__run *r, kl_##x##_args a);                                                   \
    kl_status kl__run_##x##_bwd(const struct kl__run *r, kl_##x##_bwd_args a);
#include "ops/ops.def"
#undef OP

/** to [T][n] <- from, or += with `add`; any pitch. */
void kl__run_rows(const struct kl__run *r, kl_tensor to, kl_tensor from, bool add);

/** A clock that only goes forward, in seconds; and what has passed since `from` is added to the time of `what`. */
double kl__run_clock(const struct kl__run *r);
void kl__run_took(const struct kl__run *r, enum kl__timed what, double from);

#endif
