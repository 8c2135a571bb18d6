#include "grammar/run.h"

#include "base/error.h"

#include <stdlib.h>

/* -------------------------------------------------------------------------------------------------------- tables -- */

static uint32_t mix(uint32_t hash, uint32_t x)
{
    hash = (hash ^ x) * 0x9e3779b1;
    return hash ^ hash >> 15;
}

/* Makes *list longer, to hold n + more of `size` bytes each, of which there may be `most`. */
static bool grow(const struct kl__run *r, void **list, uint32_t *room, uint32_t n, uint32_t more, uint32_t most,
                 size_t size)
{
    if (n + more <= *room)
        return true;
    uint32_t wanted = *room ? 2 * *room : 64;
    while (wanted < n + more)
        wanted *= 2;
    void *longer = n + more <= most ? kl__alloc(r->alloc, (size_t)wanted * size) : NULL;
    if (!longer)
        return false;
    if (n)
        memcpy(longer, *list, (size_t)n * size);
    kl__release(r->alloc, *list);
    *list = longer;
    *room = wanted;
    return true;
}

static void put(struct kl__table *t, uint32_t hash, uint32_t value)
{
    uint32_t at = hash & (t->room - 1);
    while (t->slot[at].value)
        at = (at + 1) & (t->room - 1);
    t->slot[at] = (struct kl__slot){hash, value};
}

static bool add(const struct kl__run *r, struct kl__table *t, uint32_t hash, uint32_t value)
{
    if (2 * (t->n + 1) > t->room) {
        struct kl__table more = {.room = t->room ? 2 * t->room : 128, .n = t->n};
        more.slot = kl__alloc(r->alloc, (size_t)more.room * sizeof *more.slot);
        if (!more.slot)
            return false;
        for (uint32_t i = 0; i < t->room; i++)
            if (t->slot[i].value)
                put(&more, t->slot[i].hash, t->slot[i].value);
        kl__release(r->alloc, t->slot);
        *t = more;
    }
    put(t, hash, value + 1);
    t->n++;
    return true;
}

static kl_status too_much(kl_error *err)
{
    return kl__fail(err, KL_ERR_UNSUPPORTED, "the grammar is too ambiguous: there are too many ways to go on");
}

/* -------------------------------------------------------------------------------------------------------- frames -- */

/* The frame with this content, made if need be; false: no room. */
static bool frame_of(struct kl__run *r, uint32_t *frame, uint32_t node, uint32_t parent)
{
    uint32_t hash = mix(mix(1, node), parent), at = hash & (r->frames.room - 1);
    for (; r->frames.room && r->frames.slot[at].value; at = (at + 1) & (r->frames.room - 1)) {
        *frame = r->frames.slot[at].value - 1;
        if (r->frame[*frame].node == node && r->frame[*frame].parent == parent)
            return true;
    }
    *frame = r->n_frame;
    if (!grow(r, (void **)&r->frame, &r->frame_room, r->n_frame, 1, KL__FRAMES, sizeof *r->frame) ||
        !add(r, &r->frames, hash, r->n_frame))
        return false;
    r->frame[r->n_frame++] = (struct kl__frame){node, parent, r->frame[parent].depth + 1};
    return true;
}

/* -------------------------------------------------------------------------------------------------------- places -- */

/* Adds a place to those whose ways are to be followed, unless it was there before.  False: there are too many. */
static bool visit(struct kl__run *r, uint32_t node, uint32_t frame)
{
    uint32_t at = mix(mix(7, node), frame) & (2 * KL__VISITS - 1);
    for (; r->visited[at].stamp == r->stamp; at = (at + 1) & (2 * KL__VISITS - 1))
        if (r->visited[at].place.node == node && r->visited[at].place.frame == frame)
            return true;
    if (r->n_visited == KL__VISITS)
        return false;
    r->n_visited++;
    r->effort++;
    r->visited[at] = (struct kl__visited){r->stamp, {node, frame}};
    r->work[r->n_work++] = (struct kl__place){node, frame};
    return true;
}

static void begin(struct kl__run *r)
{
    if (++r->stamp == 0) { /* once in four milliards of times old stamps would be taken for new ones */
        memset(r->visited, 0, 2 * KL__VISITS * sizeof *r->visited);
        r->stamp = 1;
    }
    r->n_visited = r->n_work = r->n_found = 0;
    r->accepts = false;
}

/* One place without a byte further.  False: there are too many. */
static bool follow(struct kl__run *r, struct kl__place p)
{
    const struct kl__gnode *n = &r->g->node[p.node];
    uint32_t frame;
    switch (n->kind) {
    case KL__NODE_BYTE:
        r->found[r->n_found++] = p;
        return true;
    case KL__NODE_SPLIT:
        return visit(r, n->a, p.frame) && visit(r, n->b, p.frame);
    case KL__NODE_CALL:
        if (r->frame[p.frame].depth >= KL_GRAMMAR_DEPTH)
            return true; /* not that deep */
        return frame_of(r, &frame, n->b, p.frame) && visit(r, n->a, frame);
    case KL__NODE_END:
        r->accepts |= p.frame == 0;
        return p.frame == 0 || visit(r, r->frame[p.frame].node, r->frame[p.frame].parent);
    default:
        return true;
    }
}

static int by_place(const void *a, const void *b)
{
    const struct kl__place *x = a, *y = b;
    if (x->node != y->node)
        return x->node < y->node ? -1 : 1;
    return (x->frame > y->frame) - (x->frame < y->frame);
}

static uint32_t hash_found(const struct kl__run *r)
{
    uint32_t hash = r->accepts;
    for (uint32_t i = 0; i < r->n_found; i++)
        hash = mix(mix(hash, r->found[i].node), r->found[i].frame);
    return hash;
}

static bool same(const struct kl__run *r, const struct kl__state *s)
{
    return s->n == r->n_found && s->accepts == r->accepts &&
           (s->n == 0 || memcmp(r->place + s->first, r->found, (size_t)s->n * sizeof *r->found) == 0);
}

/* The state of the places that were found, made if need be. */
static kl_status state_of(struct kl__run *r, int32_t *state, kl_error *err)
{
    uint32_t hash = hash_found(r), classes = (uint32_t)r->g->n_class, step_room = r->state_room;
    uint32_t at = hash & (r->states.room - 1);
    for (; r->states.room && r->states.slot[at].value; at = (at + 1) & (r->states.room - 1))
        if (r->states.slot[at].hash == hash && same(r, &r->state[r->states.slot[at].value - 1])) {
            *state = (int32_t)r->states.slot[at].value - 1;
            return KL_OK;
        }
    uint32_t most = KL__STEPS / classes < KL__STATES ? KL__STEPS / classes : KL__STATES;
    if (!grow(r, (void **)&r->next, &step_room, r->n_state, 1, most, classes * sizeof *r->next) ||
        !grow(r, (void **)&r->state, &r->state_room, r->n_state, 1, most, sizeof *r->state) ||
        !grow(r, (void **)&r->place, &r->place_room, r->n_place, r->n_found, KL__PLACES, sizeof *r->place) ||
        !add(r, &r->states, hash, r->n_state))
        return too_much(err);
    if (r->n_found)
        memcpy(r->place + r->n_place, r->found, (size_t)r->n_found * sizeof *r->found);
    r->state[r->n_state] = (struct kl__state){r->n_place, r->n_found, r->accepts};
    for (uint32_t i = 0; i < classes; i++)
        r->next[r->n_state * classes + i] = KL__UNKNOWN;
    r->n_place += r->n_found;
    *state = (int32_t)r->n_state++;
    return KL_OK;
}

/* Follows everything in `work` to the next bytes. */
static kl_status finish(struct kl__run *r, int32_t *state, kl_error *err)
{
    while (r->n_work)
        if (!follow(r, r->work[--r->n_work]))
            return too_much(err);
    if (r->n_found > 1)
        qsort(r->found, r->n_found, sizeof *r->found, by_place);
    if (r->n_found == 0 && !r->accepts) {
        *state = KL__DEAD;
        return KL_OK;
    }
    return state_of(r, state, err);
}

kl_status kl__run_step(struct kl__run *r, int32_t *to, int32_t from, uint8_t byte, kl_error *err)
{
    size_t at = (size_t)from * (size_t)r->g->n_class + r->g->class_of[byte];
    if (from == KL__DEAD || r->next[at] != KL__UNKNOWN) {
        *to = from == KL__DEAD ? KL__DEAD : r->next[at];
        return KL_OK;
    }
    struct kl__state s = r->state[from];
    begin(r);
    for (uint32_t i = 0; i < s.n; i++) {
        struct kl__place p = r->place[s.first + i];
        const struct kl__gnode *n = &r->g->node[p.node];
        if (byte >= n->first && byte <= n->last && !visit(r, n->a, p.frame))
            return too_much(err);
    }
    int32_t state;
    KL_TRY(finish(r, &state, err));
    r->next[at] = state;
    *to = state;
    return KL_OK;
}

/* ------------------------------------------------------------------------------------------- opening, forgetting -- */

/* The outside and the dead state. */
static bool first_entries(struct kl__run *r)
{
    uint32_t step_room = 0;
    if (!grow(r, (void **)&r->frame, &r->frame_room, 0, 1, KL__FRAMES, sizeof *r->frame) ||
        !grow(r, (void **)&r->next, &step_room, 0, 1, KL__STATES, (size_t)r->g->n_class * sizeof *r->next) ||
        !grow(r, (void **)&r->state, &r->state_room, 0, 1, KL__STATES, sizeof *r->state))
        return false;
    r->n_frame = r->n_state = 1;
    return true;
}

kl_status kl__run_open(struct kl__run *r, const kl_grammar *g, const kl_allocator *alloc, int32_t *start, kl_error *err)
{
    *r = (struct kl__run){.g = g, .alloc = alloc};
    r->visited = kl__alloc(alloc, 2 * KL__VISITS * sizeof *r->visited);
    r->work = kl__alloc(alloc, KL__VISITS * sizeof *r->work);
    r->found = kl__alloc(alloc, KL__VISITS * sizeof *r->found);
    if (!r->visited || !r->work || !r->found || !first_entries(r))
        return kl__fail(err, KL_ERR_MEMORY, "no memory to follow a grammar");
    begin(r);
    visit(r, g->root, 0);
    return finish(r, start, err);
}

static void release(struct kl__run *r)
{
    kl__release(r->alloc, r->place);
    kl__release(r->alloc, r->frame);
    kl__release(r->alloc, r->state);
    kl__release(r->alloc, r->next);
    kl__release(r->alloc, r->frames.slot);
    kl__release(r->alloc, r->states.slot);
}

void kl__run_close(struct kl__run *r)
{
    release(r);
    kl__release(r->alloc, r->visited);
    kl__release(r->alloc, r->work);
    kl__release(r->alloc, r->found);
    *r = (struct kl__run){0};
}

bool kl__run_is_full(const struct kl__run *r)
{
    uint32_t most = KL__STEPS / (uint32_t)r->g->n_class;
    most = most < KL__STATES ? most : KL__STATES;
    return r->n_state > most / 2 || r->n_place > KL__PLACES / 2 || r->n_frame > KL__FRAMES / 2;
}

/* The same frame among those of `to`: its callers first. */
static bool carry(struct kl__run *to, const struct kl__run *from, uint32_t *frame)
{
    uint32_t chain[KL_GRAMMAR_DEPTH + 1], n = 0, copy = 0;
    for (uint32_t i = *frame; i; i = from->frame[i].parent)
        chain[n++] = i;
    while (n--)
        if (!frame_of(to, &copy, from->frame[chain[n]].node, copy))
            return false;
    *frame = copy;
    return true;
}

int32_t kl__run_forget(struct kl__run *r, int32_t keep)
{
    struct kl__run old = *r;
    struct kl__state s = r->state[keep];
    int32_t state = KL__DEAD;
    r->place = NULL;
    r->frame = NULL;
    r->state = NULL;
    r->next = NULL;
    r->n_place = r->place_room = r->n_frame = r->frame_room = r->n_state = r->state_room = 0;
    r->frames = r->states = (struct kl__table){0};
    bool fits = first_entries(r);
    r->n_found = 0;
    r->accepts = s.accepts;
    for (uint32_t i = 0; i < s.n && fits; i++) {
        struct kl__place p = old.place[s.first + i];
        fits = carry(r, &old, &p.frame);
        r->found[r->n_found++] = p;
    }
    qsort(r->found, r->n_found, sizeof *r->found, by_place);
    if (fits && state_of(r, &state, NULL) != KL_OK)
        state = KL__DEAD;
    release(&old);
    return state;
}
