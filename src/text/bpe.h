/** Byte-pair encoding by rank: a piece of text into tokens. */
#ifndef KL_TEXT_BPE_H
#define KL_TEXT_BPE_H

#include "text/vocab.h"

/** Where ids go: a buffer that is handed on whenever it is full. */
struct kl__ids {
    kl_status (*hand_on)(void *user, const int32_t *ids, size_t n);
    void *user;
    size_t n;
    kl_status status; /* the first failure; from then on nothing is handed on */
    int32_t id[512];
};

void kl__ids_flush(struct kl__ids *ids);

static inline void kl__ids_put(struct kl__ids *ids, int32_t id)
{
    if (ids->n == sizeof ids->id / sizeof *ids->id)
        kl__ids_flush(ids);
    ids->id[ids->n++] = id;
}

/** A word of several tokens that came before: most words of a text do. */
struct kl__recent {
    uint64_t key[2]; /* its bytes */
    int32_t id[3];
    uint8_t bytes, n_id; /* 0: none yet */
};
enum { KL__N_RECENT = 1024 };

/** What encoding needs: {alloc} to begin with.  Memory for long pieces is taken when the first one comes. */
struct kl__bpe_room {
    const kl_allocator *alloc;
    void *memory;
    size_t bytes;
    struct kl__recent *recent; /* [KL__N_RECENT], zero at the start; NULL: do without */
};

/** Encodes the piece [p, p + bytes).  Allocates only for pieces longer than 64 bytes, 28 bytes per byte.  Time n log n.
 *  Errors: KL_ERR_MEMORY. */
kl_status kl__bpe(struct kl__ids *ids, const struct kl__vocab *v, const unsigned char *p, size_t bytes,
                  struct kl__bpe_room *room, kl_error *err);

#endif
