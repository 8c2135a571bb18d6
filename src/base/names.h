/** Which record has this name?  A hash table over records that somebody else holds. */
#ifndef KL_BASE_NAMES_H
#define KL_BASE_NAMES_H

#include "base/str.h"
#include "klinear/kl/base.h"

/** The records are an array of structs whose first member is the name, a struct kl__str.  Hashing is keyed with a
 *  number drawn when the table is made, so that no file can be written whose names all collide. */
struct kl__names {
    const char *record;
    size_t record_bytes;
    uint32_t *slot; /* record index + 1; 0: free */
    size_t n_slot;  /* a power of two, or 0 before kl__names_open */
    uint64_t key[2];
};

/** Room for `n_record` records, fewer than 2^31.  False: no memory. */
bool kl__names_open(struct kl__names *n, const void *record, size_t record_bytes, size_t n_record,
                    const kl_allocator *alloc);
void kl__names_close(struct kl__names *n, const kl_allocator *alloc);

/** Enters record `i`, whose name is set.  Returns i, or the earlier record that has this name already. */
size_t kl__names_add(struct kl__names *n, size_t i);
/** The record with this name, or -1. */
int64_t kl__names_find(const struct kl__names *n, struct kl__str name);

#endif
