/** klinear's ground: statuses, errors, tensors, memory, threads, and the backend that computes.
 *
 *  Manners of the library, valid for every function of all headers:
 *    - it never prints, never exits, never installs a signal handler and keeps no mutable global;
 *    - what can fail returns a kl_status and, when `err` is not NULL, writes one sentence that names the argument,
 *      what was found and what was expected; outputs are untouched on error unless the function says otherwise;
 *    - structs of arguments are read, never kept; a zero-filled field means "absent" or "the default";
 *    - a view borrows: the memory behind a kl_tensor belongs to the caller and must outlive the call. */
#ifndef KLINEAR_KL_BASE_H
#define KLINEAR_KL_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(KL_STATIC)
#define KL_API
#else
#define KL_API __attribute__((visibility("default")))
#endif

#define KL_VERSION_MAJOR 0
#define KL_VERSION_MINOR 1
#define KL_VERSION_PATCH 0

/** The version of the library that is loaded, as "0.1.0".  Static storage. */
KL_API const char *kl_version(void);

/* ------------------------------------------------------------------------------------------------------ statuses -- */

/** Every status with its sentence: one list makes the enum and the texts. */
#define KL_STATUSES(X)                                                                                                 \
    X(OK, "no error")                                                                                                  \
    X(ERR_MEMORY, "out of memory")                                                                                     \
    X(ERR_IO, "the system refused a file or a thread")                                                                 \
    X(ERR_FORMAT, "a file is not what it claims to be")                                                                \
    X(ERR_ARGUMENT, "an argument has a value that is not allowed")                                                     \
    X(ERR_SHAPE, "tensor shapes do not fit together")                                                                  \
    X(ERR_DTYPE, "a tensor has an element type that is not accepted here")                                             \
    X(ERR_OVERLAP, "an output overlaps another tensor")                                                                \
    X(ERR_WORKSPACE, "the workspace is missing or too small")                                                          \
    X(ERR_UNSUPPORTED, "not available on this backend")                                                                \
    X(ERR_NUMERIC, "a number is not finite where it has to be")                                                        \
    X(ERR_CANCELLED, "the caller asked to stop")

typedef enum kl_status {
#define KL_X(name, text) KL_##name,
    KL_STATUSES(KL_X)
#undef KL_X
} kl_status;

/** "KL_ERR_SHAPE" for KL_ERR_SHAPE; "KL_?" for a value that is no status.  Static storage. */
KL_API const char *kl_status_name(kl_status status);
/** The sentence of KL_STATUSES for `status`.  Static storage. */
KL_API const char *kl_status_text(kl_status status);

/** What went wrong, for people.  The caller owns it; a failing call fills it, a succeeding one leaves it alone. */
typedef struct kl_error {
    kl_status status;
    char text[240]; /* zero-terminated; cut with "..." when longer */
} kl_error;

/* ------------------------------------------------------------------------------------------------------- tensors -- */

typedef enum kl_dtype {
    KL_F32 = 0,
    KL_BF16 = 1,
    KL_F16 = 2,
    KL_I32 = 3,
    /** Only where it is said so: bytes of blocks.  A row of n numbers, n a multiple of 32, is n / 32 * 34 of these
     *  elements: for each 32 numbers a scale in f16 and 32 integers of 8 bits, little-endian. */
    KL_Q8_0 = 4,
} kl_dtype;

/** Bytes of one element; 0 for a value that is no dtype. */
KL_API size_t kl_dtype_bytes(kl_dtype dtype);
/** "f32", "bf16", "f16", "i32", "q8_0"; "?" for a value that is no dtype.  Static storage. */
KL_API const char *kl_dtype_name(kl_dtype dtype);

/** A view of numbers in memory; owns nothing.  Row-major, outermost dimension first.  Everything inside one entry
 *  of dim[0] is dense; entries of dim[0] may lie further apart (`pitch`), so that a slice of a wider row, or q, k
 *  and v inside one fused projection, are views as well.  n_dim == 0 means "absent". */
typedef struct kl_tensor {
    void *data;     /* aligned to its element; reading through an input view never writes */
    int64_t dim[4]; /* dim[0 .. n_dim-1], each >= 0 */
    int64_t pitch;  /* elements from one entry of dim[0] to the next; 0: dense */
    kl_dtype dtype;
    int n_dim; /* 0..4 */
} kl_tensor;

static inline kl_tensor kl_view(void *data, kl_dtype dtype, int n_dim, int64_t d0, int64_t d1, int64_t d2, int64_t d3)
{
    kl_tensor t;
    t.data = data;
    t.dim[0] = d0;
    t.dim[1] = d1;
    t.dim[2] = d2;
    t.dim[3] = d3;
    t.pitch = 0;
    t.dtype = dtype;
    t.n_dim = n_dim;
    return t;
}
static inline kl_tensor kl_view1(void *data, kl_dtype dtype, int64_t d0)
{
    return kl_view(data, dtype, 1, d0, 0, 0, 0);
}
static inline kl_tensor kl_view2(void *data, kl_dtype dtype, int64_t d0, int64_t d1)
{
    return kl_view(data, dtype, 2, d0, d1, 0, 0);
}
static inline kl_tensor kl_view3(void *data, kl_dtype dtype, int64_t d0, int64_t d1, int64_t d2)
{
    return kl_view(data, dtype, 3, d0, d1, d2, 0);
}
static inline kl_tensor kl_view4(void *data, kl_dtype dtype, int64_t d0, int64_t d1, int64_t d2, int64_t d3)
{
    return kl_view(data, dtype, 4, d0, d1, d2, d3);
}

/** Scratch memory that the caller lends to one call.  Any alignment; contents are undefined afterwards. */
typedef struct kl_workspace {
    void *data;
    size_t bytes;
} kl_workspace;

/* -------------------------------------------------------------------------------------------------------- memory -- */

/** Where handles get their memory from.  NULL anywhere an allocator is asked for: the C library's.
 *  `alloc` returns memory aligned to 64 bytes or NULL; it must be callable from several threads. */
typedef struct kl_allocator {
    void *(*alloc)(void *user, size_t bytes);
    void (*release)(void *user, void *memory);
    void *user;
} kl_allocator;

/* ------------------------------------------------------------------------------------------------------- threads -- */

/** Threads that operators share.  A pool runs one operator at a time; calls from several threads take turns. */
typedef struct kl_pool kl_pool;

/** Opens a pool of `n_thread` threads, the calling one included (so 1 starts none; 0: one per available core).
 *  `alloc` may be NULL.  The caller closes it after every backend that uses it.
 *  Errors: KL_ERR_ARGUMENT (n_thread < 0 or > 1024), KL_ERR_MEMORY, KL_ERR_IO (no thread could be started). */
KL_API kl_status kl_pool_open(kl_pool **pool, int n_thread, const kl_allocator *alloc, kl_error *err);
/** Stops the threads and frees the pool.  NULL is allowed. */
KL_API void kl_pool_close(kl_pool *pool);
/** Threads in the pool, the calling one included; 1 for NULL. */
KL_API int kl_pool_threads(const kl_pool *pool);

/* ------------------------------------------------------------------------------------------------------- backend -- */

/** What computes: a table of operators and, for each leaf loop, the fastest variant that this machine can run. */
typedef struct kl_backend kl_backend;

typedef struct kl_backend_options {
    const char *name; /* "cpu"; NULL: the best one available */
    /** Highest instruction set to use: "ref" (plain C), "avx2", "avx512", "native".  NULL: "native". */
    const char *isa;
    kl_pool *pool;             /* borrowed; NULL: everything runs on the calling thread */
    const kl_allocator *alloc; /* borrowed; NULL: the C library's */
} kl_backend_options;

/** Opens a backend.  `options` may be NULL.  A backend is read-only once open and may be used from several threads.
 *  Errors: KL_ERR_ARGUMENT (unknown name or isa, or an isa that this machine lacks), KL_ERR_MEMORY. */
KL_API kl_status kl_backend_open(kl_backend **backend, const kl_backend_options *options, kl_error *err);
/** Frees the backend.  NULL is allowed. */
KL_API void kl_backend_close(kl_backend *backend);
/** The instruction set in use: "ref", "avx2" or "avx512".  Static storage. */
KL_API const char *kl_backend_isa(const kl_backend *backend);
/** Walks the chosen leaf loops: slot and variant names of entry `i`; false past the end.  Static storage. */
KL_API bool kl_backend_kernel(const kl_backend *backend, int i, const char **slot, const char **variant);

/** One line on this machine's processor: name, cores, instruction sets that klinear uses.
 *  Writes at most `bytes` characters, the closing zero included; returns the length it wanted to write. */
KL_API size_t kl_cpu_describe(char *text, size_t bytes);

/* -------------------------------------------------------------------------------------------- texts and progress -- */

/** Bytes that somebody else holds: not terminated, of any content.  {NULL, 0}: absent, or empty. */
typedef struct kl_text {
    const char *data;
    size_t bytes;
} kl_text;

static inline kl_text kl_text_of(const char *z)
{
    kl_text text;
    text.data = z;
    text.bytes = z ? strlen(z) : 0;
    return text;
}

/** Called now and then by what takes long, on the thread that called: between the pieces of a prompt, of a file.  False
 *  stops it (KL_ERR_CANCELLED). */
typedef bool kl_progress_fn(void *user, int64_t done, int64_t total);

#ifdef __cplusplus
}
#endif
#endif
