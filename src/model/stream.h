/** Tensors on their way into a file: taken piece by piece, encoded by several threads, appended in order.  Memory is
 *  two pieces per thread. */
#ifndef KL_MODEL_STREAM_H
#define KL_MODEL_STREAM_H

#include "format/writer.h"
#include "klinear/kl/model.h"

/** x [n] <- elements first .. first + n - 1 of a tensor.  Called by several threads at once; depends on nothing but its
 *  arguments. */
typedef void kl__read_fn(void *x, const void *source, int64_t first, int64_t n);

/** Where the numbers of a tensor come from. */
struct kl__source {
    kl__read_fn *read;
    const void *self;
    int64_t unit; /* elements that are taken together: first is a multiple of it, n too except at the end; 0: any */
    bool raw;     /* `read` gives elements of the type that is written, which has one element a block; else f32 */
};

/** What encoding lost. */
struct kl__loss {
    double error, power; /* sums of squares: of what was written minus what was read, and of what was read */
};

struct kl__stream {
    struct kl__writer *writer;
    const char *path; /* of the file, for sentences */
    kl_pool *pool;
    const kl_allocator *alloc;
    kl_progress_fn *progress;
    void *user;
    int64_t done, total; /* bytes */
    struct kl__piece *piece;
    int n_piece;
    int64_t room; /* elements of a piece */
    void *memory;
};

/** A stream with the threads and the listener of `options` (may be NULL); the caller closes it. */
void kl__stream_open(struct kl__stream *s, struct kl__writer *writer, const char *path, const kl_file_options *options);
void kl__stream_close(struct kl__stream *s);

/** Writes tensor `i` of the writer, called `name`: n_element numbers from `source`, as `type`.  `loss` (may be NULL)
 *  grows by what that cost.  Errors: KL_ERR_NUMERIC (a number that the type cannot hold), KL_ERR_IO, KL_ERR_MEMORY,
 *  KL_ERR_CANCELLED. */
kl_status kl__stream_tensor(struct kl__stream *s, int64_t i, const char *name, enum kl__type type, int64_t n_element,
                            const struct kl__source *source, struct kl__loss *loss, kl_error *err);
/** Writes bytes as they are. */
kl_status kl__stream_bytes(struct kl__stream *s, int64_t i, const void *data, size_t bytes, kl_error *err);

#endif
