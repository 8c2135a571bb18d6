/** Pieces of files, read by a few threads of their own, past the kernel's cache where the file system can do that: what
 *  is read once does not push out what is read often, and no page of it counts as anybody's memory but the reader's
 *  target.  A file that shrinks or a disk that fails gives a sentence, never a signal.   [T: unit/reader] */
#ifndef KL_BASE_READER_H
#define KL_BASE_READER_H

#include "base/file.h"

enum {
    KL__READ_ALIGN = 4096, /* of targets, and of what reaches the disk */
};

struct kl__reader;

/** One piece.  Lives with who asked, unchanged until it is done. */
struct kl__read {
    int file;    /* as kl__reader_add() said */
    uint64_t at; /* first byte wanted */
    size_t bytes;
    char *room; /* kl__read_room(bytes) bytes, aligned to KL__READ_ALIGN */
    /* the reader's */
    enum { KL__READ_IDLE, KL__READ_WAITING, KL__READ_DONE, KL__READ_FAILED } state;
    int code;      /* of a failure: errno, 0: the file ended */
    struct kl__read *next;
};

/** Bytes to lend for a piece, wherever in its file it lies. */
static inline size_t kl__read_room(size_t bytes)
{
    return (bytes + 2 * KL__READ_ALIGN - 1) / KL__READ_ALIGN * KL__READ_ALIGN;
}
/** Where the first wanted byte lies when the piece has been read. */
static inline char *kl__read_data(const struct kl__read *r)
{
    return r->room + r->at % KL__READ_ALIGN;
}

/** `n_thread` threads, 1 .. 64; most they do is wait.  Errors: KL_ERR_MEMORY, KL_ERR_IO (a thread). */
kl_status kl__reader_open(struct kl__reader **reader, int n_thread, const kl_allocator *alloc, kl_error *err);
/** After everything has been awaited.  NULL is allowed. */
void kl__reader_close(struct kl__reader *reader);
/** Adds the file that `map` is of; files are counted from 0.  `path` is borrowed.
 *  Errors: KL_ERR_IO (it cannot be opened, or has been replaced by another file meanwhile), KL_ERR_MEMORY. */
kl_status kl__reader_add(struct kl__reader *reader, const char *path, const struct kl__map *map, kl_error *err);
/** Queues a piece; pieces are begun in that order. */
void kl__reader_start(struct kl__reader *reader, struct kl__read *read);
/** Waits until all of `n` pieces are done, those that failed included, of which the first gives the sentence.
 *  Errors: KL_ERR_IO. */
kl_status kl__reader_await(struct kl__reader *reader, struct kl__read *const *read, int64_t n, kl_error *err);
/** Reads a large piece by all threads together; room as for one piece.  Errors: KL_ERR_IO. */
kl_status kl__reader_whole(struct kl__reader *reader, const struct kl__read *piece, kl_error *err);

#endif
