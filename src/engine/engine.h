/** An engine and what belongs to it. */
#ifndef KL_ENGINE_ENGINE_H
#define KL_ENGINE_ENGINE_H

#include "base/pool.h"
#include "engine/timeline.h"
#include "model/model.h"
#include "model/trace.h"

struct kl_engine {
    const kl_allocator *alloc; /* NULL, or &alloc_copy */
    kl_allocator alloc_copy;
    const kl_model *model;
    struct kl__pages pages;
    kl_cache_type cache_type;
    int max_token, max_span;
    size_t fixed_bytes;
    struct kl_prefix *prefix; /* NULL: none is open */
    struct kl__stop stop;     /* fn NULL: a step cannot be stopped */

    /* Memory of a step: one block, carved once. */
    void *memory;
    size_t memory_bytes;
    struct kl__lent lent;
    int32_t *token;      /* [max_token] */
    struct kl__seq *seq; /* [max_span] */
    int *row;            /* [max_token] rows whose logits or norms are wanted */
    float *normed;       /* [max_token][n_embd] */
    float *logits;       /* [max_span][n_vocab]: of several spans that want their last token's */
};

struct kl_session {
    kl_engine *engine;
    struct kl__timeline line;
    bool broken; /* its numbers are not finite any more */
    kl_trace *trace; /* who watches; NULL: nobody */
};

/** The session becomes what it was when it had read `length` tokens, which was not more than a step ago: `fixed` is its
 *  fixed block of then. */
void kl__session_rewind(kl_session *s, const char *fixed, int64_t length);

#endif
