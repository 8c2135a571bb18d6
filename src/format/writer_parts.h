/** A file being written, as its format sees it. */
#ifndef KL_FORMAT_WRITER_PARTS_H
#define KL_FORMAT_WRITER_PARTS_H

#include "base/file.h"
#include "format/format.h"
#include "format/writer.h"

/** Bytes that grow.  After a failed put, `failed` is set and everything else does nothing: asked once at the end. */
struct kl__buffer {
    const kl_allocator *alloc;
    char *data;
    size_t bytes, room;
    bool failed;
};
void kl__buffer_put(struct kl__buffer *b, const void *data, size_t bytes);
void kl__buffer_put_text(struct kl__buffer *b, const char *text);
/** The text as a JSON string: what has to be escaped is, everything else stands as it is. */
void kl__buffer_put_json(struct kl__buffer *b, struct kl__str text);
void kl__buffer_free(struct kl__buffer *b);

struct kl__written {
    struct kl__stored t; /* name, type, shape, bytes */
    uint64_t at;         /* where it begins in the file: set by lay_out */
    size_t done;         /* bytes that were appended */
};

struct kl__writer {
    const kl_allocator *alloc;
    const struct kl__format *format;
    char *path;
    struct kl__out *out;
    struct kl__buffer keys;   /* struct kl__str, to find duplicates */
    struct kl__buffer meta;   /* in the form that the format gives it */
    struct kl__buffer tensor; /* struct kl__written */
    struct kl__buffer header; /* made by lay_out: all bytes in front of the tensors */
    int64_t n_meta, n_tensor;
    uint64_t alignment; /* of tensors, where the format has a say */
    uint64_t end;       /* bytes of the file: set by lay_out */
    bool begun;
};

static inline struct kl__written *kl__written(const struct kl__writer *w, int64_t i)
{
    return (struct kl__written *)(void *)w->tensor.data + i;
}

/** Fails with a sentence that begins with the file. */
kl_status kl__writer_fail(const struct kl__writer *w, kl_error *err, kl_status status, const char *what,
                          struct kl__str name, const char *why);

#endif
