/** A text that grows. */
#ifndef KL_TEXT_GROWING_H
#define KL_TEXT_GROWING_H

#include "base/str.h"
#include "klinear/kl/text.h"

struct kl__growing {
    const kl_allocator *alloc;
    char *at; /* [bytes] of [room] */
    size_t bytes, room;
    bool failed; /* no memory: the text is what it was before, and stays so */
};

void kl__grow(struct kl__growing *g, struct kl__str text);
void kl__growing_close(struct kl__growing *g);

#endif
