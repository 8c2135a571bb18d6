/** Multi-head latent attention's own steps: from latents to keys and values and back.
 *  A row of the cache is [c (n_latent) ; kr (n_rope)], and head h reads k = [w_uk[h] c ; kr], v = w_uv[h] c. */
#ifndef KL_CPU_LATENT_H
#define KL_CPU_LATENT_H

#include "cpu/attention_core.h"

/** A call of kl_mla. */
struct kl__latent {
    const struct kl__kernels *k;
    /** Sequences, cache and masking.  One key head: kv.n_k = n_latent + n_rope, and a value is the latent itself. */
    struct kl__attention attention;
    kl_tensor w_uk, w_uv; /* [n_head][n_nope][n_latent], [n_head][n_v][n_latent] */
    int64_t n_head, n_nope, n_rope, n_latent, n_v;
    const char *packed; /* weights as 16-bit integers, on which products then run; NULL: on f32 */
    int64_t packed_bytes; /* of one head */
    kl_mla_form form;
};

struct kl__latent kl__latent_of(const kl_backend *be, const kl_mla_args *args);

/** Columns of an expanded key. */
static inline int64_t kl__latent_key(const struct kl__latent *x)
{
    return x->n_nope + x->n_rope;
}

/** True when sequence `n` is to be worked on in the absorbed form: as asked, or by counting operations. */
bool kl__latent_absorbed(const struct kl__latent *x, int64_t n);

/** Rows of a weight that are converted at a time. */
enum { KL__LATENT_ROWS = 64 };

/** Rows first .. first + n - 1 of w[head] as f32 [n][n_latent]: where they lie, or converted into `scratch`. */
const float *kl__latent_weight(const struct kl__latent *x, kl_tensor w, int64_t head, int64_t first, int64_t n,
                               float *scratch);

/** Packed weights of one head. */
struct kl__i16_weights kl__latent_packed(const struct kl__latent *x, int64_t head);

/** One thread's memory for latents and weights. */
struct kl__latent_scratch {
    float *latent; /* [KL__ATTENTION_BLOCK][n_latent + n_rope]; packed: one row */
    float *k;      /* [KL__ATTENTION_BLOCK][n_nope + n_rope]: expanded keys */
    float *weight; /* [KL__LATENT_ROWS][n_latent]; not when packed */
    /* Packed only. */
    float *v;                   /* [KL__I16_BLOCK][n_v]: expanded values */
    struct kl__i16_rows rows;   /* latents */
    struct kl__i16_rows v_rows; /* the values */
};
void kl__latent_carve(struct kl__latent_scratch *scratch, struct kl__carver *c, const struct kl__latent *x);

/* -------------------------------------------------------------------------------------- expanded keys and values -- */

/** Keys and values of some heads at positions first .. first + n - 1 of sequence `seq`.  A slab is a piece of level 1
 *  (flash.h): the cache goes by slab by slab. */
struct kl__slab {
    int64_t seq, first, n;
    int64_t first_head, n_head;
    int64_t n_row;   /* that there is room for, whole blocks */
    int64_t reserve; /* rows of all heads to lend memory for, at least n_head n_row: no shorter cache needs more */
    float *k, *v;  /* [n_head][n_row][n_nope + n_rope], [n_head][n_row][n_v] */
    bool panels;   /* keys lie as panels (cpu/key_panels.h), which is all that products with queries want */
    char *block;   /* packed weights, instead of k and v: [n_head][n_row / KL__I16_BLOCK] blocks */
    int64_t block_bytes;
};

/** Rows of a slab and heads at a time for sequence `seq`, with `n_copy` arrays as large as the keys and values. */
struct kl__slab kl__slab_size(const struct kl__latent *x, int64_t seq, int64_t n_copy);
/** First element of head `i` of the slab, in an array like k (v). */
static inline float *kl__slab_keys(const struct kl__latent *x, const struct kl__slab *s, float *k, int64_t i)
{
    return k + i * s->n_row * kl__latent_key(x);
}
static inline float *kl__slab_values(const struct kl__latent *x, const struct kl__slab *s, float *v, int64_t i)
{
    return v + i * s->n_row * x->n_v;
}
/** Blocks of KL__ATTENTION_BLOCK positions in the slab. */
static inline int64_t kl__slab_blocks(const struct kl__slab *s)
{
    return (s->n + KL__ATTENTION_BLOCK - 1) / KL__ATTENTION_BLOCK;
}
/** Fills block `block` of head `i`. */
void kl__slab_expand(const struct kl__latent *x, const struct kl__slab *s, int64_t i, int64_t block,
                     struct kl__latent_scratch *scratch);
/** Head `i` as what flash attention reads. */
struct kl__kv kl__slab_kv(const struct kl__latent *x, const struct kl__slab *s, int64_t i);

#endif
