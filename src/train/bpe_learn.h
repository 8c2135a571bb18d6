/** What a kl_bpe is inside: words that were counted, and the tokens that come of them. */
#ifndef KL_TRAIN_BPE_LEARN_H
#define KL_TRAIN_BPE_LEARN_H

#include "base/memory.h"
#include "klinear/kl_train.h"

/** Items that grow. */
struct kl__list {
    void *item;
    int64_t n, room;
};
/** Room for `more` items behind the n that are there.  False: no memory; the list is as before. */
bool kl__list_reserve(struct kl__list *l, int64_t more, size_t item_bytes, const kl_allocator *alloc);

/** A different piece of text; its symbols are words[symbols] .. in kl_bpe.symbol. */
struct kl__word {
    int64_t first; /* in `bytes`, and in `symbol` */
    int32_t n_byte, n_symbol;
    int64_t count;
};

/** A token: two others joined, or a byte. */
struct kl__token {
    int32_t left, right; /* -1: a byte, its id */
};

struct kl_bpe {
    const kl_allocator *alloc; /* NULL, or &alloc_copy */
    kl_allocator alloc_copy;
    struct kl__list word;  /* struct kl__word */
    struct kl__list bytes; /* of all words */
    struct kl__list token; /* struct kl__token */
    int64_t *slot;         /* [n_slot] number of a word + 1; 0: free */
    int64_t n_slot;
};

#endif
