/* Answers that follow a grammar: which tokens may come, and what comes of the one that came. */
#include "grammar/lexicon.h"
#include "grammar/run.h"

#include "base/error.h"

#include <math.h>
#include <string.h>

enum {
    N_MASK = 16,
    EFFORT = 4 << 20, /* most places that one call may visit: some tens of milliseconds */
};

/* The tokens that may come at a state. */
struct mask {
    int32_t state; /* KL__DEAD: none */
    uint64_t used;
    bool any;
    uint64_t *bits; /* [(n_vocab + 63) / 64] */
};

struct kl_guide {
    const kl_allocator *alloc; /* NULL, or &alloc_copy */
    kl_allocator alloc_copy;
    const kl_lexicon *lexicon;
    struct kl__run run;
    int32_t state;
    int32_t tail[KL_GUIDE_TAIL];
    int n_tail, at_tail; /* tokens of the tail that came */
    bool free_after, stopped;
    struct mask mask[N_MASK];
    uint64_t clock;
    int32_t *depth; /* [longest + 1] states along a token */
};

kl_status kl_guide_open(kl_guide **guide, const kl_grammar *grammar, const kl_lexicon *lexicon,
                        const kl_guide_options *options, const kl_allocator *alloc, kl_error *err)
{
    int n_tail = options ? options->n_tail : 0;
    if (!grammar || !lexicon || n_tail < 0 || n_tail > KL_GUIDE_TAIL)
        return kl__fail(err, KL_ERR_ARGUMENT, "kl_guide_open: expected a grammar, a lexicon and a tail of 0 .. %d",
                        KL_GUIDE_TAIL);
    kl_guide *g = kl__alloc(alloc, sizeof *g);
    if (!g)
        return kl__fail(err, KL_ERR_MEMORY, "no memory for a guide");
    if (alloc) {
        g->alloc_copy = *alloc;
        g->alloc = &g->alloc_copy;
    }
    g->lexicon = lexicon;
    g->n_tail = n_tail;
    g->free_after = options && options->free_after;
    if (n_tail)
        memcpy(g->tail, options->tail, (size_t)n_tail * sizeof *g->tail);
    g->depth = kl__alloc(g->alloc, ((size_t)lexicon->longest + 1) * sizeof *g->depth);
    kl_status status = g->depth ? kl__run_open(&g->run, grammar, g->alloc, &g->state, err)
                                : kl__fail(err, KL_ERR_MEMORY, "no memory for a guide");
    if (status == KL_OK && g->state == KL__DEAD)
        status = kl__fail(err, KL_ERR_UNSUPPORTED, "the grammar allows no text at all");
    if (status == KL_OK)
        *guide = g;
    else
        kl_guide_close(g);
    return status;
}

void kl_guide_close(kl_guide *g)
{
    if (!g)
        return;
    kl_allocator copy = g->alloc_copy;
    const kl_allocator *alloc = g->alloc ? &copy : NULL;
    for (int i = 0; i < N_MASK; i++)
        kl__release(alloc, g->mask[i].bits);
    kl__run_close(&g->run);
    kl__release(alloc, g->depth);
    kl__release(alloc, g);
}

/* --------------------------------------------------------------------------------------------------------- masks -- */

/* Walks over the words; what has the same beginning as the word before shares its states. */
static kl_status walk(kl_guide *g, struct mask *m, kl_error *err)
{
    const kl_lexicon *x = g->lexicon;
    int alive = 0; /* bytes of the last word that was walked and led somewhere */
    g->depth[0] = g->state;
    for (int32_t i = 0; i < x->n; i++) {
        const struct kl__word *w = &x->word[i];
        int at = w->shared;
        if (i && at > alive)
            continue; /* it begins with what led nowhere */
        at = i ? at : 0;
        for (; at < w->bytes; at++) {
            int32_t next;
            KL_TRY(kl__run_step(&g->run, &next, g->depth[at], (uint8_t)w->data[at], err));
            if (next == KL__DEAD)
                break;
            g->depth[at + 1] = next;
        }
        alive = at;
        if (g->run.effort > EFFORT)
            return kl__fail(err, KL_ERR_UNSUPPORTED, "the grammar is too ambiguous: to follow it takes too long");
        if (at < w->bytes)
            continue;
        m->bits[w->id >> 6] |= (uint64_t)1 << (w->id & 63);
        m->any = true;
    }
    return KL_OK;
}

/* Numbers of states change: masks that have one are none any more. */
static kl_status forget(kl_guide *g, kl_error *err)
{
    for (int i = 0; i < N_MASK; i++)
        g->mask[i].state = KL__DEAD;
    g->state = kl__run_forget(&g->run, g->state);
    return g->state == KL__DEAD ? kl__fail(err, KL_ERR_MEMORY, "no memory to follow a grammar") : KL_OK;
}

/* The mask of the state that the guide is in. */
static kl_status mask_of(kl_guide *g, struct mask **mask, kl_error *err)
{
    struct mask *m = &g->mask[0];
    size_t bytes = ((size_t)g->lexicon->n_vocab + 63) / 64 * sizeof *m->bits;
    if (kl__run_is_full(&g->run))
        KL_TRY(forget(g, err));
    for (int i = 0; i < N_MASK; i++) {
        if (g->mask[i].state == g->state) {
            *mask = &g->mask[i];
            return KL_OK;
        }
        if (g->mask[i].used < m->used)
            m = &g->mask[i];
    }
    if (!m->bits)
        m->bits = kl__alloc(g->alloc, bytes);
    if (!m->bits)
        return kl__fail(err, KL_ERR_MEMORY, "no memory for a mask of tokens");
    memset(m->bits, 0, bytes);
    m->any = false;
    m->state = KL__DEAD;
    g->run.effort = 0;
    KL_TRY(walk(g, m, err));
    m->state = g->state;
    *mask = m;
    return KL_OK;
}

static void forbid(float *logits, int32_t n, const struct mask *m, int32_t n_known)
{
    for (int32_t i = 0; i < n_known && i < n; i++)
        if (!(m->bits[i >> 6] >> (i & 63) & 1))
            logits[i] = -INFINITY;
    for (int32_t i = n_known; i < n; i++)
        logits[i] = -INFINITY;
}

/* Only these tokens may come. */
static void allow_only(float *logits, int32_t n, const int32_t *id, int n_id)
{
    float kept[KL_GUIDE_TAIL + 16];
    for (int i = 0; i < n_id; i++)
        kept[i] = id[i] >= 0 && id[i] < n ? logits[id[i]] : 0;
    for (int32_t i = 0; i < n; i++)
        logits[i] = -INFINITY;
    for (int i = 0; i < n_id; i++)
        if (id[i] >= 0 && id[i] < n)
            logits[id[i]] = kept[i];
}

kl_status kl_guide_mask(kl_guide *g, float *logits, int32_t n_vocab, const int32_t *stop, int n_stop, kl_error *err)
{
    float kept[16];
    struct mask *m = NULL;
    n_stop = n_stop < 16 ? n_stop : 16;
    if (g->stopped || (g->free_after && g->at_tail == g->n_tail && g->at_tail))
        return KL_OK;
    if (g->at_tail) {
        allow_only(logits, n_vocab, g->tail + g->at_tail, g->at_tail < g->n_tail);
        return KL_OK;
    }
    KL_TRY(mask_of(g, &m, err));
    m->used = ++g->clock;
    bool accepts = g->run.state[g->state].accepts;
    const int32_t *more = g->n_tail ? g->tail : stop;
    int n_more = !accepts ? 0 : g->n_tail ? 1 : n_stop;
    if (!m->any && !n_more)
        return kl__fail(err, KL_ERR_UNSUPPORTED, "the grammar allows no token here: what it wants next, this model's "
                                                 "vocabulary cannot spell, or it is nested too deeply");
    for (int i = 0; i < n_more; i++)
        kept[i] = more[i] >= 0 && more[i] < n_vocab ? logits[more[i]] : 0;
    forbid(logits, n_vocab, m, g->lexicon->n_vocab);
    for (int i = 0; i < n_more; i++)
        if (more[i] >= 0 && more[i] < n_vocab)
            logits[more[i]] = kept[i];
    return KL_OK;
}

/* --------------------------------------------------------------------------------------------------------- steps -- */

static kl_status not_allowed(int32_t token, kl_error *err)
{
    return kl__fail(err, KL_ERR_ARGUMENT, "token %d cannot come here: the grammar does not allow it", (int)token);
}

kl_status kl_guide_take(kl_guide *g, int32_t token, kl_error *err)
{
    kl_text text = kl_tokenizer_text(g->lexicon->tokenizer, token);
    if (g->stopped || (g->free_after && g->at_tail == g->n_tail && g->at_tail))
        return KL_OK;
    bool accepts = g->run.state[g->state].accepts;
    if (g->at_tail < g->n_tail && token == g->tail[g->at_tail] && (g->at_tail || accepts)) {
        g->at_tail++;
        return KL_OK;
    }
    bool ordinary = text.bytes && !kl_tokenizer_is_special(g->lexicon->tokenizer, token);
    if (!ordinary && accepts && !g->n_tail) {
        g->stopped = true;
        return KL_OK;
    }
    int32_t state = g->state;
    for (size_t i = 0; i < text.bytes && ordinary; i++)
        KL_TRY(kl__run_step(&g->run, &state, state, (uint8_t)text.data[i], err));
    if (!ordinary || state == KL__DEAD || g->at_tail)
        return not_allowed(token, err);
    g->state = state;
    return KL_OK;
}

bool kl_guide_ended(const kl_guide *g)
{
    if (g->n_tail)
        return g->at_tail == g->n_tail && !g->free_after;
    const struct kl__state *s = &g->run.state[g->state];
    return g->stopped || (s->accepts && s->n == 0);
}

kl_status kl_grammar_accepts(bool *accepts, const kl_grammar *grammar, kl_text text, kl_error *err)
{
    struct kl__run r;
    int32_t state = KL__DEAD;
    kl_status status = kl__run_open(&r, grammar, NULL, &state, err);
    for (size_t i = 0; i < text.bytes && status == KL_OK && state != KL__DEAD; i++) {
        if (kl__run_is_full(&r)) {
            state = kl__run_forget(&r, state);
            if (state == KL__DEAD)
                status = kl__fail(err, KL_ERR_MEMORY, "no memory to follow a grammar");
        }
        if (status == KL_OK)
            status = kl__run_step(&r, &state, state, (uint8_t)text.data[i], err);
    }
    *accepts = status == KL_OK && state != KL__DEAD && r.state[state].accepts;
    kl__run_close(&r);
    return status;
}
