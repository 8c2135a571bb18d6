/** Walking a sequence backwards, chunk by chunk, with the state that each chunk began with at hand.
 *
 *  States cannot be computed backwards, so they are computed forwards, and few of them are kept: memory is slow.
 *
 *      span     a long stretch of the sequence.  It is run through once; what each chunk wrote is kept, and the state
 *               at the start of each block
 *      block    a few chunks, from the last block to the first: their states are made again from what they wrote, which
 *               costs a third of running them and stays in the cache
 *      chunk    from the last one of the block to the first: the backward
 *
 *  A sequence longer than a span is run through once before that, to keep one state for each span, unless the caller
 *  has those. */
#ifndef KL_CPU_REPLAY_H
#define KL_CPU_REPLAY_H

#include "base/memory.h"

enum { KL__REPLAY_BLOCK = 8 }; /* most chunks of a block */

/** What a walk needs for the sequences of one call. */
struct kl__replay_plan {
    int chunk;                       /* tokens */
    int block;                       /* chunks, at most KL__REPLAY_BLOCK */
    int64_t span;                    /* tokens, a multiple of the chunk */
    int64_t n_span_start;            /* states kept by the first run: one for each span but the first */
    size_t state_floats, row_floats; /* of a state; of what a token writes */
};
/** `longest`: tokens of the longest sequence.  `given_every` > 0: the caller has a state after every so many tokens. */
struct kl__replay_plan kl__replay_plan(int64_t longest, int chunk, size_t state_floats, size_t row_floats,
                                       int64_t given_every);
/** True when the states that the caller has are used: load() is then asked for the start of every span. */
static inline bool kl__replay_uses_given(const struct kl__replay_plan *p, int64_t given_every)
{
    return given_every > 0 && p->span == given_every;
}

/** Memory of one walk. */
struct kl__replay_memory {
    float *running;      /* [state_floats] */
    float *states;       /* [block - 1][state_floats] */
    float *block_starts; /* [blocks of a span][state_floats] */
    float *span_starts;  /* [n_span_start][state_floats] */
    float *written;      /* [span][row_floats] */
};
void kl__replay_carve(struct kl__carver *c, const struct kl__replay_plan *p, struct kl__replay_memory *m);

/** A chunk. */
struct kl__replay_chunk {
    int64_t t;      /* its first token, counted from the start of the sequence */
    int n;          /* tokens */
    int i;          /* number within its block */
    float *written; /* [n row_floats] kept from forward() for the calls after it */
};

/** What is done at the chunks. */
struct kl__replay_steps {
    /** state <- the one before token `t`: 0, or the start of a span when the given states are used. */
    void (*load)(void *ctx, float *state, int64_t t);
    /** Runs the chunk on `state` in place; c->written NULL: only the state is wanted. */
    void (*forward)(void *ctx, float *state, const struct kl__replay_chunk *c);
    /** Prepares chunk c->i of a block for backward(); called for all chunks of the block in their order.
     *  after <- the state after the chunk from the one before it; NULL: not wanted. */
    void (*again)(void *ctx, float *after, const float *before, const struct kl__replay_chunk *c);
    /** Called last chunk first; `before` is the state before the chunk. */
    void (*backward)(void *ctx, const float *before, const struct kl__replay_chunk *c);
};
void kl__replay(const struct kl__replay_plan *p, const struct kl__replay_memory *m,
                const struct kl__replay_steps *steps, void *ctx, int64_t n_token, bool uses_given);

#endif
