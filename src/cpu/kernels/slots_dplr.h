/** Contracts of the leaf loops of the general diagonal-plus-low-rank rule; notation and layouts of slots_kda.h,
 *  gradients as in slots_kda_bwd.h.  The maths: docs/kda.md. */
#ifndef KL_CPU_SLOTS_DPLR_H
#define KL_CPU_SLOTS_DPLR_H

#include "cpu/kernels/slots_kda.h"

/** The rows of a chunk's tokens, of one head. */
struct kl__dplr_rows {
    const float *q, *k, *a, *b;   /* rows of ld floats with zeros behind K, ldq .. ldb apart; any alignment */
    ptrdiff_t ldq, ldk, lda, ldb;
    const float *alpha;           /* [n][ld] decays in [0,1], 1 from K to ld */
};

/** What a chunk needs besides its values and the state; b reads the state before the decay of its own token. */
struct kl__dplr_chunk {
    int n;        /* tokens */
    int K;        /* channels */
    ptrdiff_t ld; /* floats between rows of bd, qd, ku, au, a multiple of 16 */
    float *bd;    /* [n][ld] gamma_{r-1} . b_r */
    float *qd;    /* [n][ld] scale gamma_r . q_r */
    float *ku;    /* [n][ld] gamma_{i->n} . k_i */
    float *au;    /* [n][ld] gamma_{i->n} . a_i */
    float *Abk;   /* [n][KL_CHUNK_MAX] b_r . (gamma_{i->r-1} . k_i), i < r; the other three likewise */
    float *Aba;   /* b_r . (gamma_{i->r-1} . a_i), i < r */
    float *Aqk;   /* scale q_r . (gamma_{i->r} . k_i), i <= r */
    float *Aqa;   /* scale q_r . (gamma_{i->r} . a_i), i <= r */
    float *gamma; /* [ld] */
    struct kl__ahead *ahead; /* what to fetch meanwhile, or NULL */
};

/** Fills everything but n, K, ld. */
typedef void kl__dplr_prep_fn(struct kl__dplr_chunk *c, const struct kl__dplr_rows *x, float scale);

/** Runs the chunk on slabs, as kl__kda_slabs_fn:
 *      y_r = S^T bd_r + sum_{i<r} (Abk_ri v_i - Aba_ri y_i)
 *      o_r = S^T qd_r + sum_{i<=r} (Aqk_ri v_i - Aqa_ri y_i)
 *      S  <- diag(gamma) S + sum_i (ku_i v_i^T - au_i y_i^T) */
typedef void kl__dplr_slabs_fn(float *S, float *o, ptrdiff_t ldo, const struct kl__dplr_chunk *c, const float *v,
                               ptrdiff_t ldv, int n_slab);

/** One token, one head, state in rows S [K][V] (64-byte alignment is not needed), in place:
 *      y = S^T b;   S <- diag(alpha) S - a y^T + k v^T;   o = scale S^T q
 *  o, v [V]; the rows of x have K floats, K <= KL_HEAD_MAX; o overlaps nothing. */
typedef void kl__dplr_step_fn(float *o, float *S, const struct kl__dplr_rows *x, const float *v, float scale, int64_t K,
                              int64_t V);
/** The same on a state S [V][K]. */
typedef void kl__dplr_step_vk_fn(float *o, float *S, const struct kl__dplr_rows *x, const float *v, float scale,
                                 int64_t K, int64_t V);

/** What of kl__dplr_slabs_fn the backward wants again, as kl__kda_again_fn: y and the state after the chunk. */
typedef void kl__dplr_again_fn(float *to, const float *from, float *y, ptrdiff_t ldy, const struct kl__dplr_chunk *c,
                               const float *v, ptrdiff_t ldv, int n_slab);

/** Adjoints of a chunk; dx is the adjoint of x. */
struct kl__dplr_chunk_bwd {
    float *dqd, *dbd, *dku, *dau;  /* [n][ld] S do_r, S dy_r, D v_i, -D y_i */
    float *dAbk, *dAba;            /* [n][KL_CHUNK_MAX] dy_r . v_i, -dy_r . y_i for i < r; others undefined */
    float *dAqk, *dAqa;            /* [n][KL_CHUNK_MAX] do_r . v_i, -do_r . y_i for i <= r; others undefined */
    float *dgamma;                 /* [ld] rowsum(S . D) */
    float *dq, *dk, *da, *db, *dg; /* [n][ld] */
    float *scratch;                /* kl__dplr_bwd_scratch() floats */
};

/** Floats of scratch for chunks of at most n tokens: rows of values, the same turned into columns, sums. */
static inline size_t kl__dplr_bwd_scratch(int n, ptrdiff_t ld, int n_slab)
{
    size_t rows = (size_t)(n + KL_SLAB - 1) / KL_SLAB * KL_SLAB;
    return 7 * rows * (size_t)n_slab * KL_SLAB + (size_t)ld * KL_SLAB;
}

/** Backward of kl__dplr_slabs_fn, as kl__kda_slabs_bwd_fn:
 *      dy_i = - au_i^T D - sum_{r>=i} Aqa_ri do_r - sum_{r>i} Aba_ri dy_r
 *      dv_i =   ku_i^T D + sum_{r>=i} Aqk_ri do_r + sum_{r>i} Abk_ri dy_r
 *      D   <- diag(gamma) D + sum_r (qd_r do_r^T + bd_r dy_r^T) */
typedef void kl__dplr_slabs_bwd_fn(float *D, struct kl__dplr_chunk_bwd *out, float *dv, ptrdiff_t lddv, const float *S,
                                   const struct kl__dplr_chunk *c, const float *y, ptrdiff_t ldy, const float *v,
                                   ptrdiff_t ldv, const float *d_o, ptrdiff_t lddo, int n_slab);

/** Backward of kl__dplr_prep_fn: assigns out->dq dk da db dg. */
typedef void kl__dplr_prep_bwd_fn(struct kl__dplr_chunk_bwd *out, const struct kl__dplr_chunk *c,
                                  const struct kl__dplr_rows *x, float scale);

#endif
