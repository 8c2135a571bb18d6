/** Memory that the work after this needs, fetched a little at a time.  Rows of a head lie far apart, which the hardware
 *  does not foresee; asked for all at once they fill the queues between the caches, and the work at hand waits behind
 *  them.  So a kernel that multiplies for long calls kl__fetch_some now and then. */
#ifndef KL_CPU_AHEAD_H
#define KL_CPU_AHEAD_H

#include <stddef.h>

enum { KL_STREAMS = 32 };

/** Rows of `bytes` bytes, `pitch` bytes apart. */
struct kl__stream {
    const char *row;
    ptrdiff_t pitch;
    ptrdiff_t bytes;
    int n_row; /* still to be fetched */
};

struct kl__ahead {
    struct kl__stream stream[KL_STREAMS];
    int n_stream;
    int next;        /* stream that is being fetched */
    int rows_a_call; /* how much kl__fetch_some asks for */
};

/** Asks for some rows to be brought into the second-level cache; NULL: for nothing. */
static inline void kl__fetch_some(struct kl__ahead *a)
{
    for (int i = 0; a && a->next < a->n_stream && i < a->rows_a_call; i++) {
        struct kl__stream *s = &a->stream[a->next];
        for (ptrdiff_t at = 0; at < s->bytes; at += 64)
            __builtin_prefetch(s->row + at, 0, 2);
        s->row += s->pitch;
        a->next += --s->n_row == 0;
    }
}

#endif
