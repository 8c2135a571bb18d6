/* A stream of rows.  Everything that is random is a function of the seed and of numbers that the place holds, so that a
 * place of a few numbers is all that going on takes. */
#include "base/error.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/str.h"
#include "train/shard.h"

#include <string.h>

enum { MOST_ROW = 1 << 24 };

struct source {
    struct kl__shard shard;
    int64_t *first_piece; /* [n_document + 1] pieces in front of each document */
    double weight;
};

struct kl_data {
    const kl_allocator *alloc; /* NULL, or &alloc_copy */
    kl_allocator alloc_copy;
    int n_source;
    struct source source[KL_MAX_SOURCES];
    int64_t row;
    uint64_t seed, order;
    kl_data_place place;
};

/* ------------------------------------------------------------------------------------------------------- opening -- */

/* Tokens of a document that have one behind them. */
static int64_t drawn_of(const struct source *s, int64_t document)
{
    return s->shard.start[document + 1] - s->shard.start[document] - 1;
}

static int64_t n_piece(const struct source *s)
{
    return s->first_piece[s->shard.n_document];
}

static kl_status open_source(kl_data *d, int i, const kl_data_options *o, kl_error *err)
{
    struct source *s = &d->source[i];
    const char *path = o->source[i].path;
    s->weight = o->source[i].weight;
    if (!path || !(s->weight > 0 && s->weight < 1e9))
        return kl__fail(err, KL_ERR_ARGUMENT, "kl_data_open: source %d has weight %g, expected one above 0, and a path",
                        i, s->weight);
    KL_TRY(kl__shard_open(&s->shard, path, o->n_vocab, err));
    d->n_source = i + 1;
    s->first_piece = kl__alloc(d->alloc, (size_t)(s->shard.n_document + 1) * sizeof *s->first_piece);
    if (!s->first_piece)
        return kl__fail(err, KL_ERR_MEMORY, "%s: no memory for its %lld documents", kl__shown_path(path).text,
                        (long long)s->shard.n_document);
    for (int64_t n = 0; n < s->shard.n_document; n++)
        s->first_piece[n + 1] = s->first_piece[n] + (drawn_of(s, n) + d->row - 1) / d->row;
    if (n_piece(s) == 0)
        return kl__fail(err, KL_ERR_FORMAT, "%s: has nothing to foresee: every document is a single token",
                        kl__shown_path(path).text);
    return KL_OK;
}

static kl_status find_order(kl_data *d, kl_error *err)
{
    const int64_t number[] = {d->row, d->n_source};
    uint8_t value[16];
    struct kl__hash *h = kl__hash_open();
    if (!h)
        return kl__fail(err, KL_ERR_MEMORY, "no memory for a checksum");
    kl__hash_add(h, number, sizeof number);
    kl__hash_add(h, &d->seed, sizeof d->seed);
    for (int i = 0; i < d->n_source; i++)
        kl__hash_add(h, d->source[i].shard.checksum, sizeof d->source[i].shard.checksum);
    kl__hash_value(h, value);
    kl__hash_close(h);
    memcpy(&d->order, value, sizeof d->order);
    return KL_OK;
}

kl_status kl_data_open(kl_data **data, const kl_data_options *o, kl_error *err)
{
    if (!data || !o || !o->source || o->n_source < 1 || o->n_source > KL_MAX_SOURCES)
        return kl__fail(err, KL_ERR_ARGUMENT, "kl_data_open: n_source is %d, expected 1 .. %d", o ? o->n_source : 0,
                        KL_MAX_SOURCES);
    if (o->row < 2 || o->row > MOST_ROW || o->n_vocab < 1)
        return kl__fail(err, KL_ERR_ARGUMENT, "kl_data_open: row is %lld, expected 2 .. %d, and a vocabulary",
                        (long long)o->row, MOST_ROW);
    kl_data *d = kl__alloc(o->alloc, sizeof *d);
    if (!d)
        return kl__fail(err, KL_ERR_MEMORY, "kl_data_open: no memory");
    if (o->alloc) {
        d->alloc_copy = *o->alloc;
        d->alloc = &d->alloc_copy;
    }
    d->row = o->row;
    d->seed = o->seed;
    kl_status status = KL_OK;
    for (int i = 0; i < o->n_source && status == KL_OK; i++)
        status = open_source(d, i, o, err);
    if (status == KL_OK)
        status = find_order(d, err);
    if (status == KL_OK)
        *data = d;
    else
        kl_data_close(d);
    return status;
}

void kl_data_close(kl_data *d)
{
    if (!d)
        return;
    for (int i = 0; i < d->n_source; i++) {
        kl__shard_close(&d->source[i].shard);
        kl__release(d->alloc, d->source[i].first_piece);
    }
    kl_allocator copy = d->alloc_copy;
    kl__release(d->alloc ? &copy : NULL, d);
}

int64_t kl_data_epoch_tokens(const kl_data *d, int i)
{
    return d->source[i].shard.n_token - d->source[i].shard.n_document;
}

uint64_t kl_data_order(const kl_data *d)
{
    return d->order;
}

/* --------------------------------------------------------------------------------------------------------- order -- */

/* Place `i` of a random order of 0 .. n - 1: a Feistel network over the next power of four, walked on until it falls
 * into the range.  No memory, and the next number needs none before it. */
static int64_t shuffled(uint64_t key, int64_t i, int64_t n)
{
    int half = 1;
    while ((int64_t)1 << 2 * half < n)
        half++;
    uint64_t mask = ((uint64_t)1 << half) - 1, x = (uint64_t)i;
    do {
        uint64_t left = x >> half, right = x & mask;
        for (uint64_t round = 0; round < 6; round++) {
            uint64_t mixed = left ^ (kl__random_at(key, right << 3 | round) >> 32 & mask);
            left = right;
            right = mixed;
        }
        x = left << half | right;
    } while (x >= (uint64_t)n);
    return (int64_t)x;
}

/* The source whose part is furthest behind. */
static int next_source(const kl_data *d)
{
    int best = 0;
    for (int i = 1; i < d->n_source; i++)
        if ((double)d->place.drawn[i] / d->source[i].weight < (double)d->place.drawn[best] / d->source[best].weight)
            best = i;
    return best;
}

static int64_t document_of(const struct source *s, int64_t piece)
{
    int64_t low = 0, high = s->shard.n_document;
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        if (s->first_piece[middle] <= piece)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static void next_piece(kl_data *d)
{
    kl_data_place *p = &d->place;
    int i = next_source(d);
    const struct source *s = &d->source[i];
    uint64_t key = kl__random(d->seed, (uint64_t)p->epoch[i] * KL_MAX_SOURCES + (uint64_t)i).key;
    int64_t piece = shuffled(key, p->piece[i], n_piece(s)), document = document_of(s, piece);
    int64_t from = (piece - s->first_piece[document]) * d->row, left = drawn_of(s, document) - from;
    p->source = i;
    p->at = s->shard.start[document] + from;
    p->end = p->at + (left < d->row ? left : d->row);
    p->drawn[i] += p->end - p->at;
    if (++p->piece[i] == n_piece(s)) {
        p->piece[i] = 0;
        p->epoch[i]++;
    }
}

void kl_data_next(kl_data *d, int64_t n_row, int32_t *token, int32_t *label, int64_t *cu_seqlens, int64_t *n_seq)
{
    int64_t n = n_row * d->row, t = 0;
    *n_seq = cu_seqlens[0] = 0;
    while (t < n) {
        if (d->place.at == d->place.end)
            next_piece(d);
        kl_data_place *p = &d->place;
        const struct kl__shard *s = &d->source[p->source].shard;
        int64_t room = d->row - t % d->row, left = p->end - p->at, take = left < room ? left : room;
        for (int64_t i = 0; i < take; i++) {
            token[t + i] = kl__shard_token(s, p->at + i);
            label[t + i] = kl__shard_token(s, p->at + i + 1);
        }
        t += take;
        p->at += take;
        cu_seqlens[++*n_seq] = t;
    }
}

/* -------------------------------------------------------------------------------------------------------- places -- */

kl_data_place kl_data_place_of(const kl_data *d)
{
    return d->place;
}

kl_status kl_data_go(kl_data *d, const kl_data_place *p, kl_error *err)
{
    bool fine = p->source >= 0 && p->source < d->n_source && p->at >= 0 && p->end >= p->at;
    fine = fine && p->end < d->source[p->source].shard.n_token;
    for (int i = 0; i < d->n_source; i++)
        fine = fine && p->epoch[i] >= 0 && p->piece[i] >= 0 && p->drawn[i] >= 0 && p->piece[i] < n_piece(&d->source[i]);
    if (!fine)
        return kl__fail(err, KL_ERR_ARGUMENT, "kl_data_go: this is no place in these shards");
    d->place = *p;
    return KL_OK;
}
