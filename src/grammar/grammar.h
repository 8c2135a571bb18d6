/** A compiled grammar: nodes over bytes. */
#ifndef KL_GRAMMAR_GRAMMAR_H
#define KL_GRAMMAR_GRAMMAR_H

#include "base/memory.h"
#include "grammar/expr.h"

enum kl__node_kind {
    KL__NODE_END,   /* the rule is at its end */
    KL__NODE_FAIL,  /* nothing matches */
    KL__NODE_BYTE,  /* a byte first .. last, then a */
    KL__NODE_SPLIT, /* a, or b */
    KL__NODE_CALL,  /* the rule that begins at a, then b */
};

enum { KL__END = 0, KL__FAIL = 1 }; /* the first two nodes */

struct kl__gnode {
    uint8_t kind, first, last;
    uint32_t a, b;
};

struct kl_grammar {
    const kl_allocator *alloc; /* NULL, or &alloc_copy */
    kl_allocator alloc_copy;
    struct kl__gnode *node; /* [n_node] */
    uint32_t n_node, root;
    uint8_t class_of[256]; /* bytes that no node tells apart */
    uint8_t byte_of[256];  /* [n_class] one byte of each class */
    int n_class;
};

/** Makes nodes of the rules.  False: p->status. */
bool kl__grammar_compile(kl_grammar *g, struct kl__parse *p);
/** Refuses rules that call themselves before anything else: following those would never end.  Nodes from which no text
 *  comes to an end fail from then on. */
bool kl__grammar_check(kl_grammar *g, struct kl__parse *p, const uint32_t *entry);

#endif
