/** The prefix cache: what earlier prompts left behind, so that a prompt with the same beginning need not be read again.
 *
 *  A tree over blocks of KL_PAGE_TOKENS tokens.  A node is a block below its parent's: its tokens, its latent page
 *  (shared with whoever else holds it), and at some nodes a checkpoint, a copy of the fixed block after the node's last
 *  token.  Recurrent states cannot be rewound: a prompt continues at the deepest checkpoint on its path, and what lies
 *  behind that is read again.
 *
 *  Only states that came from reading a prompt from its beginning are kept, and blocks lie at absolute positions; so a
 *  prompt that continues has the bits of one that was read whole.  Tokens that were generated are read again, as part
 *  of the next prompt, the first time they come back.   [T: engine/prefix]
 *
 *  Invariants: every leaf has a checkpoint; a page is in at most one node; node 0 is the root and holds nothing.
 *  Over the budget, the checkpoint that was not used for longest goes, and with it the blocks that led only there. */
#ifndef KL_ENGINE_PREFIX_H
#define KL_ENGINE_PREFIX_H

#include "engine/engine.h"

struct kl__node {
    uint64_t key;   /* of parent, space and tokens */
    uint64_t used;  /* when a prompt last passed or continued here: kl_prefix.clock */
    int32_t parent; /* -1: free */
    int32_t n_child;
    int32_t page;      /* -1 when the model has none */
    int32_t next_free; /* of a free node */
    char *checkpoint;  /* [fixed_bytes] or NULL */
    uint64_t space;
    bool stored; /* its checkpoint was offered to the disk */
    int32_t token[KL_PAGE_TOKENS];
};

struct kl_prefix {
    kl_engine *engine;
    int64_t most_bytes, bytes; /* of checkpoints and pages held by the tree */
    struct kl__node *node;     /* [n_node_room], the first n_node of which have been used */
    int32_t n_node, n_node_room, free;
    int32_t *slot;  /* hash table of node + 1; 0: empty */
    int64_t n_slot; /* a power of two */
    int64_t n_live;
    uint64_t clock, seed;
    struct kl__disk *disk; /* NULL: none */
};

/** A prompt on its way through the tree, for whoever reads it piece by piece: kl_prefix_prefill(), schedule_step.c. */
struct kl__visit {
    kl_prefix *p;
    kl_session *session;
    uint64_t space;
    const int32_t *token; /* [n_token] the prompt */
    int64_t n_token;
    const int64_t *mark; /* [n_mark] positions where a checkpoint is wanted, in any order */
    int n_mark;
};

/** Tokens that kl__prefix_begin() would not have to read now.  Counts as no use. */
int64_t kl__prefix_reusable(const struct kl__visit *v);
/** The session, which is empty, becomes what it was at the deepest checkpoint on the prompt's path.
 *  Errors: KL_ERR_MEMORY; the session is then empty. */
kl_status kl__prefix_begin(const struct kl__visit *v, kl_prefix_report *report, kl_error *err);
/** The next position behind `from` where kl__prefix_keep() is wanted, or n_token. */
int64_t kl__prefix_stop(const struct kl__visit *v, int64_t from);
/** Puts what the session has read, a multiple of KL_PAGE_TOKENS, into the tree, with a checkpoint.  A cache that is
 *  full, or a machine without memory, only means that less is remembered. */
void kl__prefix_keep(const struct kl__visit *v);

#endif
