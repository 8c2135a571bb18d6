/* Counting pieces: a table from bytes to counts. */
#include "base/error.h"
#include "base/random.h"
#include "text/pieces.h"
#include "train/bpe_learn.h"

#include <string.h>

enum {
    LONGEST = 64, /* bytes of a piece that teaches something: longer ones are rulers and blobs */
    FIRST_SLOTS = 1 << 12,
};

bool kl__list_reserve(struct kl__list *l, int64_t more, size_t item_bytes, const kl_allocator *alloc)
{
    if (l->n + more <= l->room)
        return true;
    int64_t room = l->room * 2 > l->n + more ? l->room * 2 : l->n + more + 16;
    void *item = kl__alloc(alloc, (size_t)room * item_bytes);
    if (!item)
        return false;
    if (l->n)
        memcpy(item, l->item, (size_t)l->n * item_bytes);
    kl__release(alloc, l->item);
    l->item = item;
    l->room = room;
    return true;
}

kl_status kl_bpe_open(kl_bpe **bpe, const kl_allocator *alloc, kl_error *err)
{
    kl_bpe *b = kl__alloc(alloc, sizeof *b);
    if (!b)
        return kl__fail(err, KL_ERR_MEMORY, "kl_bpe_open: no memory");
    if (alloc) {
        b->alloc_copy = *alloc;
        b->alloc = &b->alloc_copy;
    }
    b->n_slot = FIRST_SLOTS;
    b->slot = kl__alloc(b->alloc, FIRST_SLOTS * sizeof *b->slot);
    if (!b->slot) {
        kl_bpe_close(b);
        return kl__fail(err, KL_ERR_MEMORY, "kl_bpe_open: no memory");
    }
    *bpe = b;
    return KL_OK;
}

void kl_bpe_close(kl_bpe *b)
{
    if (!b)
        return;
    kl__release(b->alloc, b->word.item);
    kl__release(b->alloc, b->bytes.item);
    kl__release(b->alloc, b->token.item);
    kl__release(b->alloc, b->slot);
    kl_allocator copy = b->alloc_copy;
    kl__release(b->alloc ? &copy : NULL, b);
}

static struct kl__word *word_at(const kl_bpe *b, int64_t i)
{
    return (struct kl__word *)b->word.item + i;
}

static uint64_t hash_of(const unsigned char *p, size_t n)
{
    uint64_t h = n;
    for (size_t i = 0; i < n; i++)
        h = kl__mix(h ^ p[i]) + 0x9e3779b97f4a7c15;
    return h;
}

/* The slot of these bytes, or the free one where they belong. */
static int64_t slot_of(const kl_bpe *b, const unsigned char *p, size_t n)
{
    int64_t at = (int64_t)(hash_of(p, n) & (uint64_t)(b->n_slot - 1));
    for (; b->slot[at]; at = (at + 1) & (b->n_slot - 1)) {
        const struct kl__word *w = word_at(b, b->slot[at] - 1);
        if ((size_t)w->n_byte == n && memcmp((unsigned char *)b->bytes.item + w->first, p, n) == 0)
            break;
    }
    return at;
}

static bool more_slots(kl_bpe *b)
{
    int64_t *old = b->slot, *slot = kl__alloc(b->alloc, 2 * (size_t)b->n_slot * sizeof *slot);
    if (!slot)
        return false;
    b->slot = slot;
    b->n_slot *= 2;
    for (int64_t i = 0; i < b->word.n; i++) {
        const struct kl__word *w = word_at(b, i);
        slot[slot_of(b, (unsigned char *)b->bytes.item + w->first, (size_t)w->n_byte)] = i + 1;
    }
    kl__release(b->alloc, old);
    return true;
}

static bool count(kl_bpe *b, const unsigned char *p, size_t n)
{
    int64_t at = slot_of(b, p, n);
    if (b->slot[at]) {
        word_at(b, b->slot[at] - 1)->count++;
        return true;
    }
    if (!kl__list_reserve(&b->word, 1, sizeof(struct kl__word), b->alloc) ||
        !kl__list_reserve(&b->bytes, (int64_t)n, 1, b->alloc))
        return false;
    *word_at(b, b->word.n++) = (struct kl__word){b->bytes.n, (int32_t)n, (int32_t)n, 1};
    memcpy((unsigned char *)b->bytes.item + b->bytes.n, p, n);
    b->bytes.n += (int64_t)n;
    b->slot[at] = b->word.n;
    return 2 * b->word.n < b->n_slot || more_slots(b);
}

/* One block of well-formed UTF-8. */
static bool count_block(kl_bpe *b, const unsigned char *p, const unsigned char *end)
{
    while (p < end)
        for (const unsigned char *slice = kl__slice_end(p, end); p < slice;) {
            const unsigned char *next = kl__piece_end(p, slice);
            if (next - p <= LONGEST && !count(b, p, (size_t)(next - p)))
                return false;
            p = next;
        }
    return true;
}

kl_status kl_bpe_add(kl_bpe *b, kl_text text, kl_error *err)
{
    const unsigned char *p = (const unsigned char *)text.data;
    for (size_t left = text.bytes; left;) {
        struct kl__block block = kl__block_of(p, left);
        unsigned char *mended = block.n_broken ? kl__alloc(b->alloc, block.whole) : NULL;
        bool fine = !block.n_broken || mended;
        if (mended)
            kl__block_mend(mended, p, &block);
        fine = fine && count_block(b, mended ? mended : p, (mended ? mended : p) + block.whole);
        kl__release(b->alloc, mended);
        if (!fine)
            return kl__fail(err, KL_ERR_MEMORY, "no memory for %lld different pieces of text", (long long)b->word.n);
        p += block.bytes;
        left -= block.bytes;
    }
    return KL_OK;
}
