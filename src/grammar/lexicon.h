/** Tokens in the order of their bytes: those that begin alike lie together, so that a walk decides about their common
 *  beginning once. */
#ifndef KL_GRAMMAR_LEXICON_H
#define KL_GRAMMAR_LEXICON_H

#include "base/memory.h"
#include "klinear/kl/grammar.h"

struct kl__word {
    const char *data; /* [bytes], of the tokenizer */
    uint16_t bytes, shared; /* with the word before it */
    int32_t id;
};

struct kl_lexicon {
    const kl_allocator *alloc; /* NULL, or &alloc_copy */
    kl_allocator alloc_copy;
    const kl_tokenizer *tokenizer;
    struct kl__word *word; /* [n] */
    int32_t n, n_vocab;
    int longest; /* bytes of a word */
};

#endif
