/** Writing a model file: metadata and the shapes of all tensors first, then their bytes, in any order and in pieces of
 *  any size.  The file appears under its name when it is complete, and not before (base/file.h). */
#ifndef KL_FORMAT_WRITER_H
#define KL_FORMAT_WRITER_H

#include "format/meta.h"
#include "format/store.h"

struct kl__writer;

/** Starts a file; `format` is "gguf" or "safetensors".  The caller finishes or abandons the writer.  What is there
 *  already is replaced where it is empty or of this format.
 *  Errors: KL_ERR_ARGUMENT (no such format; a file that is something else is there), KL_ERR_IO, KL_ERR_MEMORY. */
kl_status kl__writer_open(struct kl__writer **writer, const char *path, const char *format, const kl_allocator *alloc,
                          kl_error *err);

/** Adds a value to the metadata; everything is copied.  safetensors holds strings only.  In GGUF, general.alignment
 *  (a u32) is obeyed.  Errors: KL_ERR_ARGUMENT (the format does not allow the key), KL_ERR_UNSUPPORTED (the format has
 *  no such type), KL_ERR_MEMORY. */
kl_status kl__writer_meta(struct kl__writer *writer, const struct kl__meta *meta, kl_error *err);
/** Announces a tensor, outermost dimension first; tensors are numbered from 0 in the order of these calls.
 *  Errors: as above, and KL_ERR_SHAPE when the shape cannot be stored in this type. */
kl_status kl__writer_tensor(struct kl__writer *writer, const char *name, enum kl__type type, int n_dim,
                            const int64_t *dim, kl_error *err);
/** All is announced: decides where tensors go and writes the header.
 *  Errors: KL_ERR_ARGUMENT (a key or a name stands twice), KL_ERR_UNSUPPORTED (a limit of the format), KL_ERR_IO. */
kl_status kl__writer_begin(struct kl__writer *writer, kl_error *err);

/** The next bytes of tensor `i`.  Errors: KL_ERR_ARGUMENT (more than it takes), KL_ERR_IO. */
kl_status kl__writer_append(struct kl__writer *writer, int64_t i, const void *data, size_t bytes, kl_error *err);

/** Puts the file in its place and frees the writer, also on failure, when nothing is left behind.
 *  Errors: KL_ERR_ARGUMENT (a tensor is not complete), KL_ERR_IO. */
kl_status kl__writer_finish(struct kl__writer *writer, kl_error *err);
/** Gives up: frees the writer and what it wrote.  NULL is allowed. */
void kl__writer_abandon(struct kl__writer *writer);

#endif
