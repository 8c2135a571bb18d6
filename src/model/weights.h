/** Parameters out of a store: matrices stay where they lie in the file, small ones become f32. */
#ifndef KL_MODEL_WEIGHTS_H
#define KL_MODEL_WEIGHTS_H

#include "format/store.h"
#include "model/net.h"

/** Memory that binding takes: converted parameters, and lists of experts that lie apart. */
struct kl__bound {
    void *memory;
    size_t bytes;
};

/** Finds every parameter of `net` (whose configuration is set) in the store, checks its shape, and fills `net->top` and
 *  `net->layer` [n_layer].  The store must outlive the network.  The caller releases bound->memory.
 *  `path` begins the sentences.
 *  Errors: KL_ERR_FORMAT (a tensor is missing, a number is not allowed), KL_ERR_SHAPE, KL_ERR_UNSUPPORTED (a type that
 *  cannot be decoded), KL_ERR_MEMORY.   [T: unit/weights] */
kl_status kl__weights_bind(struct kl__net *net, struct kl__bound *bound, const struct kl__store *store,
                           const kl_allocator *alloc, kl_error *err);

#endif
