#include "base/names.h"
#include "base/memory.h"

#include <sys/random.h>
#include <time.h>

static uint64_t rotate(uint64_t x, int by)
{
    return x << by | x >> (64 - by);
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[2] += v[3];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] = rotate(v[0], 32) + v[3];
    v[2] += v[1];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[2] = rotate(v[2], 32);
}

static void sip_word(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
}

/* SipHash-1-3 (Aumasson and Bernstein): short, and its collisions cannot be made without the key. */
static uint64_t hash_of(const uint64_t key[2], struct kl__str s)
{
    uint64_t v[4] = {key[0] ^ 0x736f6d6570736575, key[1] ^ 0x646f72616e646f6d, key[0] ^ 0x6c7967656e657261,
                     key[1] ^ 0x7465646279746573};
    size_t whole = s.bytes / 8 * 8;
    uint64_t word;
    for (size_t i = 0; i < whole; i += 8) {
        memcpy(&word, s.at + i, 8);
        sip_word(v, word);
    }
    word = (uint64_t)s.bytes << 56;
    for (size_t i = whole; i < s.bytes; i++)
        word |= (uint64_t)(unsigned char)s.at[i] << 8 * (i - whole);
    sip_word(v, word);
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static void draw_key(uint64_t key[2])
{
    if (getrandom(key, 2 * sizeof *key, GRND_NONBLOCK) == 2 * sizeof *key)
        return;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    key[0] = (uint64_t)now.tv_nsec << 32 ^ (uint64_t)now.tv_sec;
    key[1] = (uint64_t)(uintptr_t)key;
}

bool kl__names_open(struct kl__names *n, const void *record, size_t record_bytes, size_t n_record,
                    const kl_allocator *alloc)
{
    size_t n_slot = 8;
    while (n_slot / 4 * 3 < n_record)
        n_slot *= 2;
    *n = (struct kl__names){.record = record, .record_bytes = record_bytes};
    n->slot = kl__alloc(alloc, n_slot * sizeof *n->slot);
    if (!n->slot)
        return false;
    n->n_slot = n_slot;
    draw_key(n->key);
    return true;
}

void kl__names_close(struct kl__names *n, const kl_allocator *alloc)
{
    kl__release(alloc, n->slot);
    *n = (struct kl__names){0};
}

static struct kl__str name_of(const struct kl__names *n, size_t i)
{
    struct kl__str name;
    memcpy(&name, n->record + i * n->record_bytes, sizeof name);
    return name;
}

/* The slot that holds `name`, or the free one where it belongs. */
static size_t slot_of(const struct kl__names *n, struct kl__str name)
{
    size_t at = hash_of(n->key, name) & (n->n_slot - 1);
    while (n->slot[at] && !kl__str_same(name_of(n, n->slot[at] - 1), name))
        at = (at + 1) & (n->n_slot - 1);
    return at;
}

size_t kl__names_add(struct kl__names *n, size_t i)
{
    size_t at = slot_of(n, name_of(n, i));
    if (!n->slot[at])
        n->slot[at] = (uint32_t)i + 1;
    return n->slot[at] - 1;
}

int64_t kl__names_find(const struct kl__names *n, struct kl__str name)
{
    return n->n_slot ? (int64_t)n->slot[slot_of(n, name)] - 1 : -1;
}
