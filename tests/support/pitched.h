/** Tensors whose rows lie apart, in f32 or bf16: what lies between the rows is poison and has to stay so. */
#ifndef PITCHED_H
#define PITCHED_H

#include "support/ref64.h"

/** A copy of dense f32 `t` as `dtype`, its rows 0 .. 7 elements apart at random; NaN in the gaps.  Absent stays so. */
kl_tensor pitched_input(kt_rng *r, kl_tensor t, kl_dtype dtype);
/** Room for a result shaped like `t`, rows 0 .. 7 elements apart at random; NaN in f32 rows, poison elsewhere. */
kl_tensor pitched_output(kt_rng *r, kl_tensor t, kl_dtype dtype);
/** Fails if something was written between the rows of a result. */
void pitched_check(const char *what, kl_tensor t);

#endif
