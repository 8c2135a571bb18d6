/** Memory of handles, through the allocator that the user gave; and carving of workspaces that the user lent. */
#ifndef KL_BASE_MEMORY_H
#define KL_BASE_MEMORY_H

#include "klinear/kl/base.h"

#define KL_ALIGN 64

/** Zeroed memory aligned to KL_ALIGN, or NULL.  `alloc` NULL: the C library. */
void *kl__alloc(const kl_allocator *alloc, size_t bytes);
/** The same, but not zeroed, for much memory that is gone through from end to end: in large pages where the system has
 *  them.  What the threads that fill it touch first is taken by them. */
void *kl__alloc_large(const kl_allocator *alloc, size_t bytes);
void kl__release(const kl_allocator *alloc, void *memory);

/** A cursor over a workspace.  With base NULL it only counts, so that one function both measures and carves:
 *  the size it has seen in the end is what has to be lent.  Sums saturate at SIZE_MAX instead of wrapping. */
struct kl__carver {
    char *base;   /* NULL: count only */
    size_t bytes; /* given out so far, padding included */
};

/** Starts carving `work` at its first KL_ALIGN-aligned byte.  Ask kl__carver_need() for the bytes to demand. */
struct kl__carver kl__carver(kl_workspace work);
/** `count` items of `item_bytes`, aligned to KL_ALIGN; NULL while counting. */
void *kl__carve(struct kl__carver *c, size_t count, size_t item_bytes);
/** Bytes a caller has to lend so that carving fits whatever the alignment of its memory. */
size_t kl__carver_need(const struct kl__carver *c);

#endif
