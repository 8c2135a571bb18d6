#include "cpu/replay.h"

#include <string.h>

enum {
    SPAN_BYTES = 64 << 20,   /* states that a span keeps, about */
    BLOCK_BYTES = 512 << 10, /* states of a block: with what else a block needs, a second-level cache */
};

static int64_t min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t divide_up(int64_t n, int64_t by)
{
    return n / by + (n % by > 0);
}

/* Of n_head heads, as many as keep the states of so many blocks within bounds. */
static int heads_within(int n_head, int64_t n_block, int64_t state_bytes)
{
    int64_t n = min(n_head, SPAN_BYTES / (n_block * state_bytes));
    return n > 0 ? (int)n : 1;
}

struct kl__replay_plan kl__replay_plan(int64_t longest, int chunk, int n_head, size_t state_floats,
                                       int64_t given_every)
{
    struct kl__replay_plan p = {.chunk = chunk, .state_floats = state_floats};
    int64_t state_bytes = (int64_t)(4 * state_floats), given_chunks = given_every / chunk, n_block;
    p.block = (int)min(BLOCK_BYTES / state_bytes, KL__REPLAY_BLOCK);
    p.block = p.block > 0 ? p.block : 1;
    n_block = min(divide_up(longest, (int64_t)p.block * chunk), SPAN_BYTES / state_bytes);
    n_block = n_block > 0 ? n_block : 1;
    p.span = n_block * p.block * chunk;
    p.uses_given = given_every > 0 && given_every <= p.span;
    if (p.uses_given && given_chunks <= p.block) {
        p.block -= p.block % (int)given_chunks;
        p.span = (int64_t)p.block * chunk;
        n_block = 1;
    } else if (p.uses_given) {
        p.span = given_every;
        n_block = divide_up(given_chunks, p.block);
    } else if (longest > p.span) {
        p.n_span_start = (longest - 1) / p.span;
    }
    p.n_head = heads_within(n_head, n_block, state_bytes);
    return p;
}

static size_t blocks_of_span(const struct kl__replay_plan *p)
{
    return (size_t)divide_up(p->span, (int64_t)p->block * p->chunk);
}

void kl__replay_carve(struct kl__carver *c, const struct kl__replay_plan *p, struct kl__replay_memory *m)
{
    size_t state_bytes = p->state_floats * sizeof(float), heads = (size_t)p->n_head;
    m->running = kl__carve(c, heads, state_bytes);
    m->states = kl__carve(c, (size_t)p->block - 1, state_bytes);
    m->block_starts = kl__carve(c, heads * blocks_of_span(p), state_bytes);
    m->span_starts = kl__carve(c, heads * (size_t)p->n_span_start, state_bytes);
}

struct walk {
    const struct kl__replay_plan *p;
    const struct kl__replay_memory *m;
    const struct kl__replay_steps *steps;
    void *ctx;
    int n_head;
    int64_t n_token;
};

static float *running(const struct walk *w, int head)
{
    return w->m->running + (size_t)head * w->p->state_floats;
}

static float *block_start(const struct walk *w, int head, int64_t block)
{
    return w->m->block_starts + ((size_t)head * blocks_of_span(w->p) + (size_t)block) * w->p->state_floats;
}

static float *span_start(const struct walk *w, int head, int64_t span)
{
    return w->m->span_starts + (size_t)(head * w->p->n_span_start + span - 1) * w->p->state_floats;
}

static void copy_state(const struct walk *w, float *to, const float *from)
{
    memcpy(to, from, w->p->state_floats * sizeof *to);
}

static struct kl__replay_chunk chunk_at(const struct walk *w, enum kl__replay_what what, int head, int64_t t, int i)
{
    return (struct kl__replay_chunk){what, head, t, (int)min(w->n_token - t, w->p->chunk), i, false};
}

/* All heads through the chunk at t; the one at t + chunk comes next, unless that is `end`. */
static void run_heads(const struct walk *w, int64_t t, int64_t end)
{
    for (int h = 0; h < w->n_head; h++) {
        bool last = h + 1 == w->n_head, none = last && t + w->p->chunk >= end;
        struct kl__replay_chunk c = chunk_at(w, KL__REPLAY_FORWARD, h, t, 0);
        struct kl__replay_chunk next = last ? chunk_at(w, KL__REPLAY_FORWARD, 0, t + w->p->chunk, 0)
                                            : chunk_at(w, KL__REPLAY_FORWARD, h + 1, t, 0);
        w->steps->chunk(w->ctx, running(w, h), NULL, &c, none ? NULL : &next, NULL);
    }
}

/* One run through all spans but the last, to keep the states that spans start with. */
static void keep_span_starts(const struct walk *w)
{
    int64_t span = w->p->span, end = (w->n_token - 1) / span * span;
    for (int h = 0; h < w->n_head; h++)
        w->steps->load(w->ctx, h, running(w, h), 0);
    for (int64_t t = 0; t < end;) {
        run_heads(w, t, end);
        t += w->p->chunk;
        for (int h = 0; t % span == 0 && h < w->n_head; h++)
            copy_state(w, span_start(w, h, t / span), running(w, h));
    }
}

/* The states that the blocks of the span at `start` start with. */
static void keep_block_starts(const struct walk *w, int64_t start, int64_t n_block)
{
    int64_t block = (int64_t)w->p->block * w->p->chunk, end = start + (n_block - 1) * block;
    for (int h = 0; h < w->n_head; h++) {
        float *first = block_start(w, h, 0);
        if (start == 0 || w->p->uses_given)
            w->steps->load(w->ctx, h, first, start);
        else
            copy_state(w, first, span_start(w, h, start / w->p->span));
        if (n_block > 1)
            copy_state(w, running(w, h), first);
    }
    for (int64_t t = start; t < end;) {
        run_heads(w, t, end);
        t += w->p->chunk;
        for (int h = 0; (t - start) % block == 0 && h < w->n_head; h++)
            copy_state(w, block_start(w, h, (t - start) / block), running(w, h));
    }
}

/* Chunks of one head that are in the cache together. */
struct block {
    int head, n;   /* chunks; 0: no block */
    int64_t start; /* its first token */
    int n_told;    /* chunks that the block before has been told of */
};

static struct kl__replay_chunk chunk_again(const struct walk *w, struct block b, int i)
{
    struct kl__replay_chunk c = chunk_at(w, KL__REPLAY_AGAIN, b.head, b.start + (int64_t)i * w->p->chunk, i);
    c.told = i < b.n_told;
    return c;
}

/* Through the block b from the state `first`.  The block `after` follows. */
static void run_block(const struct walk *w, struct block b, const float *first, struct block after)
{
    size_t size = w->p->state_floats;
    int chunk = w->p->chunk, last = b.n - 1;
    for (int i = 0; i <= last; i++) {
        struct kl__replay_chunk c = chunk_again(w, b, i), next = chunk_again(w, b, i + 1);
        if (i == last)
            next = chunk_at(w, KL__REPLAY_BACKWARD, b.head, c.t, i);
        w->steps->chunk(w->ctx, i == last ? NULL : w->m->states + (size_t)i * size,
                        i ? w->m->states + (size_t)(i - 1) * size : first, &c, &next, NULL);
    }
    for (int i = last; i >= 0; i--) {
        struct kl__replay_chunk c = chunk_at(w, KL__REPLAY_BACKWARD, b.head, b.start + (int64_t)i * chunk, i);
        struct kl__replay_chunk next = chunk_at(w, KL__REPLAY_BACKWARD, b.head, c.t - chunk, i - 1);
        struct kl__replay_chunk after_first = chunk_again(w, after, 0), later = chunk_again(w, after, i);
        later.told = false;
        w->steps->chunk(w->ctx, NULL, i ? w->m->states + (size_t)(i - 1) * size : first, &c,
                        i         ? &next
                        : after.n ? &after_first
                                  : NULL,
                        i < after.n ? &later : NULL);
    }
}

/* The block of `head` that begins at token t, in a span that ends before token `end`. */
static struct block block_at(const struct walk *w, int head, int64_t t, int64_t end)
{
    int64_t tokens = min(end - t, (int64_t)w->p->block * w->p->chunk);
    return (struct block){head, (int)divide_up(tokens, w->p->chunk), t, 0};
}

static void run_span(const struct walk *w, int64_t start, int *n_told)
{
    int64_t block = (int64_t)w->p->block * w->p->chunk, end = min(w->n_token, start + w->p->span);
    int64_t n_block = divide_up(end - start, block);
    bool follows = start > 0 && w->p->span == block; /* a span that is a block like this one */
    keep_block_starts(w, start, n_block);
    for (int64_t b = n_block - 1; b >= 0; b--)
        for (int h = 0; h < w->n_head; h++) {
            int64_t t = start + b * block;
            struct block this = block_at(w, h, t, end), after = {0};
            if (h + 1 < w->n_head)
                after = block_at(w, h + 1, t, end);
            else if (b > 0 || follows)
                after = block_at(w, 0, t - block, t);
            this.n_told = *n_told;
            after.n_told = *n_told = this.n < after.n ? this.n : after.n;
            run_block(w, this, block_start(w, h, b), after);
        }
}

void kl__replay(const struct kl__replay_plan *p, const struct kl__replay_memory *m,
                const struct kl__replay_steps *steps, void *ctx, int n_head, int64_t n_token)
{
    if (n_token == 0 || n_head == 0)
        return;
    struct walk w = {p, m, steps, ctx, n_head, n_token};
    if (n_token > p->span && !p->uses_given)
        keep_span_starts(&w);
    int n_told = 0;
    for (int64_t start = (n_token - 1) / p->span * p->span; start >= 0; start -= p->span)
        run_span(&w, start, &n_told);
}
