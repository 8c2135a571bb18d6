/** Contracts of the leaf loops behind the gradients of the delta-rule family; notation and layouts of slots_kda.h.
 *  A chunk's backward is two calls: what touches the state (slabs), then what stays among the tokens (pairs).
 *  Everything is again a product of decays, so a decay of 0 gives finite gradients.  The maths: docs/kda.md. */
#ifndef KL_CPU_SLOTS_KDA_BWD_H
#define KL_CPU_SLOTS_KDA_BWD_H

#include "cpu/kernels/slots_kda.h"

/** What of kl__kda_slabs_fn (KL_RULE_DELTA) the backward wants again, from the state before the chunk to that after it:
 *      e_r = v_r - S^T kd_r - sum_{i<r} A_ri u_i,   u_r = beta_r e_r;   to = diag(gamma) S + sum_i ku_i u_i^T
 *  to, S [n_slab][K][KL_SLAB] do not overlap; to NULL: only e is wanted, [n] rows lde apart.  The rest as there. */
typedef void kl__kda_again_fn(float *to, const float *S, float *e, ptrdiff_t lde, const struct kl__kda_chunk *c,
                              const float *v, ptrdiff_t ldv, int n_slab);

/** The state alone, where e is known: to = diag(gamma) S + sum_i ku_i (beta_i e_i)^T.  e [n] rows of n_slab * KL_SLAB
 *  values, lde apart.  to may be S, and overlaps it in no other way. */
typedef void kl__kda_write_fn(float *to, const float *S, const struct kl__kda_chunk *c, const float *e, ptrdiff_t lde,
                              int n_slab);

/** Adjoints of a chunk; dx is the adjoint of x.  u_r = beta_r e_r is what the tokens write. */
struct kl__kda_chunk_bwd {
    float *dqd;          /* [n][ld] S do_r */
    float *dkd;          /* [n][ld] -beta_r S du_r; zeros with KL_RULE_ADD */
    float *dku;          /* [n][ld] D u_i */
    float *dA;           /* [n][KL_CHUNK_MAX] -beta_r du_r . u_i for i < r; zeros with KL_RULE_ADD; others undefined */
    float *dP;           /* [n][KL_CHUNK_MAX] do_r . u_i for i <= r; others undefined */
    float *dgamma;       /* [ld] rowsum(S . D) */
    float *dbeta;        /* [n] */
    float *dq, *dk, *dg; /* [n][ld] of q, k and log alpha */
    float *scratch;      /* kl__kda_bwd_scratch() floats */
};

/** Floats of scratch for chunks of at most n tokens: rows of values, the same turned into columns, sums. */
static inline size_t kl__kda_bwd_scratch(int n, ptrdiff_t ld, int n_slab)
{
    size_t rows = (size_t)(n + KL_SLAB - 1) / KL_SLAB * KL_SLAB;
    return 6 * rows * (size_t)n_slab * KL_SLAB + ((size_t)ld + rows) * KL_SLAB;
}

/** Backward of kl__kda_slabs_fn for all slabs of a head: S [n_slab][K][KL_SLAB] is the state before the chunk, e what
 *  kl__kda_slabs_fn gives, D the adjoint of the state after it, and on return that of the state before it.
 *      du_i = D^T ku_i + sum_{r>=i} P_ri do_r - sum_{r>i} beta_r A_ri du_r          (rule ADD: without the last sum)
 *      dv_i = beta_i du_i,    dbeta_i = du_i . e_i
 *      D   <- diag(gamma) D + sum_r (qd_r do_r^T - kd_r dv_r^T)                     (rule ADD: without kd)
 *  Assigns b->dqd dkd dku dA dP dgamma dbeta and dv [n] rows, lddv apart.
 *  e, d_o [n] rows of n_slab * KL_SLAB values, lde, lddo apart.  Nothing overlaps. */
typedef void kl__kda_slabs_bwd_fn(float *D, struct kl__kda_chunk_bwd *b, float *dv, ptrdiff_t lddv, const float *S,
                                  const struct kl__kda_chunk *c, const float *e, ptrdiff_t lde, const float *d_o,
                                  ptrdiff_t lddo, int n_slab, kl_rule rule);

/** Backward of kl__kda_prep_fn: assigns b->dq dk dg from b->dqd dkd dku dA dP dgamma.  c gives n, K, ld.  With
 *  E_ri = gamma_{i->r}, elementwise:
 *      dq_r = scale (gamma_r . dqd_r + sum_{i<=r} dP_ri E_ri . k_i)
 *      dk_i = gamma_i . dkd_i + sum_{j<i} dA_ij E_ij . k_j
 *             + E_ni . dku_i + sum_{r>=i} scale dP_ri E_ri . q_r + sum_{r>i} dA_ri E_ri . k_r
 *      dg_t = the part of k . dk and q . dq whose decay runs over token t, plus gamma_n . dgamma
 *  dg carries the factor alpha_t: it is 0 where alpha is.  q, k, alpha as kl__kda_prep_fn takes them. */
typedef void kl__kda_prep_bwd_fn(struct kl__kda_chunk_bwd *b, const struct kl__kda_chunk *c, const float *q,
                                 ptrdiff_t ldq, const float *k, ptrdiff_t ldk, const float *alpha, float scale);

/** Backward of kl__decay_row_fn: dx_i from dg, the adjoint of the log decay.  dbias [n] (NULL: not wanted) and *dA_log
 *  (NULL likewise) are added to.  dx may be dg. */
typedef void kl__decay_row_bwd_fn(float *dx, float *dbias, float *dA_log, const float *dg, const float *x,
                                  const float *bias, int64_t n, kl_gate gate, float rate, float lower_bound);

#endif
