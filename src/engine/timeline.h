/** What a sequence is made of, in a session as in a checkpoint: tokens, pages, fixed block. */
#ifndef KL_ENGINE_TIMELINE_H
#define KL_ENGINE_TIMELINE_H

#include "engine/pages.h"

struct kl__timeline {
    const kl_allocator *alloc;
    struct kl__pages *pages;
    char *fixed; /* [fixed_bytes], aligned to KL_ALIGN */
    size_t fixed_bytes;
    int64_t length; /* tokens */
    int32_t *token; /* [n_token_room >= length] */
    int32_t *page;  /* [n_page] that hold positions 0 .. length-1, of the room for n_page_room */
    int64_t n_page; /* pages held: those that `length` needs, and during a step those of its tokens */
    int64_t n_token_room, n_page_room;
};

/** An empty one: the fixed block is zero.  Errors: KL_ERR_MEMORY. */
kl_status kl__timeline_open(struct kl__timeline *t, struct kl__pages *pages, size_t fixed_bytes,
                            const kl_allocator *alloc, kl_error *err);
/** Gives everything back.  A zero-filled timeline is allowed. */
void kl__timeline_close(struct kl__timeline *t);
/** Back to no tokens. */
void kl__timeline_reset(struct kl__timeline *t);

/** Pages that `length` tokens need. */
int64_t kl__timeline_pages(const struct kl__timeline *t, int64_t length);
/** Room in the lists for `length` tokens, without pages.  Errors: KL_ERR_MEMORY. */
kl_status kl__timeline_room(struct kl__timeline *t, int64_t length, kl_error *err);
/** Room for `n_token` more tokens, pages included.  On failure nothing has changed.
 *  Errors: KL_ERR_MEMORY (also when the budget of pages is spent). */
kl_status kl__timeline_reserve(struct kl__timeline *t, int64_t n_token, kl_error *err);
/** Gives pages back that `length` does not need. */
void kl__timeline_trim(struct kl__timeline *t);

/** `to`, which is closed, becomes a copy of `from`: full pages are shared, the last one is copied unless it is full.
 *  Errors: KL_ERR_MEMORY; `to` is then closed. */
kl_status kl__timeline_copy(struct kl__timeline *to, const struct kl__timeline *from, kl_error *err);
/** `t`, which went on from what `from` is, goes back to it, and takes neither memory nor a page.  False: it cannot, and
 *  is as it was. */
bool kl__timeline_return(struct kl__timeline *t, const struct kl__timeline *from);

#endif
