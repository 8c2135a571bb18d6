/** Opens bytes as a model file and uses everything that the store then offers.  Memory in proportion to the file. */
#ifndef FUZZ_STORE_H
#define FUZZ_STORE_H

#include "format/store.h"

#include <stdlib.h>
#include <string.h>

/* Counts what is out, in a header in front of each piece. */
struct fuzz_heap {
    size_t out, most;
};

static void *fuzz_alloc(void *user, size_t bytes)
{
    struct fuzz_heap *h = user;
    char *memory = aligned_alloc(64, 64 + bytes);
    if (!memory)
        return NULL;
    memcpy(memory, &bytes, sizeof bytes);
    h->out += bytes;
    h->most = h->out > h->most ? h->out : h->most;
    return memory + 64;
}

static void fuzz_release(void *user, void *memory)
{
    struct fuzz_heap *h = user;
    size_t bytes;
    memcpy(&bytes, (char *)memory - 64, sizeof bytes);
    h->out -= bytes;
    free((char *)memory - 64);
}

static void fuzz_metadata(const struct kl__store *s)
{
    for (int64_t i = 0; i < s->meta.n_meta; i++) {
        const struct kl__meta *m = &s->meta.meta[i];
        int64_t integer;
        double number;
        kl__meta_int(m, &integer);
        kl__meta_number(m, &number);
        if (kl__names_find(&s->meta.names, m->key) != i)
            abort();
        for (uint64_t k = 0; m->type == KL__META_ARRAY && k < m->n_item; k++) {
            struct kl__meta item = kl__meta_item(m, k);
            if (item.type == KL__META_STRING)
                kl__utf8_valid(item.s);
        }
    }
}

static void fuzz_tensors(const struct kl__store *s)
{
    float x[256];
    for (int64_t i = 0; i < s->n_tensor; i++) {
        const struct kl__stored *t = &s->tensor[i];
        const struct kl__type_info *type = kl__type_info(t->type);
        if (kl__names_find(&s->names, t->name) != i || t->n_dim < 0 || t->n_dim > KL__STORE_DIMS)
            abort();
        for (size_t b = 0; type->decode && b < t->bytes; b += (size_t)type->bytes)
            kl__decode(t->type, x, (const char *)t->data + b, type->elements);
    }
}

static inline int fuzz_store(const char *name, const uint8_t *data, size_t bytes)
{
    struct fuzz_heap heap = {0};
    kl_allocator alloc = {fuzz_alloc, fuzz_release, &heap};
    struct kl__store *s;
    kl_error err = {0};
    if (kl__store_open_bytes(&s, name, data, bytes, &alloc, &err) == KL_OK) {
        fuzz_metadata(s);
        fuzz_tensors(s);
        kl__store_close(s);
    } else if (!err.text[0] || err.text[sizeof err.text - 1]) {
        abort(); /* no sentence */
    }
    if (heap.out || heap.most > 4 * bytes + (300 << 10))
        abort(); /* a leak, or too much memory */
    return 0;
}

#endif
