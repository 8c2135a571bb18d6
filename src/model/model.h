/** A model that is open: its files, its network. */
#ifndef KL_MODEL_MODEL_H
#define KL_MODEL_MODEL_H

#include "model/net.h"
#include "model/weights.h"

struct kl_model {
    const kl_allocator *alloc; /* NULL, or &alloc_copy */
    kl_allocator alloc_copy;
    struct kl__store *store;
    struct kl__net net;
    struct kl__bound bound;
    void *packed; /* packed matrices; NULL: none */
    size_t packed_bytes;
    uint8_t fingerprint[16];
};

#endif
