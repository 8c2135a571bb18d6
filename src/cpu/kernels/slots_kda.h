/** Contracts of the leaf loops of the delta-rule family: one chunk of one head at a time.  The maths: docs/kda.md.
 *
 *  A chunk is n <= KL_CHUNK_MAX tokens.  Rows of K channels lie `ld` apart (a multiple of 16, >= K) with zeros from K
 *  to ld; arrays are 64-byte aligned.  Arrays over the n tokens of a chunk have room for n rounded up to KL_ROWS rows:
 *  kernels work on whole tiles of tokens and may read, never use, the rows past n.
 *  The state of a head is cut into slabs of KL_SLAB value columns, each a dense [K][KL_SLAB] block: matrix products
 *  then run on 8 KiB that stay in the first-level cache, and lanes are columns. */
#ifndef KL_CPU_SLOTS_KDA_H
#define KL_CPU_SLOTS_KDA_H

#include "cpu/kernels/ahead.h"

#include "klinear/kl_ops.h"

#include <stddef.h>

enum {
    KL_SLAB = 16,      /* value columns of a slab */
    KL_CHUNK_MAX = 64, /* tokens of a chunk */
    KL_HEAD_MAX = 4096, /* channels of a head */
    KL_ROWS = 8,       /* rows that arrays over tokens are padded to */
};

/** What a chunk needs besides its values and the state; gamma_r is the decay from the chunk's start through token r,
 *  gamma_{i->r} the decay over tokens i+1 .. r.  Everything is a product of decays, so nothing overflows. */
struct kl__kda_chunk {
    int n;        /* tokens */
    int K;        /* channels */
    ptrdiff_t ld; /* floats between rows of kd, qd, ku, a multiple of 16 */
    float *kd;    /* [n][ld] gamma_r . k_r: what reads the incoming state for the error */
    float *qd;    /* [n][ld] scale gamma_r . q_r: what reads it for the output */
    float *ku;    /* [n][ld] gamma_{i->n} . k_i: what writes the outgoing state */
    float *A;     /* [n][KL_CHUNK_MAX] k_r . (gamma_{i->r} . k_i) for i < r; other entries undefined */
    float *P;     /* [n][KL_CHUNK_MAX] scale q_r . (gamma_{i->r} . k_i) for i <= r; other entries undefined */
    float *gamma; /* [ld] gamma_n; 1 from K to ld */
    float *beta;  /* [n] write strengths */
    struct kl__ahead *ahead; /* what to fetch meanwhile, or NULL */
};

/** Fills c->kd qd ku A P gamma from n rows of q (ldq apart) and k (ldk apart), each of ld floats with zeros behind K,
 *  and the decays alpha [n][ld] (in [0,1], 1 from K to ld).  c->n, K, ld and c->beta are set by the caller.  The arrays
 *  overlap nothing; q and k need no alignment. */
typedef void kl__kda_prep_fn(struct kl__kda_chunk *c, const float *q, ptrdiff_t ldq, const float *k, ptrdiff_t ldk,
                             const float *alpha, float scale);

/** Runs the chunk on `n_slab` consecutive slabs S [n_slab][K][KL_SLAB], in place:
 *      e_r = v_r - S^T kd_r - sum_{i<r} A_ri u_i,   u_r = beta_r e_r      (rule ADD: e_r = v_r)
 *      o_r = S^T qd_r + sum_{i<=r} P_ri u_i
 *      S  <- diag(gamma) S + sum_i ku_i u_i^T
 *  v [n] rows of n_slab * KL_SLAB values, ldv apart; o likewise, or NULL when only the state is wanted;
 *  e [n] rows, lde apart, or NULL: receives e.  A token's row depends on no later token, NaN or not. */
typedef void kl__kda_slabs_fn(float *S, float *o, ptrdiff_t ldo, float *e, ptrdiff_t lde,
                              const struct kl__kda_chunk *c, const float *v, ptrdiff_t ldv, int n_slab, kl_rule rule);

/** The same with the operands of the three products with the state (kd, qd, ku, u, S) rounded to 16 bits: bf16, or
 *  integers scaled row by row and column by column (plain C rounds nothing).  Sums are f32 or better.  No finite input
 *  makes it overflow.
 *  squares [n_slab * KL_SLAB] goes along with the state: the squares of the columns' norms, or a negative number in the
 *  first column of every two slabs, where they are not known yet; what comes back is a function of the S that comes
 *  back. */
typedef void kl__kda_slabs_half_fn(float *S, float *squares, float *o, ptrdiff_t ldo, float *e, ptrdiff_t lde,
                                   const struct kl__kda_chunk *c, const float *v, ptrdiff_t ldv, int n_slab,
                                   kl_rule rule);

/** One token, one head, state in rows S [K][V] (64-byte alignment is not needed), in place:
 *      S <- diag(alpha) S;   u = beta (v - S^T k)  (ADD: beta v);   S <- S + k u^T;   o = scale S^T q
 *  o, v [V]; q, k, alpha [K], K <= KL_HEAD_MAX; o overlaps nothing. */
typedef void kl__kda_step_fn(float *o, float *S, const float *q, const float *k, const float *v, const float *alpha,
                             float beta, float scale, int64_t K, int64_t V, kl_rule rule);
/** The same on a state S [V][K]. */
typedef void kl__kda_step_vk_fn(float *o, float *S, const float *q, const float *k, const float *v, const float *alpha,
                                float beta, float scale, int64_t K, int64_t V, kl_rule rule);

/** Decays of one row of n channels, alpha = exp(g) with g by `gate` (kl_ops.h) from x and the bias (NULL: 0);
 *  rate = exp(A_log).  lower_bound for KL_GATE_BOUNDED only.  alpha may be x. */
typedef void kl__decay_row_fn(float *alpha, const float *x, const float *bias, int64_t n, kl_gate gate, float rate,
                              float lower_bound);

#endif
