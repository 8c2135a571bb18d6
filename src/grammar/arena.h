/** Memory for a parse: taken piece by piece, given back as a whole. */
#ifndef KL_GRAMMAR_ARENA_H
#define KL_GRAMMAR_ARENA_H

#include "base/memory.h"

struct kl__arena {
    const kl_allocator *alloc;
    struct kl__block *block; /* the newest */
    size_t used, taken;      /* of the newest; of all together */
};

/** Zeroed; NULL: no memory, or more than 64 MB in all. */
void *kl__arena_take(struct kl__arena *a, size_t bytes);
void kl__arena_close(struct kl__arena *a);

#endif
