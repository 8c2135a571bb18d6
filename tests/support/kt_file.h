/** Files for tests: a directory that goes away, bytes in and out. */
#ifndef KT_FILE_H
#define KT_FILE_H

#include "support/kt.h"

/** A path inside the test's own directory, made on first use.  Kept until kt_remove_files(). */
const char *kt_path(const char *name);
/** Writes a file; `name` as kt_path() or absolute.  Returns its path. */
const char *kt_write_file(const char *name, const void *data, size_t bytes);
/** All bytes of a file, freed by kt_free_all(). */
unsigned char *kt_read_file(const char *path, size_t *bytes);
/** Makes a directory inside the test's own one. */
const char *kt_make_directory(const char *name);
/** Entries of a directory, hidden ones included; "." and ".." do not count. */
int kt_count_files(const char *path);
/** Removes the test's directory and everything in it. */
void kt_remove_files(void);

/** Bytes to build a file from. */
struct kt_image {
    unsigned char data[1 << 16];
    size_t n;
};
void kt_put(struct kt_image *b, const void *data, size_t bytes);
void kt_put_text(struct kt_image *b, const char *text);
void kt_put_u32(struct kt_image *b, uint32_t v);
void kt_put_u64(struct kt_image *b, uint64_t v);

/** An allocator that fails its `fail_at`-th call (from 1; 0: none) and counts what is out. */
struct kt_heap {
    kl_allocator alloc;
    int64_t n_call, fail_at, n_out;
};
void kt_heap_init(struct kt_heap *h, int64_t fail_at);

#endif
