/** The numbers that timed operators work on: made once, drawn as a model makes them, shared by all operators of one
 *  geometry, so that a comparison compares operators and memory is used once. */
#ifndef KA_STAGE_H
#define KA_STAGE_H

#include "klinear/kl.h"

#include <stddef.h>

enum { KA_MAX_DIM = 1024 }; /* of one head */

/** What a tensor holds.  A row is one token; heads lie side by side in it. */
enum ka_data {
    KA_ZERO,        /* outputs, states and gradients to be written */
    KA_NORMAL,      /* normal, variance 1 */
    KA_WEIGHT,      /* normal, variance 1 / 64: what keeps activations near 1 */
    KA_QUERY,       /* SiLU of a normal, each head scaled to unit length */
    KA_KEY,         /* the same, drawn anew */
    KA_VALUE,       /* SiLU of a normal */
    KA_BETA,        /* sigmoid of a normal, one per head */
    KA_GATE,        /* log decay per channel: -A softplus(x + b), A in 1 .. 16 by head, softplus(b) in 0.001 .. 0.1 */
    KA_GATE_HEAD,   /* log decay per head, drawn as above */
    KA_DELTA_TIME,  /* step of a state-space model, 0.001 .. 0.1, one per head */
    KA_ERASE_WRITE, /* DPLR's a: beta k of the same token */
    KA_ERASE_READ,  /* DPLR's b: exp(g) k of the same token */
    KA_BETA_KEY,    /* DPLR's k: beta k of the same token */
    KA_LABEL,       /* i32: 0 .. width of a row of logits; drawn evenly */
    KA_EXPERT,      /* i32: expert numbers, different ones within a token */
    KA_ROUTE,       /* weights of experts: even */
};

/** One buffer: `rows` rows of `width` elements.  Asking twice for the same gives the same memory; `copy` tells apart
 *  buffers that are alike (the second output of an operator). */
struct ka_buffer {
    enum ka_data data;
    int copy;
    kl_dtype dtype;
    int64_t rows, width;
    void *memory;
    size_t bytes;
};

struct ka_stage {
    int64_t heads, dim; /* dim: of a key and of a value head */
    int64_t n_expert;   /* for KA_EXPERT */
    int64_t n_label;    /* for KA_LABEL, of the copy that is asked for next */
    struct ka_buffer buffer[96];
    int n_buffer;
    size_t bytes, budget; /* in use; not to be exceeded */
    bool failed;          /* memory or budget ran out: what was asked for is NULL */
};

/** The memory of a buffer, made and filled when it is asked for the first time; NULL sets `failed`. */
void *ka_stage_data(struct ka_stage *s, enum ka_data data, int copy, kl_dtype dtype, int64_t rows, int64_t width);
/** The same as a tensor [T][heads][width / heads], of which `rows` >= T rows exist. */
kl_tensor ka_stage_heads(struct ka_stage *s, enum ka_data data, int copy, kl_dtype dtype, int64_t rows, int64_t T,
                         int64_t head_width);
/** The same as a tensor [T][width]. */
kl_tensor ka_stage_rows(struct ka_stage *s, enum ka_data data, int copy, kl_dtype dtype, int64_t rows, int64_t T,
                        int64_t width);
void ka_stage_free(struct ka_stage *s);

#endif
