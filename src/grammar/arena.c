#include "grammar/arena.h"

#include <stdint.h>

enum { BLOCK = 32 << 10, MOST = 64 << 20 };

struct kl__block {
    struct kl__block *next;
    size_t bytes;
    max_align_t data[];
};

void *kl__arena_take(struct kl__arena *a, size_t bytes)
{
    bytes = (bytes + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
    if (bytes > MOST || a->taken + bytes > MOST)
        return NULL;
    if (!a->block || a->used + bytes > a->block->bytes) {
        size_t room = bytes > BLOCK ? bytes : BLOCK;
        struct kl__block *b = kl__alloc(a->alloc, sizeof *b + room);
        if (!b)
            return NULL;
        b->next = a->block;
        b->bytes = room;
        a->block = b;
        a->used = 0;
    }
    void *at = (char *)a->block->data + a->used;
    a->used += bytes;
    a->taken += bytes;
    return at;
}

void kl__arena_close(struct kl__arena *a)
{
    while (a->block) {
        struct kl__block *b = a->block;
        a->block = b->next;
        kl__release(a->alloc, b);
    }
    a->used = a->taken = 0;
}
