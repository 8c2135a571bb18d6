/** Walking a sequence backwards, chunk by chunk, with the state that each chunk began with at hand.
 *
 *  States cannot be computed backwards, so they are computed forwards and kept: one for each chunk of a segment.  A
 *  sequence longer than a segment is first run through once to keep one state for each segment, unless the caller has
 *  those; then its segments are replayed from the last to the first. */
#ifndef KL_CPU_REPLAY_H
#define KL_CPU_REPLAY_H

#include "base/memory.h"

/** What a walk needs for the sequences of one call. */
struct kl__replay_plan {
    int chunk;
    size_t state_floats, row_floats; /* of a state; of a row of written values */
    int64_t segment;                 /* tokens, a multiple of the chunk */
    int64_t n_checkpoint;            /* states kept by the first run: one for each segment but the first */
};
/** `longest`: tokens of the longest sequence.  `given_every` > 0: the caller has a state after every so many tokens. */
struct kl__replay_plan kl__replay_plan(int64_t longest, int chunk, size_t state_floats, size_t row_floats,
                                       int64_t given_every);
/** True when the states that the caller has are used: load() is then asked for the start of every segment. */
static inline bool kl__replay_uses_given(const struct kl__replay_plan *p, int64_t given_every)
{
    return given_every > 0 && p->segment == given_every;
}

/** Memory of one walk. */
struct kl__replay_memory {
    float *states;      /* [chunks of a segment + 1][state_floats] */
    float *checkpoints; /* [n_checkpoint][state_floats] */
    float *written;     /* [segment][row_floats] */
};
void kl__replay_carve(struct kl__carver *c, const struct kl__replay_plan *p, struct kl__replay_memory *m);

/** What is done at the chunks.  Tokens count from the start of the sequence; n of them, at most a chunk. */
struct kl__replay_steps {
    /** state <- the one before token `t`: 0, or the start of a segment when the given states are used. */
    void (*load)(void *ctx, float *state, int64_t t);
    /** Runs the chunk on `state` in place; `written` [n][row_floats] receives its values, NULL: not wanted. */
    void (*forward)(void *ctx, float *state, float *written, int64_t t, int n);
    /** Called last chunk first; `state` is the one before the chunk. */
    void (*backward)(void *ctx, const float *state, const float *written, int64_t t, int n);
};
void kl__replay(const struct kl__replay_plan *p, const struct kl__replay_memory *m,
                const struct kl__replay_steps *steps, void *ctx, int64_t n_token, bool uses_given);

#endif
