/** Block formats as integers and scales, for products in integer arithmetic.
 *
 *  Number j of a block is  scale[j / group] (v[j] - offset) - low[j / group],  exactly what decoding gives: products
 *  are exact, so there is at most one rounding.   [T: unit/levels] */
#ifndef KL_TENSOR_QUANT_LEVELS_H
#define KL_TENSOR_QUANT_LEVELS_H

#include "tensor/quant/quant.h"

/** One block, in the order of its numbers. */
struct kl__levels {
    uint8_t v[256];
    float scale[16];
    float low[16]; /* set where the format has it */
};

/** Of one format.  Either `offset` is 0 or there is no `low`. */
struct kl__levels_info {
    int group;  /* numbers that share a scale: 16 or 32 */
    int offset; /* 0 .. 128 */
    bool low;
    void (*split)(struct kl__levels *to, const uint8_t *block);
};

/** NULL for types that are no block formats. */
const struct kl__levels_info *kl__levels_info(enum kl__type type);

#endif
