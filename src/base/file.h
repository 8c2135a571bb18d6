/** Files: read as they lie on the disk, written whole or not at all. */
#ifndef KL_BASE_FILE_H
#define KL_BASE_FILE_H

#include "klinear/kl/base.h"

/** A file mapped into memory, read-only. */
struct kl__map {
    const unsigned char *data; /* NULL when the file is empty */
    size_t bytes;              /* as the file was when it was opened; asked for once, so that it cannot change */
    uint64_t device, number;   /* which file it is */
    int64_t written_ns;        /* when it was written last, by the file system's clock */
};

/** Maps a regular file (or a link to one); pages are read when they are touched.  The file must keep its contents
 *  while it is mapped: if somebody cuts it short, touching what is gone ends the process with SIGBUS.
 *  Errors: KL_ERR_IO. */
kl_status kl__map_open(struct kl__map *m, const char *path, kl_error *err);
void kl__map_close(struct kl__map *m);
/** Pages of the map that lie whole in `bytes` from `data` on leave this process's memory; touched again, they come from
 *  the file.  What lies outside of the map is left alone. */
void kl__map_forget(const struct kl__map *m, const void *data, size_t bytes);

/** Opens the file again for reading by pread(): *plain through the kernel's cache, *direct past it (-1 where the file
 *  system cannot).  The caller closes both.  Errors: KL_ERR_IO (another file has taken its name meanwhile, too). */
kl_status kl__map_again(const struct kl__map *m, const char *path, int *plain, int *direct, kl_error *err);

/** A file being written: invisible under its name until it is complete. */
struct kl__out;

/** Starts a file that will be `path`.  Where the file system can, the file has no name until the end, and the kernel
 *  removes it if the process dies; elsewhere it is a hidden neighbour of `path`.
 *  Errors: KL_ERR_IO (also when `path` exists and is no regular file), KL_ERR_MEMORY. */
kl_status kl__out_open(struct kl__out **out, const char *path, const kl_allocator *alloc, kl_error *err);
/** The same, always with a hidden neighbour. */
kl_status kl__out_open_beside(struct kl__out **out, const char *path, const kl_allocator *alloc, kl_error *err);
/** Writes bytes from offset `at` on; in any order, what is never written reads as zero. */
kl_status kl__out_write(struct kl__out *out, uint64_t at, const void *data, size_t bytes, kl_error *err);
/** Sets the size, flushes to the disk and gives the file its name, replacing what was there.  Frees `out`; on failure
 *  `path` is as it was before. */
kl_status kl__out_commit(struct kl__out *out, uint64_t bytes, kl_error *err);
/** Removes what was written.  NULL is allowed. */
void kl__out_abandon(struct kl__out *out);

#endif
