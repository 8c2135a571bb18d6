/** Weights of every type, as a model has them. */
#ifndef KT_BLOCKS_H
#define KT_BLOCKS_H

#include "ops/weight.h"
#include "support/kt.h"

/** The types that products take; KL__N_TYPE past the end. */
enum kl__type kt_weight_type(int i);

/** Random weights of about `scale`, `shift` bytes from an aligned address, owned by kt; n_in is whole blocks. */
struct kl__weight kt_weight(kt_rng *r, enum kl__type type, int64_t n_matrix, int64_t n_out, int64_t n_in, float scale,
                            int shift);
/** The same weights, packed for a backend where it packs them. */
struct kl__weight kt_packed(const kl_backend *be, const struct kl__weight *w);
/** The same numbers in f32: [n_matrix][n_out][n_in]. */
float *kt_decoded(const struct kl__weight *w);

#endif
