/* Joining pairs.  Every pair of neighbouring symbols has a count, and the words that it was seen in; a heap has the
 * pairs by their counts.  When a pair becomes a token, only those words are looked at again.  Entries of heap and lists
 * may be out of date: a pair that comes up with another count than the entry says goes back with the right one, and a
 * word that has lost the pair is passed over. */
#include "train/bpe_learn.h"

#include "base/error.h"
#include "base/random.h"

#include <string.h>

enum { LEAST = 256, MOST = 1 << 20 };

struct pair {
    int32_t left, right;
    int64_t count;
    int64_t seen; /* the last node of its list; -1: none */
};

/* A word that a pair was seen in. */
struct node {
    int64_t word, before;
};

struct entry {
    int64_t count, pair;
};

struct learning {
    kl_bpe *b;
    struct kl__list symbol; /* int32_t, at the places of the words' bytes */
    struct kl__list pair, node, heap;
    int64_t *slot; /* [n_slot] number of a pair + 1; 0: free */
    int64_t n_slot;
    bool failed; /* no memory */
};

static struct pair *pair_at(const struct learning *l, int64_t i)
{
    return (struct pair *)l->pair.item + i;
}

/* ---------------------------------------------------------------------------------------------------------- heap -- */

/* More frequent pairs first; of those alike the one whose ids come first. */
static bool before(const struct learning *l, struct entry a, struct entry b)
{
    const struct pair *p = pair_at(l, a.pair), *q = pair_at(l, b.pair);
    if (a.count != b.count)
        return a.count > b.count;
    return p->left != q->left ? p->left < q->left : p->right < q->right;
}

static void heap_put(struct learning *l, int64_t pair)
{
    if (!kl__list_reserve(&l->heap, 1, sizeof(struct entry), l->b->alloc)) {
        l->failed = true;
        return;
    }
    struct entry *heap = l->heap.item, new = {pair_at(l, pair)->count, pair};
    int64_t i = l->heap.n++;
    for (; i > 0 && before(l, new, heap[(i - 1) / 2]); i = (i - 1) / 2)
        heap[i] = heap[(i - 1) / 2];
    heap[i] = new;
}

static struct entry heap_take(struct learning *l)
{
    struct entry *heap = l->heap.item, top = heap[0], last = heap[--l->heap.n];
    int64_t i = 0;
    for (int64_t child; (child = 2 * i + 1) < l->heap.n; i = child) {
        child += child + 1 < l->heap.n && before(l, heap[child + 1], heap[child]);
        if (!before(l, heap[child], last))
            break;
        heap[i] = heap[child];
    }
    heap[i] = last;
    return top;
}

/* --------------------------------------------------------------------------------------------------------- pairs -- */

static int64_t slot_of(const struct learning *l, int32_t left, int32_t right)
{
    uint64_t hash = kl__mix((uint64_t)(uint32_t)left << 32 | (uint32_t)right);
    int64_t at = (int64_t)(hash & (uint64_t)(l->n_slot - 1));
    for (; l->slot[at]; at = (at + 1) & (l->n_slot - 1)) {
        const struct pair *p = pair_at(l, l->slot[at] - 1);
        if (p->left == left && p->right == right)
            break;
    }
    return at;
}

static bool more_slots(struct learning *l)
{
    int64_t *old = l->slot, n = l->n_slot ? 2 * l->n_slot : 1 << 12;
    int64_t *slot = kl__alloc(l->b->alloc, (size_t)n * sizeof *slot);
    if (!slot)
        return false;
    l->slot = slot;
    l->n_slot = n;
    for (int64_t i = 0; i < l->pair.n; i++)
        slot[slot_of(l, pair_at(l, i)->left, pair_at(l, i)->right)] = i + 1;
    kl__release(l->b->alloc, old);
    return true;
}

/* The number of a pair, made when there is none; -1: no memory. */
static int64_t pair_of(struct learning *l, int32_t left, int32_t right)
{
    int64_t at = slot_of(l, left, right);
    if (l->slot[at])
        return l->slot[at] - 1;
    if (!kl__list_reserve(&l->pair, 1, sizeof(struct pair), l->b->alloc) ||
        (2 * (l->pair.n + 1) > l->n_slot && !more_slots(l))) {
        l->failed = true;
        return -1;
    }
    *pair_at(l, l->pair.n++) = (struct pair){left, right, 0, -1};
    l->slot[slot_of(l, left, right)] = l->pair.n;
    return l->pair.n - 1;
}

static void note_word(struct learning *l, int64_t pair, int64_t word)
{
    struct pair *p = pair_at(l, pair);
    const struct node *last = p->seen < 0 ? NULL : (struct node *)l->node.item + p->seen;
    if (last && last->word == word)
        return;
    if (!kl__list_reserve(&l->node, 1, sizeof(struct node), l->b->alloc)) {
        l->failed = true;
        return;
    }
    ((struct node *)l->node.item)[l->node.n] = (struct node){word, p->seen};
    p->seen = l->node.n++;
}

/* Counts the pairs of a word, `sign` times; those with the token `new` (-1: all) get to know the word. */
static void count_word(struct learning *l, int64_t word, int sign, int32_t new)
{
    const struct kl__word *w = (struct kl__word *)l->b->word.item + word;
    const int32_t *s = (int32_t *)l->symbol.item + w->first;
    for (int32_t i = 0; i + 1 < w->n_symbol && !l->failed; i++) {
        int64_t pair = pair_of(l, s[i], s[i + 1]);
        if (pair < 0)
            return;
        pair_at(l, pair)->count += sign * w->count;
        if (sign > 0 && (new < 0 || s[i] == new || s[i + 1] == new))
            note_word(l, pair, word);
    }
}

/* ------------------------------------------------------------------------------------------------------- joining -- */

static bool has(const int32_t *s, int32_t n, const struct pair *p)
{
    for (int32_t i = 0; i + 1 < n; i++)
        if (s[i] == p->left && s[i + 1] == p->right)
            return true;
    return false;
}

static void join_in_word(struct learning *l, int64_t word, const struct pair *p, int32_t new)
{
    struct kl__word *w = (struct kl__word *)l->b->word.item + word;
    int32_t *s = (int32_t *)l->symbol.item + w->first, n = 0;
    if (!has(s, w->n_symbol, p))
        return;
    count_word(l, word, -1, new);
    for (int32_t i = 0; i < w->n_symbol; i++) {
        bool here = i + 1 < w->n_symbol && s[i] == p->left && s[i + 1] == p->right;
        s[n++] = here ? new : s[i];
        i += here;
    }
    w->n_symbol = n;
    count_word(l, word, 1, new);
}

/* Pairs that were made since `first` come into the heap. */
static void enter(struct learning *l, int64_t first)
{
    for (int64_t i = first; i < l->pair.n && !l->failed; i++)
        heap_put(l, i);
}

static void join(struct learning *l, int64_t pair)
{
    struct pair p = *pair_at(l, pair);
    int32_t new = (int32_t)l->b->token.n;
    int64_t first = l->pair.n;
    if (!kl__list_reserve(&l->b->token, 1, sizeof(struct kl__token), l->b->alloc)) {
        l->failed = true;
        return;
    }
    ((struct kl__token *)l->b->token.item)[l->b->token.n++] = (struct kl__token){p.left, p.right};
    for (int64_t node = p.seen; node >= 0 && !l->failed;) {
        struct node at = ((struct node *)l->node.item)[node];
        join_in_word(l, at.word, &p, new);
        node = at.before;
    }
    enter(l, first);
}

/* The most frequent pair that there is; -1: none comes twice. */
static int64_t best(struct learning *l)
{
    while (l->heap.n && !l->failed) {
        struct entry e = heap_take(l);
        int64_t count = pair_at(l, e.pair)->count;
        if (count == e.count && count > 1)
            return e.pair;
        if (count != e.count && count > 1)
            heap_put(l, e.pair);
    }
    return -1;
}

/* ------------------------------------------------------------------------------------------------------ learning -- */

static void begin(struct learning *l)
{
    const kl_bpe *b = l->b;
    l->failed = !more_slots(l) || !kl__list_reserve(&l->symbol, b->bytes.n, sizeof(int32_t), b->alloc) ||
                !kl__list_reserve(&l->b->token, 256, sizeof(struct kl__token), b->alloc);
    if (l->failed)
        return;
    for (int64_t i = 0; i < b->bytes.n; i++)
        ((int32_t *)l->symbol.item)[i] = ((unsigned char *)b->bytes.item)[i];
    for (int i = 0; i < 256; i++)
        ((struct kl__token *)b->token.item)[i] = (struct kl__token){-1, -1};
    l->b->token.n = 256;
    for (int64_t i = 0; i < b->word.n && !l->failed; i++)
        count_word(l, i, 1, -1);
    enter(l, 0);
}

kl_status kl_bpe_learn(kl_bpe *b, int64_t n_rank, int64_t *n_made, kl_error *err)
{
    if (n_rank < LEAST || n_rank > MOST || b->token.n)
        return kl__fail(err, KL_ERR_ARGUMENT, "kl_bpe_learn: n_rank is %lld, expected %d .. %d, once",
                        (long long)n_rank, LEAST, MOST);
    struct learning l = {.b = b};
    begin(&l);
    for (int64_t pair; !l.failed && b->token.n < n_rank && (pair = best(&l)) >= 0;)
        join(&l, pair);
    kl__release(b->alloc, l.symbol.item);
    kl__release(b->alloc, l.pair.item);
    kl__release(b->alloc, l.node.item);
    kl__release(b->alloc, l.heap.item);
    kl__release(b->alloc, l.slot);
    if (l.failed)
        return kl__fail(err, KL_ERR_MEMORY, "kl_bpe_learn: no memory for %lld pairs", (long long)l.pair.n);
    if (n_made)
        *n_made = b->token.n;
    return KL_OK;
}
