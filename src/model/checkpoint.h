/** The files of a model, with its tensors under the names of the release. */
#ifndef KL_MODEL_CHECKPOINT_H
#define KL_MODEL_CHECKPOINT_H

#include "format/store.h"

/** kl__store_open(), and where transformers' own port of the model has written the files, its tensors get the names of
 *  the release: experts that lie stacked in one tensor, gate above up, become tensors of their own, as do the
 *  convolutions of q, k and v.  All of them point at the bytes of the file; nothing is copied.
 *  Errors: as kl__store_open(); KL_ERR_SHAPE (a stack that cannot be taken apart), KL_ERR_FORMAT (a tensor stands in
 *  the files under both names), KL_ERR_UNSUPPORTED (a stack of block-quantised numbers).
 *  Source: docs/formats.md.   [T: model/native] */
kl_status kl__checkpoint_open(struct kl__store **store, const char *path, const kl_allocator *alloc, kl_error *err);

#endif
