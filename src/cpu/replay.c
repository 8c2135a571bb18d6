#include "cpu/replay.h"

#include <string.h>

enum { STATES_BYTES = 64 << 20 }; /* of a segment */

struct kl__replay_plan kl__replay_plan(int64_t longest, int chunk, size_t state_floats, size_t row_floats,
                                       int64_t given_every)
{
    struct kl__replay_plan p = {.chunk = chunk, .state_floats = state_floats, .row_floats = row_floats};
    int64_t n_chunk = longest / chunk + (longest % chunk > 0), most = STATES_BYTES / (int64_t)(4 * state_floats);
    int64_t segment_chunks = n_chunk < most ? n_chunk : most;
    p.segment = (segment_chunks > 0 ? segment_chunks : 1) * chunk;
    if (given_every > 0 && given_every <= p.segment)
        p.segment = given_every;
    else if (longest > p.segment)
        p.n_checkpoint = (longest - 1) / p.segment;
    return p;
}

void kl__replay_carve(struct kl__carver *c, const struct kl__replay_plan *p, struct kl__replay_memory *m)
{
    size_t state_bytes = p->state_floats * sizeof(float);
    m->states = kl__carve(c, (size_t)(p->segment / p->chunk) + 1, state_bytes);
    m->checkpoints = kl__carve(c, (size_t)p->n_checkpoint, state_bytes);
    m->written = kl__carve(c, (size_t)p->segment, p->row_floats * sizeof(float));
}

struct walk {
    const struct kl__replay_plan *p;
    const struct kl__replay_memory *m;
    const struct kl__replay_steps *steps;
    void *ctx;
    int64_t n_token;
};

static int tokens_from(const struct walk *w, int64_t t)
{
    return (int)(w->n_token - t < w->p->chunk ? w->n_token - t : w->p->chunk);
}

/* One run through all segments but the last, to keep the states that segments start with. */
static void keep_checkpoints(const struct walk *w)
{
    const struct kl__replay_plan *p = w->p;
    float *state = w->m->states;
    int64_t end = (w->n_token - 1) / p->segment * p->segment;
    w->steps->load(w->ctx, state, 0);
    for (int64_t t = 0; t < end; t += p->chunk) {
        w->steps->forward(w->ctx, state, NULL, t, p->chunk);
        if ((t + p->chunk) % p->segment == 0)
            memcpy(w->m->checkpoints + (size_t)(t / p->segment) * p->state_floats, state,
                   p->state_floats * sizeof *state);
    }
}

static void run_segment(const struct walk *w, int64_t start, bool uses_given)
{
    const struct kl__replay_plan *p = w->p;
    int64_t end = start + p->segment < w->n_token ? start + p->segment : w->n_token, t;
    float *state = w->m->states, *written = w->m->written;
    if (start == 0 || uses_given)
        w->steps->load(w->ctx, state, start);
    else
        memcpy(state, w->m->checkpoints + (size_t)(start / p->segment - 1) * p->state_floats,
               p->state_floats * sizeof *state);
    for (t = start; t < end; t += p->chunk, written += (size_t)p->chunk * p->row_floats) {
        memcpy(state + p->state_floats, state, p->state_floats * sizeof *state);
        state += p->state_floats;
        w->steps->forward(w->ctx, state, written, t, tokens_from(w, t));
    }
    while (t > start) {
        t -= p->chunk;
        state -= p->state_floats;
        written -= (size_t)p->chunk * p->row_floats;
        w->steps->backward(w->ctx, state, written, t, tokens_from(w, t));
    }
}

void kl__replay(const struct kl__replay_plan *p, const struct kl__replay_memory *m,
                const struct kl__replay_steps *steps, void *ctx, int64_t n_token, bool uses_given)
{
    if (n_token == 0)
        return;
    struct walk w = {p, m, steps, ctx, n_token};
    if (n_token > p->segment && !uses_given)
        keep_checkpoints(&w);
    for (int64_t start = (n_token - 1) / p->segment * p->segment; start >= 0; start -= p->segment)
        run_segment(&w, start, uses_given);
}
