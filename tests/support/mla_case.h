/** Calls of kl_mla, and what they should give: expanded float64 loops. */
#ifndef MLA_CASE_H
#define MLA_CASE_H

#include "support/attention64.h"
#include "support/kt.h"

struct mla_problem {
    int64_t T, S, H, DN, DR, R, DV, n_seq;
    const int64_t *cu_q, *cu_k; /* [n_seq + 1] */
    bool causal;
    float *q, *cache, *w_uk, *w_uv; /* [T][H][DN + DR], [S][R + DR], [H][DN][R], [H][DV][R] */
};

/** Shapes worth trying, without numbers. */
extern const struct mla_problem mla_case[];
extern const int mla_n_case;

/** The problem with T, S and numbers. */
struct mla_problem mla_make(kt_rng *r, struct mla_problem p);
/** o and lse may be NULL. */
kl_mla_args mla_args(const struct mla_problem *p, kl_mla_form form, float *o, float *lse);
/** Runs a call with a workspace of its own. */
void mla_call(const kl_backend *be, kl_mla_args a);
void mla_run(const kl_backend *be, const struct mla_problem *p, kl_mla_form form, float *o, float *lse);

/** Keys and values of all heads, in double: [S][H][DN + DR] and [S][H][DV]. */
struct attention64 mla_expand64(const struct mla_problem *p);

struct mla_gradients64 {
    double *q, *cache, *w_uk, *w_uv;
};

struct mla_gradients64 mla_backward64(const struct mla_problem *p, const float *d_o);

#endif
