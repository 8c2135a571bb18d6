/** The store: named tensors and metadata out of model files, whatever their format.
 *
 *  A store is read-only and may be shared between threads.  Tensors and texts point into the mapped files and live as
 *  long as the store.  Opening reads headers only, checks all of them, and costs memory in proportion to the headers;
 *  numbers are read from the disk when they are touched.
 *
 *  Files are hostile: every length, offset and count is checked against the size of the file, which is asked for once,
 *  before it is used or memory is taken for it.  A file that breaks a rule of its format is refused with a sentence
 *  that names file, field, what was found and what was expected.  [T: unit/gguf, unit/safetensors, unit/store]
 *
 *  A model file must not change while it is open.  If somebody cuts it short, touching a page that is gone ends the
 *  process with SIGBUS, never with zeros in place of weights.  Replacing the file under its name does no harm. */
#ifndef KL_FORMAT_STORE_H
#define KL_FORMAT_STORE_H

#include "base/file.h"
#include "format/meta.h"
#include "tensor/quant/quant.h"

enum {
    KL__STORE_DIMS = 6,     /* most dimensions of a tensor */
    KL__STORE_FILES = 4096, /* most files of a model */
};

/** A tensor in a file. */
struct kl__stored {
    struct kl__str name;
    const void *data; /* whole rows of blocks, at any address: read with kl__decode() */
    size_t bytes;
    int64_t dim[KL__STORE_DIMS]; /* dim[0 .. n_dim-1], outermost first whatever the format; a row is dim[n_dim-1] */
    int n_dim;                   /* 0: one number */
    int file;                    /* index in kl__store.file */
    enum kl__type type;
};

struct kl__store_file {
    char *path;
    struct kl__map map;
    bool borrowed; /* the bytes are somebody else's */
    char *names;   /* names of tensors that do not stand in the file as they are; or NULL */
};

/** Fields are for reading. */
struct kl__store {
    const kl_allocator *alloc;
    const char *format;           /* "gguf", "safetensors" */
    struct kl__stored *tensor;    /* [n_tensor], in the order of the files */
    int64_t n_tensor, n_reserved; /* n_reserved: room in `tensor` */
    struct kl__meta_table meta;   /* of the first file */
    struct kl__store_file *file;  /* [n_file] */
    int n_file;
    struct kl__names names; /* of tensors */
    char *given;            /* names that kl__store_replace() gave, or NULL */
};

/** Opens `path`: a GGUF file (the first part of a split one opens them all), a safetensors file, or a directory that
 *  holds model.safetensors or model.safetensors.index.json.  The caller closes the store.
 *  Errors: KL_ERR_IO, KL_ERR_FORMAT (a rule is broken), KL_ERR_UNSUPPORTED (a version, a type, a limit),
 *  KL_ERR_MEMORY. */
kl_status kl__store_open(struct kl__store **store, const char *path, const kl_allocator *alloc, kl_error *err);
/** Opens a file that is in memory already, called `path` in sentences.  The bytes must outlive the store. */
kl_status kl__store_open_bytes(struct kl__store **store, const char *path, const void *data, size_t bytes,
                               const kl_allocator *alloc, kl_error *err);
/** NULL is allowed. */
void kl__store_close(struct kl__store *store);

/** Lets the process's memory go of what has been read of `bytes` from `data` on: kl__map_forget(). */
void kl__store_forget(const struct kl__store *store, const void *data, size_t bytes);

/** Which file `data` points into, and at which of its bytes; false: none. */
bool kl__store_place(const struct kl__store *store, const void *data, int *file, uint64_t *at);

/** Refuses a path to write to that is one of the store's files: what is lost there does not come back.
 *  Errors: KL_ERR_ARGUMENT. */
kl_status kl__store_check_output(const struct kl__store *store, const char *path, kl_error *err);

/** The tensor of this name, or NULL.  Constant time. */
const struct kl__stored *kl__store_find(const struct kl__store *store, const char *name);
/** The tensor of this name and shape.  Dimensions of 1 do not count, on either side, so that [4096][1][4] is [4096][4].
 *  Errors: KL_ERR_FORMAT when it is missing, KL_ERR_SHAPE with both shapes. */
kl_status kl__store_need(const struct kl__stored **tensor, const struct kl__store *store, const char *name, int n_dim,
                         const int64_t *dim, kl_error *err);
/** Elements of a tensor; the reader has made sure that they can be counted. */
int64_t kl__stored_elements(const struct kl__stored *t);

/** Values of keys.  Errors: KL_ERR_FORMAT, when the key is missing or its value has another type. */
kl_status kl__store_int(int64_t *value, const struct kl__store *store, const char *key, kl_error *err);
kl_status kl__store_number(double *value, const struct kl__store *store, const char *key, kl_error *err);
kl_status kl__store_bool(bool *value, const struct kl__store *store, const char *key, kl_error *err);
kl_status kl__store_string(struct kl__str *value, const struct kl__store *store, const char *key, kl_error *err);
/** An array with elements of this type (KL__META_STRING), or of any integer type (KL__META_I64). */
kl_status kl__store_array(const struct kl__meta **array, const struct kl__store *store, const char *key,
                          enum kl__meta_type element, kl_error *err);

#endif
