/** Walking sequences backwards, chunk by chunk, with the state that each chunk began with at hand.
 *
 *  States cannot be computed backwards, so they are computed forwards, and few of them are kept: memory is slow.
 *
 *      block    a few chunks, as many as have their states in the cache.  They are run forwards, and all that they make
 *               is kept; then their backward goes from the last one to the first
 *      span     a long stretch of the sequence, from the last one to the first.  It is run through once, to keep the
 *               state at the start of each of its blocks; then come its blocks, the last one first
 *
 *  A sequence longer than a span is run through once before that, to keep one state for each span.  States that the
 *  caller has from a forward take the place of these: with one for each block nothing is run through twice.
 *
 *  Neighbouring heads take turns, since their rows lie side by side in memory: at chunks on the way forwards, at blocks
 *  on the way back. */
#ifndef KL_CPU_REPLAY_H
#define KL_CPU_REPLAY_H

#include "base/memory.h"

enum { KL__REPLAY_BLOCK = 8 }; /* most chunks of a block */

/** What a walk needs for the sequences of one call. */
struct kl__replay_plan {
    int chunk;            /* tokens */
    int block;            /* chunks, at most KL__REPLAY_BLOCK */
    int n_head;           /* most heads that take turns */
    int64_t span;         /* tokens, a multiple of the chunk */
    int64_t n_span_start; /* states kept by the first run: one for each span but the first */
    size_t state_floats;
    bool uses_given; /* load() is asked for the start of every span, which are states that the caller has */
};
/** `longest`: tokens of the longest sequence; `n_head`: heads that would best take turns, fewer where their states
 *  would fill too much memory.  `given_every` > 0: the caller has a state after every so many tokens, a multiple of the
 *  chunk. */
struct kl__replay_plan kl__replay_plan(int64_t longest, int chunk, int n_head, size_t state_floats,
                                       int64_t given_every);

/** Memory of one walk. */
struct kl__replay_memory {
    float *running;      /* [n_head][state_floats] */
    float *states;       /* [block - 1][state_floats] */
    float *block_starts; /* [n_head][blocks of a span][state_floats] */
    float *span_starts;  /* [n_head][n_span_start][state_floats] */
};
void kl__replay_carve(struct kl__carver *c, const struct kl__replay_plan *p, struct kl__replay_memory *m);

/** A chunk of one of the heads, and what is done with it. */
struct kl__replay_chunk {
    enum kl__replay_what {
        KL__REPLAY_FORWARD,  /* to get the state after it */
        KL__REPLAY_AGAIN,    /* the same, and what the backward needs */
        KL__REPLAY_BACKWARD, /* last chunk of the block first */
    } what;
    int head;  /* 0 .. number of heads - 1 */
    int64_t t; /* its first token, counted from the start of the sequence */
    int n;     /* tokens */
    int i;     /* number within its block */
    bool told; /* was `later` before */
};

struct kl__replay_steps {
    /** state <- that of `head` before token `t`: 0, or the start of a span when given states are used. */
    void (*load)(void *ctx, int head, float *state, int64_t t);
    /** Handles the chunk `c`; `next` is the one that comes after it, whose rows may be fetched ahead; NULL: none.
     *      KL__REPLAY_FORWARD    runs it on `state` in place
     *      KL__REPLAY_AGAIN      state <- the one after it from `before`, the one before it; NULL: not wanted
     *      KL__REPLAY_BACKWARD   `state` is NULL, `before` as above; all chunks of the block have had their AGAIN, and
     *                            no chunk of another head in between.  `later` is a chunk that comes soon, in the block
     *                            after this one, to be run again: what goes backwards takes long and reads little, so
     *                            its rows are better fetched here than just before; NULL: none, as for other chunks */
    void (*chunk)(void *ctx, float *state, const float *before, const struct kl__replay_chunk *c,
                  const struct kl__replay_chunk *next, const struct kl__replay_chunk *later);
};
/** Walks over n_head <= p->n_head heads of a sequence of n_token tokens. */
void kl__replay(const struct kl__replay_plan *p, const struct kl__replay_memory *m,
                const struct kl__replay_steps *steps, void *ctx, int n_head, int64_t n_token);

#endif
