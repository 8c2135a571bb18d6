/** The network: layers of parameters, and the one walk from tokens to logits.
 *
 *      h = embed[token]
 *      for each layer:  h += mixer(norm(h));  h += ffn(norm(h))
 *      logits = head norm(h)
 *
 *  The walk knows nothing of sessions: it gets rows of tokens, and for each sequence where its states and pages lie.
 *  Everything in between lies in two pieces of memory that the caller lends: the stage, which holds activations, and
 *  the workspace of the operators.  Nothing is allocated.
 *
 *  Bits.  Rows of different sequences never meet but in matrix products, whose rows do not depend on each other, and
 *  mixers are called sequence by sequence.  Prompts are read by chunks that start at absolute multiples of
 *  KL__NET_CHUNK, and attend in the expanded form in complete blocks of KL_PAGE_TOKENS positions and in the absorbed
 *  form elsewhere: so a prompt may be cut at any multiple of KL_PAGE_TOKENS.   [T: engine/engine_bits] */
#ifndef KL_MODEL_NET_H
#define KL_MODEL_NET_H

#include "base/memory.h"
#include "base/pool.h"
#include "model/params.h"
#include "model/watch.h"
#include "ops/weight.h"

enum {
    KL__NET_CHUNK = 16, /* of the recurrence; divides KL_PAGE_TOKENS */
};

/** Parameters of one layer, or of the model itself.  Vectors, convolutions and routers are f32 [n_out][n_in], with
 *  n_in 1 for vectors.  Those of the convolutions of q, k and v lie one after the other, as do their biases.
 *  data NULL: absent. */
struct kl__layer {
    struct kl__weight w[KL__N_PARAM];
    kl_tensor w_uk, w_uv; /* views of KV_B, [H][DN][R] and [H][DV][R] */
    const void *kv_packed; /* what kl_mla_pack made of them; NULL: products in f32 */
};

struct kl__net {
    kl_config c;
    const kl_backend *be;
    struct kl__layer top;    /* GLOBAL parameters */
    struct kl__layer *layer; /* [n_layer] */
    struct kl__shelf *shelf; /* where routed experts are read on demand (model/shelf.h); NULL: all are in memory */
};

/** Latent pages of all sequences.  A page holds KL_PAGE_TOKENS rows of every MLA layer, layer after layer. */
struct kl__cache {
    char *base;
    int64_t n_page, page_bytes;
    kl_cache_type type;
};

/** Tokens of one sequence within a step. */
struct kl__seq {
    char *fixed;         /* the fixed block: kl__fixed_bytes, aligned to KL_ALIGN */
    const int32_t *page; /* pages for positions 0 .. position + n_token - 1 */
    int64_t position;    /* tokens read before */
    int first, n_token;  /* rows of the step */
    bool decode;         /* generated tokens, one by one; else a prompt, by chunks */
    struct kl_trace *trace; /* who watches it (model/trace.h); NULL: nobody */
};

/** Tokens of a step. */
struct kl__batch {
    const int32_t *token; /* [n_token], within the vocabulary */
    int n_token;
    const struct kl__seq *seq; /* [n_seq] */
    int n_seq;
    struct kl__cache cache;
};

/** Memory that a walk is lent. */
struct kl__lent {
    void *stage; /* aligned to KL_ALIGN */
    size_t stage_bytes;
    kl_workspace work;
    kl_spent *spent; /* where to add what is spent (model/watch.h); NULL: nowhere */
    struct kl__stop *stop; /* who may end a walk between layers; NULL: nobody */
};

/** What a walk of up to `n_token` tokens needs, whatever the sequences and their lengths. */
struct kl__need {
    size_t stage_bytes, work_bytes;
};
struct kl__need kl__net_need(const struct kl__net *net, int n_token, kl_cache_type type);

/** Bytes of a sequence's fixed block, the part of layer `layer` in it, and of a page. */
size_t kl__fixed_bytes(const kl_config *c);
size_t kl__fixed_offset(const kl_config *c, int layer);
int64_t kl__page_bytes(const kl_config *c, kl_cache_type type);
/** Where position `at` of a sequence lies in MLA layer `index`, counted among those: latent and shared key channels. */
char *kl__latent_row(const struct kl__batch *b, const kl_config *c, const struct kl__seq *q, int index, int64_t at);

/** The threads that the network's operators run on. */
kl_pool *kl__net_pool(const struct kl__net *net);

/** Runs the layers.  *hidden is the residual stream after the last layer, [n_token][n_embd] on the stage.
 *  Errors: KL_ERR_CANCELLED (lent->stop said so; states are half-way). */
kl_status kl__net_walk(const struct kl__net *net, const struct kl__batch *b, const struct kl__lent *lent,
                       float **hidden, kl_error *err);
/** normed [n][n_embd] <- norm of rows row[0 .. n-1] of the walk's hidden states, and logits [n][n_vocab] <- head of
 *  those; `logits` may be NULL.  n is at most the tokens of the walk. */
kl_status kl__net_head(const struct kl__net *net, const struct kl__lent *lent, const float *hidden, const int *row,
                       int n, float *normed, float *logits, kl_error *err);

#endif
