/** What a backend is: a name and a table of operators. */
#ifndef KL_OPS_BACKEND_H
#define KL_OPS_BACKEND_H

#include "klinear/kl_ops.h"

/** The operators of one backend.  They get arguments that the public function has checked, workspace included. */
struct kl__ops {
#define OP(x)                                                                                                          \
    kl_status (*x)(const kl_backend *be, const kl_##x##_args *a, kl_error *err);                                       \
    size_t (*x##_workspace)(const kl_backend *be, const kl_##x##_args *a);                                             \
    kl_status (*x##_bwd)(const kl_backend *be, const kl_##x##_bwd_args *a, kl_error *err);                             \
    size_t (*x##_bwd_workspace)(const kl_backend *be, const kl_##x##_bwd_args *a);
#include "ops/ops.def"
#undef OP
};

/** One kind of backend: a row of backends.def. */
struct kl__backend_type {
    const char *name;
    struct kl__ops ops;
    /** Fills be->impl for the instruction set `isa` (never NULL); be's other fields are set. */
    kl_status (*open)(kl_backend *be, const char *isa, kl_error *err);
    void (*close)(kl_backend *be);
    const char *(*isa)(const kl_backend *be);
    bool (*kernel)(const kl_backend *be, int i, const char **slot, const char **variant);
};

struct kl_backend {
    const struct kl__backend_type *type;
    kl_pool *pool;              /* borrowed; may be NULL */
    const kl_allocator *alloc;  /* NULL, or &alloc_copy */
    kl_allocator alloc_copy;
    void *impl; /* the backend's own */
};

#define BACKEND(x) extern const struct kl__backend_type kl__backend_##x;
#include "ops/backends.def"
#undef BACKEND

#endif
