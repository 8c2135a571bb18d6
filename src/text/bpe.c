/* A piece begins as its single bytes.  As long as two neighbours together spell a token, those two are joined whose
 * token has the lowest rank, the leftmost of equals.  Short pieces look for the lowest rank by going through all pairs,
 * which is quick because there are few; long ones keep the pairs in a heap. */
#include "text/bpe.h"
#include "base/error.h"
#include "base/memory.h"

#include "text/key.h"

#include <assert.h>

enum { SHORT = 64 };
#define NO_RANK UINT32_MAX

void kl__ids_flush(struct kl__ids *ids)
{
    if (ids->status == KL_OK && ids->n)
        ids->status = ids->hand_on(ids->user, ids->id, ids->n);
    ids->n = 0;
}

/* The rank of a text, which no token need spell. */
static uint32_t rank_of(const struct kl__vocab *v, const unsigned char *p, size_t bytes)
{
    return (uint32_t)kl__vocab_find(v, p, bytes); /* -1 is NO_RANK */
}

/* -------------------------------------------------------------------------------------------------- short pieces -- */

struct part {
    uint32_t rank;  /* of this part and the next one together */
    uint32_t start; /* in the piece */
    int32_t id;     /* what it spells; a token's id is its rank */
};

/* part [n + 1]: the last one stands for the end. */
static void join(struct part *part, size_t i, size_t n)
{
    memmove(&part[i + 1], &part[i + 2], (n - i - 1) * sizeof *part);
}

/* Leaves the parts that no joining is left for, and returns how many.  part [SHORT + 1] */
static size_t join_short(struct part *part, const struct kl__vocab *v, const unsigned char *p, size_t bytes)
{
    size_t n = bytes;
    for (size_t i = 0; i <= n; i++)
        part[i] = (struct part){i + 1 < n ? rank_of(v, p + i, 2) : NO_RANK, (uint32_t)i, i < n ? v->byte[p[i]] : -1};
    for (;;) {
        size_t best = 0;
        for (size_t i = 1; i < n; i++)
            best = part[i].rank < part[best].rank ? i : best;
        if (part[best].rank == NO_RANK)
            break;
        part[best].id = (int32_t)part[best].rank;
        join(part, best, n--);
        for (size_t i = best ? best - 1 : 0; i <= best; i++) {
            uint32_t start = part[i].start;
            part[i].rank = i + 1 < n ? rank_of(v, p + start, part[i + 2].start - start) : NO_RANK;
        }
    }
    return n;
}

/* The place of a word among recent ones, with its key. */
static struct kl__recent *place_of(struct kl__bpe_room *room, struct kl__recent *word, const unsigned char *p,
                                   size_t bytes)
{
    word->bytes = (uint8_t)bytes;
    word->key[0] = bytes < 8 ? kl__short_key(p, bytes) : kl__read64(p);
    word->key[1] = bytes < 8 ? 0 : kl__short_key(p + 8, bytes - 8);
    uint64_t h = (word->key[0] ^ (word->key[1] + bytes) * 0x9e3779b97f4a7c15) * 0xd6e8feb86659fd93;
    return &room->recent[h >> 54];
}

static bool put_recent(struct kl__ids *ids, const struct kl__recent *r, const struct kl__recent *word)
{
    if (r->bytes != word->bytes || r->key[0] != word->key[0] || r->key[1] != word->key[1])
        return false;
    for (int i = 0; i < r->n_id; i++)
        kl__ids_put(ids, r->id[i]);
    return true;
}

static void encode_short(struct kl__ids *ids, const struct kl__vocab *v, const unsigned char *p, size_t bytes,
                         struct kl__bpe_room *room)
{
    struct part part[SHORT + 1];
    struct kl__recent word = {0}, *r = room->recent && bytes <= 16 ? place_of(room, &word, p, bytes) : NULL;
    if (r && put_recent(ids, r, &word))
        return;
    size_t n = join_short(part, v, p, bytes);
    for (size_t i = 0; i < n; i++) {
        kl__ids_put(ids, part[i].id);
        word.id[i < 3 ? i : 2] = part[i].id;
    }
    word.n_id = (uint8_t)n;
    if (r && n <= 3)
        *r = word;
}

/* --------------------------------------------------------------------------------------------------- long pieces -- */

/* Parts are known by the byte where they begin.  The heap holds rank << 32 | start; an entry whose part has another
 * rank by now is stale and is passed over. */
struct long_piece {
    const struct kl__vocab *v;
    const unsigned char *p;
    uint32_t bytes;
    uint32_t *next, *last; /* [bytes + 1] neighbours of a part; next == bytes: the last one */
    uint32_t *rank;        /* [bytes] of a part and its neighbour together; NO_RANK: gone, or no token */
    uint64_t *heap;        /* [2 * bytes] smallest first */
    size_t n_heap;
};

static void sift_down(uint64_t *heap, size_t n, size_t i)
{
    uint64_t item = heap[i];
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        child += child + 1 < n && heap[child + 1] < heap[child];
        if (item <= heap[child])
            break;
        heap[i] = heap[child];
    }
    heap[i] = item;
}

static void push(struct long_piece *l, uint64_t item)
{
    size_t i = l->n_heap++;
    assert(i < 2 * (size_t)l->bytes);
    for (; i && item < l->heap[(i - 1) / 2]; i = (i - 1) / 2)
        l->heap[i] = l->heap[(i - 1) / 2];
    l->heap[i] = item;
}

static uint64_t pop(struct long_piece *l)
{
    uint64_t item = l->heap[0];
    l->heap[0] = l->heap[--l->n_heap];
    sift_down(l->heap, l->n_heap, 0);
    return item;
}

/* Looks up what the part at `at` and the next one spell. */
static uint32_t pair_rank(const struct long_piece *l, uint32_t at)
{
    uint32_t next = l->next[at];
    return next == l->bytes ? NO_RANK : rank_of(l->v, l->p + at, l->next[next] - at);
}

static void begin(struct long_piece *l)
{
    for (uint32_t i = 0; i < l->bytes; i++) {
        l->next[i] = i + 1;
        l->last[i] = i ? i - 1 : NO_RANK;
        l->rank[i] = i + 1 < l->bytes ? rank_of(l->v, l->p + i, 2) : NO_RANK;
        if (l->rank[i] != NO_RANK)
            l->heap[l->n_heap++] = (uint64_t)l->rank[i] << 32 | i;
    }
    for (size_t i = l->n_heap / 2; i-- > 0;)
        sift_down(l->heap, l->n_heap, i);
}

static void renew(struct long_piece *l, uint32_t at)
{
    l->rank[at] = pair_rank(l, at);
    if (l->rank[at] != NO_RANK)
        push(l, (uint64_t)l->rank[at] << 32 | at);
}

static void merge_all(struct long_piece *l)
{
    while (l->n_heap) {
        uint64_t item = pop(l);
        uint32_t at = (uint32_t)item;
        if (l->rank[at] != item >> 32)
            continue;
        uint32_t gone = l->next[at];
        l->next[at] = l->next[gone];
        l->rank[gone] = NO_RANK;
        if (l->next[at] != l->bytes)
            l->last[l->next[at]] = at;
        renew(l, at);
        if (l->last[at] != NO_RANK)
            renew(l, l->last[at]);
    }
}

static kl_status reserve(struct kl__bpe_room *room, size_t bytes, kl_error *err)
{
    if (bytes <= room->bytes)
        return KL_OK;
    kl__release(room->alloc, room->memory);
    room->memory = kl__alloc(room->alloc, bytes);
    room->bytes = room->memory ? bytes : 0;
    return room->memory ? KL_OK : kl__fail(err, KL_ERR_MEMORY, "no memory for a word of %zu bytes", bytes);
}

static kl_status encode_long(struct kl__ids *ids, const struct kl__vocab *v, const unsigned char *p, size_t bytes,
                             struct kl__bpe_room *room, kl_error *err)
{
    KL_TRY(reserve(room, bytes * (2 * sizeof(uint64_t) + 3 * sizeof(uint32_t)), err));
    struct long_piece l = {.v = v, .p = p, .bytes = (uint32_t)bytes, .heap = room->memory};
    l.next = (uint32_t *)(l.heap + 2 * bytes);
    l.last = l.next + bytes;
    l.rank = l.last + bytes;
    begin(&l);
    merge_all(&l);
    for (uint32_t at = 0; at < l.bytes; at = l.next[at])
        kl__ids_put(ids, kl__vocab_find(v, p + at, l.next[at] - at));
    return KL_OK;
}

kl_status kl__bpe(struct kl__ids *ids, const struct kl__vocab *v, const unsigned char *p, size_t bytes,
                  struct kl__bpe_room *room, kl_error *err)
{
    int32_t whole = kl__vocab_find(v, p, bytes);
    if (whole >= 0)
        kl__ids_put(ids, whole);
    else if (bytes <= SHORT)
        encode_short(ids, v, p, bytes, room);
    else
        return encode_long(ids, v, p, bytes, room, err);
    return KL_OK;
}
