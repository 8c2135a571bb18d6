/** Tensors of operators that see a token as one row of heads times dim numbers. */
#ifndef KA_TIMED_ROWS_H
#define KA_TIMED_ROWS_H

#include "timed.h"

static inline int64_t width(const struct ka_stage *s)
{
    return s->heads * s->dim;
}

/* [T][n] of the dtype. */
static inline kl_tensor rows(struct ka_stage *s, const struct ka_case *c, enum ka_data data, int copy, int64_t n)
{
    return ka_stage_rows(s, data, copy, c->dtype, c->rows, c->T, n);
}

/* [T][n] of f32, to be written. */
static inline kl_tensor gradient(struct ka_stage *s, const struct ka_case *c, int copy, int64_t n)
{
    return ka_stage_rows(s, KA_ZERO, copy, KL_F32, c->rows, c->T, n);
}

/* What an operator is to those that use it: its passes and functions. */
#define PASSES .passes = 1 << KA_FORWARD | 1 << KA_BACKWARD, .head = ka_square_head

#endif
