/** Pages of the latent cache: counted references, one pool per engine, a budget in bytes.
 *
 *  The pool reserves addresses for the whole budget when it opens and takes memory page by page, when a page is first
 *  written; so a page is a number and an address, and operators see one array.  A page is written only while one
 *  session holds it and nobody else: forks and checkpoints copy a page that is not full, and share those that are. */
#ifndef KL_ENGINE_PAGES_H
#define KL_ENGINE_PAGES_H

#include "klinear/kl/engine.h"

struct kl__pages {
    char *base;         /* NULL when a page has no bytes */
    int64_t page_bytes; /* 0 for a model without MLA: then no page is ever needed */
    int32_t n_page;     /* in the budget */
    int32_t n_fresh;    /* pages that have been used at least once are 0 .. n_fresh-1 */
    int32_t n_free;
    int32_t n_cold;     /* of `free`, the first ones: their memory went back to the system */
    int32_t *reference; /* [n_page] */
    int32_t *free;      /* [n_free] of the pages below n_fresh */
    /** Asked for a page when all are in use: drops what can be done without; false when that is nothing. */
    bool (*give_up)(void *user);
    void *user;
};

/** `budget` bytes at most; 0: as many as the machine has memory.  Errors: KL_ERR_MEMORY, KL_ERR_ARGUMENT. */
kl_status kl__pages_open(struct kl__pages *p, int64_t page_bytes, int64_t budget, kl_error *err);
void kl__pages_close(struct kl__pages *p);

/** A page with one reference, filled with zeros, or -1. */
int32_t kl__pages_take(struct kl__pages *p);
void kl__pages_share(struct kl__pages *p, int32_t page);
/** Gives one reference back.  Free pages keep the memory of 256 KiB and of a sixteenth of those that are in use; when
 *  they hold more than twice that, the rest goes back to the system.   [T: engine/pages] */
void kl__pages_drop(struct kl__pages *p, int32_t page);
static inline char *kl__page_at(const struct kl__pages *p, int32_t page)
{
    return p->base + page * p->page_bytes;
}
/** Pages that somebody holds. */
static inline int32_t kl__pages_used(const struct kl__pages *p)
{
    return p->n_fresh - p->n_free;
}
/** Pages that have memory, in use or free. */
static inline int32_t kl__pages_held(const struct kl__pages *p)
{
    return p->n_fresh - p->n_cold;
}

#endif
