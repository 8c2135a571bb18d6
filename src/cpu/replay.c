#include "cpu/replay.h"

#include <string.h>

enum {
    SPAN_BYTES = 64 << 20,   /* what a span keeps, about */
    BLOCK_BYTES = 512 << 10, /* states of a block: with what else a block needs, a second-level cache */
};

static int64_t min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

struct kl__replay_plan kl__replay_plan(int64_t longest, int chunk, size_t state_floats, size_t row_floats,
                                       int64_t given_every)
{
    struct kl__replay_plan p = {.chunk = chunk, .state_floats = state_floats, .row_floats = row_floats};
    int64_t state_bytes = (int64_t)(4 * state_floats), n_chunk = longest / chunk + (longest % chunk > 0);
    p.block = (int)min(BLOCK_BYTES / state_bytes, KL__REPLAY_BLOCK);
    p.block = p.block > 0 ? p.block : 1;
    int64_t chunk_bytes = state_bytes / p.block + 4 * (int64_t)row_floats * chunk;
    int64_t span_chunks = min(n_chunk, SPAN_BYTES / chunk_bytes / p.block * p.block);
    p.span = (span_chunks > 0 ? span_chunks : p.block) * chunk;
    if (given_every > 0 && given_every <= p.span)
        p.span = given_every;
    else if (longest > p.span)
        p.n_span_start = (longest - 1) / p.span;
    return p;
}

void kl__replay_carve(struct kl__carver *c, const struct kl__replay_plan *p, struct kl__replay_memory *m)
{
    size_t state_bytes = p->state_floats * sizeof(float);
    int64_t n_chunk = p->span / p->chunk;
    m->running = kl__carve(c, 1, state_bytes);
    m->states = kl__carve(c, (size_t)p->block - 1, state_bytes);
    m->block_starts = kl__carve(c, (size_t)((n_chunk + p->block - 1) / p->block), state_bytes);
    m->span_starts = kl__carve(c, (size_t)p->n_span_start, state_bytes);
    m->written = kl__carve(c, (size_t)p->span, p->row_floats * sizeof(float));
}

struct walk {
    const struct kl__replay_plan *p;
    const struct kl__replay_memory *m;
    const struct kl__replay_steps *steps;
    void *ctx;
    int64_t n_token;
};

static void copy_state(const struct walk *w, float *to, const float *from)
{
    memcpy(to, from, w->p->state_floats * sizeof *to);
}

/* Chunk number `i` of the span that starts at `start`. */
static struct kl__replay_chunk chunk_at(const struct walk *w, int64_t start, int64_t i)
{
    int64_t t = start + i * w->p->chunk;
    return (struct kl__replay_chunk){.t = t,
                                     .n = (int)min(w->n_token - t, w->p->chunk),
                                     .i = (int)(i % w->p->block),
                                     .written = w->m->written + (size_t)(t - start) * w->p->row_floats};
}

/* One run through all spans but the last, to keep the states that spans start with. */
static void keep_span_starts(const struct walk *w)
{
    const struct kl__replay_plan *p = w->p;
    int64_t end = (w->n_token - 1) / p->span * p->span;
    w->steps->load(w->ctx, w->m->running, 0);
    for (int64_t t = 0; t < end; t += p->chunk) {
        w->steps->forward(w->ctx, w->m->running, &(struct kl__replay_chunk){.t = t, .n = p->chunk});
        if ((t + p->chunk) % p->span == 0)
            copy_state(w, w->m->span_starts + (size_t)(t / p->span) * p->state_floats, w->m->running);
    }
}

/* Chunks first .. end-1 of the span are one block. */
static void run_block(const struct walk *w, int64_t start, int64_t first, int64_t end)
{
    size_t state = w->p->state_floats;
    const float *before = w->m->block_starts + (size_t)(first / w->p->block) * state;
    for (int64_t i = first; i < end; i++) {
        struct kl__replay_chunk c = chunk_at(w, start, i);
        float *after = i + 1 < end ? w->m->states + (size_t)(i - first) * state : NULL;
        w->steps->again(w->ctx, after, before, &c);
        before = after ? after : before;
    }
    for (int64_t i = end - 1; i >= first; i--) {
        struct kl__replay_chunk c = chunk_at(w, start, i);
        before = i > first ? w->m->states + (size_t)(i - first - 1) * state
                           : w->m->block_starts + (size_t)(first / w->p->block) * state;
        w->steps->backward(w->ctx, before, &c);
    }
}

static void run_span(const struct walk *w, int64_t start, bool uses_given)
{
    const struct kl__replay_plan *p = w->p;
    int64_t n_token = min(w->n_token - start, p->span), n_chunk = (n_token + p->chunk - 1) / p->chunk;
    float *state = w->m->running;
    if (start == 0 || uses_given)
        w->steps->load(w->ctx, state, start);
    else
        copy_state(w, state, w->m->span_starts + (size_t)(start / p->span - 1) * p->state_floats);
    for (int64_t i = 0; i < n_chunk; i++) {
        struct kl__replay_chunk c = chunk_at(w, start, i);
        if (c.i == 0)
            copy_state(w, w->m->block_starts + (size_t)(i / p->block) * p->state_floats, state);
        w->steps->forward(w->ctx, state, &c);
    }
    for (int64_t first = (n_chunk - 1) / p->block * p->block; first >= 0; first -= p->block)
        run_block(w, start, first, min(first + p->block, n_chunk));
}

void kl__replay(const struct kl__replay_plan *p, const struct kl__replay_memory *m,
                const struct kl__replay_steps *steps, void *ctx, int64_t n_token, bool uses_given)
{
    if (n_token == 0)
        return;
    struct walk w = {p, m, steps, ctx, n_token};
    if (n_token > p->span && !uses_given)
        keep_span_starts(&w);
    for (int64_t start = (n_token - 1) / p->span * p->span; start >= 0; start -= p->span)
        run_span(&w, start, uses_given);
}
