/** A grammar being followed: an automaton over classes of bytes, made as far as it is walked.
 *
 *  A place is a node and the calls that it is inside of; a state is the set of places that the bytes so far may have
 *  led to.  Calls are kept once (frames), states are kept once, and so is the step from a state by a class of bytes:
 *  what a text repeats is looked up.  Everything is bounded; what would need more is an error. */
#ifndef KL_GRAMMAR_RUN_H
#define KL_GRAMMAR_RUN_H

#include "grammar/grammar.h"

enum {
    KL__DEAD = 0,               /* the state of no place */
    KL__UNKNOWN = -1,           /* a step that was not taken yet */
    KL__STATES = 1 << 14,       /* most states */
    KL__STEPS = 1 << 20,        /* most entries of the table of steps */
    KL__PLACES = 1 << 18,       /* most places of all states */
    KL__FRAMES = 1 << 16,       /* most frames */
    KL__VISITS = 1 << 12,       /* most places on the way to a state */
};

struct kl__place {
    uint32_t node, frame;
};

/** A call that is not complete: where it goes on, inside of which. */
struct kl__frame {
    uint32_t node, parent, depth;
};

struct kl__state {
    uint32_t first, n; /* of the places */
    bool accepts;      /* the text may end here */
};

struct kl__slot {
    uint32_t hash, value; /* value + 1; 0: empty */
};

struct kl__table {
    struct kl__slot *slot; /* [room], a power of two */
    uint32_t n, room;
};

struct kl__visited {
    uint32_t stamp;
    struct kl__place place;
};

struct kl__run {
    const kl_grammar *g;
    const kl_allocator *alloc;
    struct kl__place *place;
    struct kl__frame *frame; /* the first is the outside */
    struct kl__state *state; /* the first is dead */
    int32_t *next;           /* [n_state][g->n_class] */
    uint32_t n_place, place_room, n_frame, frame_room, n_state, state_room;
    struct kl__table frames, states;
    struct kl__visited *visited;                             /* [2 * KL__VISITS] */
    struct kl__place *work, *found;                          /* [KL__VISITS] each */
    uint32_t stamp, n_visited, n_work, n_found;
    bool accepts;
    int64_t effort; /* places visited since the caller last set it to 0 */
};

/** Errors: KL_ERR_MEMORY. */
kl_status kl__run_open(struct kl__run *r, const kl_grammar *g, const kl_allocator *alloc, int32_t *start,
                       kl_error *err);
void kl__run_close(struct kl__run *r);
/** The state behind a byte.  Errors: KL_ERR_UNSUPPORTED, KL_ERR_MEMORY; *to is then untouched. */
kl_status kl__run_step(struct kl__run *r, int32_t *to, int32_t from, uint8_t byte, kl_error *err);
/** Is so much in use that it is time to forget? */
bool kl__run_is_full(const struct kl__run *r);
/** Forgets all states but `keep`; returns its new number, or KL__DEAD without memory. */
int32_t kl__run_forget(struct kl__run *r, int32_t keep);

#endif
