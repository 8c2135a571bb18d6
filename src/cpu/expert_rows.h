/** Which token goes to which expert.  A pair is one choice of one token, t * topk + j; a row is a pair's place in the
 *  order by expert (and by pair within an expert), so that an expert's tokens lie side by side. */
#ifndef KL_CPU_EXPERT_ROWS_H
#define KL_CPU_EXPERT_ROWS_H

#include "base/memory.h"
#include "ops/backend.h"

struct kl__expert_rows {
    int64_t n_token, topk, n_expert, n_pair;
    int64_t *start; /* [n_expert + 1]: rows start[e] .. start[e+1]-1 are those of expert e */
    int64_t *pair;  /* [n_pair]: of a row */
    int64_t *row;   /* [n_pair]: of a pair */
};

/** Takes the memory for id [T][topk] and n_expert experts; kl__sort_expert_rows then fills it. */
struct kl__expert_rows kl__carve_expert_rows(struct kl__carver *c, kl_tensor id, int64_t n_expert);
/** Counting sort.  Every id is in 0 .. n_expert-1. */
void kl__sort_expert_rows(const struct kl__expert_rows *rows, kl_tensor id);

/** to[row] = x[token of the row] for x [T][D]; to [n_pair][D] has x's element type. */
void kl__gather_expert_rows(const kl_backend *be, const struct kl__expert_rows *rows, void *to, kl_tensor x);
/** The same for n rows from `first` on; to [n][D].  On the calling thread. */
void kl__gather_some_rows(const struct kl__expert_rows *rows, void *to, kl_tensor x, int64_t first, int64_t n);
/** y_t = sum_j weight_tj from[row of (t, j)], or with `add` y_t +=, in the order of j.  y [T][D] f32; from [n_pair][D];
 *  weight [T][topk] f32, absent: ones. */
void kl__combine_expert_rows(const kl_backend *be, const struct kl__expert_rows *rows, kl_tensor y, const float *from,
                             kl_tensor weight, bool add);

#endif
