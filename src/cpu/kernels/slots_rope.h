/** Contracts of the leaf loops of rotary position embedding.  n >= 0 pairs. */
#ifndef KL_CPU_SLOTS_ROPE_H
#define KL_CPU_SLOTS_ROPE_H

#include <stdint.h>

/** cosine[i] and sine[i] of the angle position * frequency[i], taken in f64; |angle| < 2^32. */
typedef void kl__rope_angles_fn(float *cosine, float *sine, const double *frequency, double position, int64_t n);

/** Turns the pair (x, y) of index i: x' = x cos - y sin, y' = x sin + y cos.  v [2n], in place.
 *  halves: (v[i], v[n + i]);  pairs: (v[2i], v[2i + 1]).   Source: arXiv:2104.09864. */
typedef void kl__rope_halves_fn(float *v, const float *cosine, const float *sine, int64_t n);
typedef void kl__rope_pairs_fn(float *v, const float *cosine, const float *sine, int64_t n);

#endif
