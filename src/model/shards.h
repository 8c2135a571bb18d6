/** A model in Hugging Face layout being written: files of bounded size, and the index that says which tensor is
 *  where. */
#ifndef KL_MODEL_SHARDS_H
#define KL_MODEL_SHARDS_H

#include "base/folder.h"
#include "model/hf_tensors.h"
#include "model/stream.h"

/** Files of a model. */
struct kl__shards {
    const struct kl__hf_tensor *tensor; /* [n_tensor] */
    int64_t n_tensor;
    int64_t most_bytes; /* of tensors in a file, unless one alone has more */
    int n_file;
    int64_t total_bytes, n_parameter;
};

/** Cuts the list into files.  Errors: KL_ERR_UNSUPPORTED (more files than a store opens). */
kl_status kl__shards_plan(struct kl__shards *s, const struct kl__hf_tensor *tensor, int64_t n_tensor,
                          int64_t most_bytes, kl_error *err);
/** Tensors of file `i`: first .. first + n - 1. */
void kl__shards_file(const struct kl__shards *s, int i, int64_t *first, int64_t *n);
/** "model-00001-of-00020.safetensors", or "model.safetensors" for a single file. */
struct kl__shard_name {
    char text[64];
};
struct kl__shard_name kl__shard_name(const struct kl__shards *s, int i);
/** Writes model.safetensors.index.json, where there is more than one file. */
kl_status kl__shards_write_index(const struct kl__shards *s, struct kl__folder *folder, const kl_allocator *alloc,
                                 kl_error *err);

#endif
