/** Inputs of a chunk of kl_kda as kernels want them: f32 rows of one value head, decays and write strengths applied,
 *  and the part of the chunk that does not depend on the state.  Forward and backward begin with it. */
#ifndef KL_CPU_KDA_STAGE_H
#define KL_CPU_KDA_STAGE_H

#include "base/memory.h"
#include "cpu/kernels/kernels.h"

struct kl__kda_shape {
    int64_t T, H, HV, K, V, n_seq;
    ptrdiff_t ld; /* floats of a staged row of K channels */
    int chunk;
    float scale;
    bool in_place; /* q and k may be used where they lie, rows ldq and ldk apart; else they are staged, ld apart */
};

struct kl__kda_stage {
    const float *q, *k; /* rows of a chunk after the L2 norm: the tensors' own where they can be, else q_rows, k_rows */
    ptrdiff_t ldq, ldk;
    float *q_rows, *k_rows; /* [chunk][ld] */
    float *alpha;           /* [chunk][ld] */
    float *raw;             /* [ld] one row of a bf16 gate */
    struct kl__kda_chunk chunk;
};

struct kl__kda_shape kl__kda_shape(const kl_kda_args *a);

/** Carves the arrays of a stage; the same calls measure (see base/memory.h). */
void kl__kda_stage_carve(struct kl__carver *c, const struct kl__kda_shape *s, struct kl__kda_stage *stage);

/** Tokens t0 .. t0+n-1 (n <= chunk) of value head `head`: fills q, k, alpha, chunk.beta, chunk.n. */
void kl__kda_stage_rows(const struct kl__kernels *k, const kl_kda_args *a, const struct kl__kda_shape *s,
                        struct kl__kda_stage *stage, int64_t t0, int n, int64_t head);

/** The same, then chunk.kd qd ku A P gamma. */
void kl__kda_stage_chunk(const struct kl__kernels *k, const kl_kda_args *a, const struct kl__kda_shape *s,
                         struct kl__kda_stage *stage, int64_t t0, int n, int64_t head);

#endif
