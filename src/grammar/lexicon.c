#include "grammar/lexicon.h"

#include "base/error.h"

#include <string.h>

enum { LONGEST = 1024 }; /* longer tokens cannot be written under a grammar */

static int compare(const struct kl__word *a, const struct kl__word *b)
{
    size_t n = a->bytes < b->bytes ? a->bytes : b->bytes;
    int order = memcmp(a->data, b->data, n);
    return order ? order : (int)a->bytes - (int)b->bytes;
}

/* Merges sorted runs of `run` words from `from` into `to`. */
static void merge(struct kl__word *to, const struct kl__word *from, int32_t n, int32_t run)
{
    for (int32_t first = 0; first < n; first += 2 * run) {
        int32_t middle = first + run < n ? first + run : n, end = middle + run < n ? middle + run : n;
        for (int32_t i = first, k = middle, at = first; at < end; at++)
            to[at] = k == end || (i < middle && compare(&from[i], &from[k]) <= 0) ? from[i++] : from[k++];
    }
}

/* Sorts word [n] by way of other [n]; returns the one that is sorted. */
static struct kl__word *sort(struct kl__word *word, struct kl__word *other, int32_t n)
{
    for (int32_t run = 1; run < n; run *= 2) {
        merge(other, word, n, run);
        struct kl__word *swap = word;
        word = other;
        other = swap;
    }
    return word;
}

static void collect(kl_lexicon *x)
{
    for (int32_t id = 0; id < x->n_vocab; id++) {
        kl_text text = kl_tokenizer_text(x->tokenizer, id);
        if (text.bytes && text.bytes <= LONGEST && !kl_tokenizer_is_special(x->tokenizer, id))
            x->word[x->n++] = (struct kl__word){text.data, (uint16_t)text.bytes, 0, id};
    }
}

static void measure(kl_lexicon *x)
{
    for (int32_t i = 0; i < x->n; i++) {
        struct kl__word *w = &x->word[i];
        x->longest = w->bytes > x->longest ? w->bytes : x->longest;
        while (i && w->shared < w->bytes && w->shared < w[-1].bytes && w->data[w->shared] == w[-1].data[w->shared])
            w->shared++;
    }
}

kl_status kl_lexicon_open(kl_lexicon **lexicon, const kl_tokenizer *t, const kl_allocator *alloc, kl_error *err)
{
    kl_lexicon *x = kl__alloc(alloc, sizeof *x);
    if (!x)
        return kl__fail(err, KL_ERR_MEMORY, "no memory for a lexicon");
    if (alloc) {
        x->alloc_copy = *alloc;
        x->alloc = &x->alloc_copy;
    }
    x->tokenizer = t;
    x->n_vocab = kl_tokenizer_n_vocab(t);
    size_t room = (size_t)x->n_vocab * sizeof *x->word;
    struct kl__word *other = kl__alloc(x->alloc, room + 1);
    x->word = kl__alloc(x->alloc, room + 1);
    if (!other || !x->word) {
        kl__release(x->alloc, other);
        kl_lexicon_close(x);
        return kl__fail(err, KL_ERR_MEMORY, "no memory for a lexicon of %d tokens", (int)kl_tokenizer_n_vocab(t));
    }
    collect(x);
    struct kl__word *sorted = sort(x->word, other, x->n);
    kl__release(x->alloc, sorted == other ? x->word : other);
    x->word = sorted;
    measure(x);
    *lexicon = x;
    return KL_OK;
}

void kl_lexicon_close(kl_lexicon *x)
{
    if (!x)
        return;
    kl_allocator copy = x->alloc_copy;
    const kl_allocator *alloc = x->alloc ? &copy : NULL;
    kl__release(alloc, x->word);
    kl__release(alloc, x);
}
