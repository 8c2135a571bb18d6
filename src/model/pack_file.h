/** Packed matrices in a file, so that a model that was packed once is mapped the next time.
 *
 *  A file is a header of one page and the packed matrices as they lie in memory.  Its name is the identity of what was
 *  packed: configuration, shapes, types, instruction set, and samples of every matrix; the header repeats it, with the
 *  size and the time of the model's files, a checksum of itself and samples of the data.  A file that differs in any of
 *  these is refused and made again.  What lies between the samples is trusted as a model file's own bytes are.
 *  [T: unit/pack_file] */
#ifndef KL_MODEL_PACK_FILE_H
#define KL_MODEL_PACK_FILE_H

#include "klinear/kl/base.h"

enum {
    KL__PACK_DATA_AT = 4096, /* first byte of the matrices */
};

/** What a file has to be. */
struct kl__pack_id {
    uint8_t identity[16]; /* of what was packed; also its name */
    uint8_t stamp[16];    /* sizes and times of the model's files */
    uint64_t data_bytes;
};

/** Looks at a file that is in memory: *data is where its matrices begin.
 *  Errors: KL_ERR_FORMAT (no pack, another version, foreign, stale, truncated, changed: each by name). */
kl_status kl__pack_check(const void **data, const char *path, const void *file, size_t bytes,
                         const struct kl__pack_id *want, kl_error *err);
/** Writes one; it is complete or absent.  Errors: KL_ERR_IO, KL_ERR_MEMORY. */
kl_status kl__pack_write(const char *path, const void *data, const struct kl__pack_id *id, const kl_allocator *alloc,
                         kl_error *err);
/** Makes the checksum of a header right, for tests that change one.  `bytes` at least KL__PACK_DATA_AT. */
void kl__pack_seal(void *file);

#endif
