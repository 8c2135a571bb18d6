/** Operators as the bench times them.  To add one: a `const struct ka_timed ka_timed_<name>` in a timed_*.c and a row
 *  in timed.def. */
#ifndef KA_TIMED_H
#define KA_TIMED_H

#include "klinear/kl_ops.h"

#include "stage.h"

enum ka_pass {
    KA_FORWARD,
    KA_BACKWARD, /* from the inputs alone: what of the forward it needs, it computes again */
    KA_KEEPING,  /* a forward that keeps for a backward what training keeps */
    KA_KEPT,     /* a backward that is given that */
    KA_STEP,     /* one token with a state or a cache that is there already */
    KA_PASSES,
};
extern const char *const ka_pass_name[KA_PASSES + 1]; /* ends with NULL */

/** One thing to time. */
struct ka_case {
    const struct ka_timed *op;
    enum ka_pass pass;
    kl_dtype dtype;
    int64_t T;    /* tokens; of KA_STEP: rows of the cache where there is one */
    int64_t rows; /* the most tokens that any case of this stage has: how much of each tensor to ask for */
    int chunk;    /* tokens per chunk; 1: token by token */
};

/** What one call has to do, by the definition of the operator and not by the way it is computed. */
struct ka_cost {
    int64_t tokens; /* that the call handles: 1 for a step */
    double flops;   /* all heads and tokens; a multiply-add is two */
    double bytes;   /* tensors read and written, each once; of a step only the state or the cache */
    bool updates;   /* the bytes are a state that is read and written in place */
};

/** The arguments of one call, filled once before anything is timed. */
union ka_call {
    kl_kda_args kda;
    kl_kda_bwd_args kda_bwd;
    kl_dplr_args dplr;
    kl_dplr_bwd_args dplr_bwd;
    kl_attention_args attention;
    kl_attention_bwd_args attention_bwd;
    kl_mla_args mla;
    kl_mla_bwd_args mla_bwd;
    kl_l2norm_args l2norm;
    kl_l2norm_bwd_args l2norm_bwd;
    kl_rmsnorm_args rmsnorm;
    kl_rmsnorm_bwd_args rmsnorm_bwd;
    kl_swiglu_args swiglu;
    kl_swiglu_bwd_args swiglu_bwd;
    kl_short_conv_args short_conv;
    kl_short_conv_bwd_args short_conv_bwd;
    kl_linear_args linear;
    kl_linear_bwd_args linear_bwd;
    kl_experts_args experts;
    kl_experts_bwd_args experts_bwd;
    kl_cross_entropy_args cross_entropy;
    kl_cross_entropy_bwd_args cross_entropy_bwd;
    kl_embedding_args embedding;
    kl_embedding_bwd_args embedding_bwd;
    kl_rope_args rope;
    kl_router_args router;
    kl_router_bwd_args router_bwd;
};

struct ka_timed {
    const char *name;
    const void *kind; /* what tells apart operators that share their functions */
    bool main;        /* one of those that are compared; the others are timed when asked for by name */
    bool has_chunk;   /* the length of a chunk makes a difference */
    bool has_cache;   /* a step's cost depends on T */
    unsigned passes;  /* bits 1 << enum ka_pass */
    /** Sizes of a key and of a value head for `dim`. */
    void (*head)(int64_t dim, int64_t *K, int64_t *V);
    struct ka_cost (*cost)(const struct ka_stage *s, const struct ka_case *c);
    /** Fills `call` with tensors of the stage and returns the bytes of workspace that it needs. */
    size_t (*prepare)(struct ka_stage *s, const struct ka_case *c, const kl_backend *be, union ka_call *call);
    kl_status (*run)(const struct ka_case *c, const kl_backend *be, union ka_call *call, kl_workspace work,
                     kl_error *err);
};

/** K = V = dim: the `head` of most. */
void ka_square_head(int64_t dim, int64_t *K, int64_t *V);

/** In the order of timed.def; NULL past the end. */
const struct ka_timed *ka_timed_at(int i);
/** The names in the same order, then "all" and NULL: the words of --op. */
extern const char *const ka_timed_name[];

#endif
