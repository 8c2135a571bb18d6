/** Inputs of a chunk of kl_dplr as kernels want them; see kda_stage.h. */
#ifndef KL_CPU_DPLR_STAGE_H
#define KL_CPU_DPLR_STAGE_H

#include "base/memory.h"
#include "cpu/kernels/kernels.h"

struct kl__dplr_shape {
    int64_t T, H, K, V, n_seq;
    ptrdiff_t ld;
    int chunk;
    float scale;
    bool in_place; /* rows may be used where they lie; else they are copied */
};

struct kl__dplr_stage {
    struct kl__dplr_rows rows; /* the tensors' own rows where they can be, else those below */
    float *q, *k, *a, *b;      /* [chunk][ld] */
    float *alpha;              /* [chunk][ld] */
    struct kl__dplr_chunk chunk;
};

struct kl__dplr_shape kl__dplr_shape(const kl_dplr_args *a);
void kl__dplr_stage_carve(struct kl__carver *c, const struct kl__dplr_shape *s, struct kl__dplr_stage *stage);
/** Tokens t0 .. t0+n-1 of `head`: fills rows and chunk.n. */
void kl__dplr_stage_rows(const struct kl__kernels *k, const kl_dplr_args *a, const struct kl__dplr_shape *s,
                         struct kl__dplr_stage *stage, int64_t t0, int n, int64_t head);
/** The same, then the rest of the chunk. */
void kl__dplr_stage_chunk(const struct kl__kernels *k, const kl_dplr_args *a, const struct kl__dplr_shape *s,
                          struct kl__dplr_stage *stage, int64_t t0, int n, int64_t head);

#endif
