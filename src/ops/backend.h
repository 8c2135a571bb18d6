/** What a backend is: a name and a table of operators. */
#ifndef KL_OPS_BACKEND_H
#define KL_OPS_BACKEND_H

#include "ops/weight.h"

/** Routed experts on weights of a file (ops/weight.h), in one piece. */
struct kl__weight_experts_call {
    kl_tensor y, x, id, weight;
    const struct kl__weight *gate, *up, *down;
    bool add;
    kl_workspace work;
};

/** The operators of one backend.  They get arguments that the public function has checked, workspace included. */
struct kl__ops {
#define OP(x)                                                                                                          \
    kl_status (*x)(const kl_backend *be, const kl_##x##_args *a, kl_error *err);                                       \
    size_t (*x##_workspace)(const kl_backend *be, const kl_##x##_args *a);                                             \
    kl_status (*x##_bwd)(const kl_backend *be, const kl_##x##_bwd_args *a, kl_error *err);                             \
    size_t (*x##_bwd_workspace)(const kl_backend *be, const kl_##x##_bwd_args *a);
#include "ops/ops.def"
#undef OP
    size_t (*mla_packed_bytes)(const kl_backend *be, kl_tensor w_uk, kl_tensor w_uv);
    size_t (*mla_pack_workspace)(const kl_backend *be, kl_tensor w_uk, kl_tensor w_uv);
    kl_status (*mla_pack)(const kl_backend *be, void *to, kl_tensor w_uk, kl_tensor w_uv, kl_workspace work,
                          kl_error *err);
    /* Products with the weights of a file (ops/weight.h). */
    size_t (*weight_linears_workspace)(const kl_backend *be, const struct kl__weight_product *p, int n,
                                       int64_t n_token);
    void (*weight_linears)(const kl_backend *be, const struct kl__weight_product *p, int n, kl_tensor x,
                           kl_workspace work);
    /* Of a call only the weights and the dimensions of x and id count. */
    size_t (*weight_experts_workspace)(const kl_backend *be, const struct kl__weight_experts_call *call);
    void (*weight_experts)(const kl_backend *be, const struct kl__weight_experts_call *call);
    size_t (*weight_packed_bytes)(const kl_backend *be, const struct kl__weight *w);
    void (*weight_pack)(const kl_backend *be, void *to, const struct kl__weight *w);
    void (*weight_rows)(const kl_backend *be, kl_tensor y, kl_tensor id, const struct kl__weight *table);
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
