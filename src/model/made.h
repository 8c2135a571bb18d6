/** Weights out of nothing: numbers that depend on a seed, the name of their tensor and their place in it, scaled as
 *  those of a trained model are. */
#ifndef KL_MODEL_MADE_H
#define KL_MODEL_MADE_H

#include "model/gguf_tensors.h"
#include "model/stream.h"

enum kl__made_kind {
    KL__MADE_NORMAL, /* mean + scale n, n of variance 1 */
    KL__MADE_RATE,   /* -exp(A_log), uniform in -16 .. -1 */
    KL__MADE_DT,     /* inverse of what the gate makes of it, which is 1e-3 .. 1e-1, uniform in the logarithm */
};

struct kl__made {
    uint64_t key;
    enum kl__made_kind kind;
    float mean, scale;
    float bound; /* of a bounded gate, < 0; 0: softplus */
};

/** Numbers of one tensor. */
struct kl__made kl__made(const struct kl__gguf_tensor *t, const kl_config *c, uint64_t seed);
/** Reads them: a kl__read_fn with a struct kl__made as its source. */
void kl__made_read(void *x, const void *made, int64_t first, int64_t n);

/** Announces a tokenizer for a vocabulary of c->n_vocab entries: 256 bytes, words of syllables, and the special tokens
 *  of the family.  Nothing is announced for fewer than 512 entries, which leave no room for those.
 *  Errors: KL_ERR_MEMORY. */
kl_status kl__made_tokens(struct kl__writer *w, const kl_config *c, const kl_allocator *alloc, kl_error *err);

#endif
