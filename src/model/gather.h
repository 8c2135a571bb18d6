/** Numbers of stored tensors in another arrangement: stacked, cut out, split, turned. */
#ifndef KL_MODEL_GATHER_H
#define KL_MODEL_GATHER_H

#include "format/store.h"
#include "model/stream.h"

enum kl__gather_kind {
    KL__GATHER_PLAIN,  /* a as it is */
    KL__GATHER_STACK,  /* each[0], each[1], .. one behind the other, n_each elements of each */
    KL__GATHER_SLICE,  /* n_each elements of a, from index * n_each on */
    KL__GATHER_KEYS,   /* [H][R][DN] out of a = kv_b [H][DN + DV][R]: turned */
    KL__GATHER_VALUES, /* [H][DV][R] out of a = kv_b */
    KL__GATHER_KV_B,   /* kv_b out of a = keys and b = values */
};

struct kl__gather {
    enum kl__gather_kind kind;
    bool raw; /* elements of their own type, of which each is a block; else f32 */
    const struct kl__stored *a, *b;
    const struct kl__stored *const *each;
    int64_t n_each, index;
    int64_t n_nope, n_value, rank; /* DN, DV, R */
};

/** A source that reads by `g`, which it borrows. */
struct kl__source kl__gather_source(const struct kl__gather *g);

#endif
