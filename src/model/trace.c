/* The handle of a trace, and what layers without attention tell. */
#include "model/trace.h"

#include "base/error.h"
#include "tensor/tensor.h"

#include <math.h>
#include <string.h>

enum {
    KEPT_TOKENS = 4096,
    MOST_TOKENS = 1 << 20,
    FIRST_OCTAVE = -4, /* bin 0 begins at 2^-4 tokens */
};

/* ------------------------------------------------------------------------------------------------------- opening -- */

/* Where everything of a layer lies. */
static void carve_layer(struct kl__carver *m, kl_trace *t, int i)
{
    const kl_config *c = &t->c;
    size_t heads = (size_t)c->n_kda_v_head, kept = (size_t)t->max_tokens;
    struct kl__trace_layer l = {.query = -1};
    int mixer = c->mixer[i];
    if (kl__mixer_erases(mixer) || mixer == KL_MIXER_MAMBA2)
        l.beta = kl__carve(m, kept * heads, sizeof *l.beta);
    if (kl__mixer_decays(mixer)) {
        l.n_channel = kl__mixer_decays_channels(mixer) ? c->kda_k : 1;
        l.sum = kl__carve(m, heads * (size_t)l.n_channel, sizeof *l.sum);
        l.bin = kl__carve(m, heads * KL_TRACE_BINS, sizeof *l.bin);
    }
    if (mixer == KL_MIXER_MLA) {
        l.weight = kl__carve(m, kept, sizeof *l.weight);
        l.top = kl__carve(m, kept * KL_TRACE_TOP, sizeof *l.top);
    }
    if (c->ffn[i] == KL_FFN_MOE) {
        l.count = kl__carve(m, (size_t)c->n_expert, sizeof *l.count);
        l.expert_weight = kl__carve(m, (size_t)c->n_expert, sizeof *l.expert_weight);
    }
    if (m->base)
        t->layer[i] = l;
}

static void carve(struct kl__carver *m, kl_trace *t)
{
    const kl_config *c = &t->c;
    size_t kept = (size_t)t->max_tokens, latent = (size_t)kl__width_latent(c);
    size_t heads = kl__n_mla(c) ? (size_t)c->n_head : 0;
    t->position = kl__carve(m, kept, sizeof *t->position);
    t->token = kl__carve(m, kept, sizeof *t->token);
    t->layer = kl__carve(m, (size_t)c->n_layer, sizeof *t->layer);
    t->score = kl__carve(m, heads * kept, sizeof *t->score);
    t->query = kl__carve(m, heads * latent, sizeof *t->query);
    t->row = kl__carve(m, latent, sizeof *t->row);
    t->most = kl__carve(m, heads, sizeof *t->most);
    t->sum = kl__carve(m, heads, sizeof *t->sum);
    for (int i = 0; i < c->n_layer; i++)
        carve_layer(m, t, i);
}

static void forget(kl_trace *t)
{
    memset(t->memory, 0, t->bytes);
    struct kl__carver m = {.base = t->memory};
    carve(&m, t);
    for (int64_t i = 0; i < t->max_tokens; i++)
        t->position[i] = -1;
    t->end = t->count_from = t->n_token = 0;
}

kl_status kl_trace_open(kl_trace **trace, const kl_model *model, const kl_trace_options *o, kl_error *err)
{
    int64_t kept = o && o->max_tokens ? o->max_tokens : KEPT_TOKENS;
    if (kept < 1 || kept > MOST_TOKENS)
        return kl__fail(err, KL_ERR_ARGUMENT, "max_tokens of a trace is %lld, expected 1 .. %d", (long long)kept,
                        MOST_TOKENS);
    kl_trace *t = kl__alloc(o ? o->alloc : NULL, sizeof *t);
    if (!t)
        return kl__fail(err, KL_ERR_MEMORY, "no memory for a trace");
    if (o && o->alloc) {
        t->alloc_copy = *o->alloc;
        t->alloc = &t->alloc_copy;
    }
    t->c = *kl_model_config(model);
    t->max_tokens = kept;
    struct kl__carver m = {0};
    carve(&m, t);
    t->bytes = m.bytes;
    t->memory = kl__alloc(t->alloc, t->bytes);
    if (!t->memory) {
        kl__fail(err, KL_ERR_MEMORY, "no memory for %zu bytes of a trace", t->bytes);
        kl_trace_close(t);
        return KL_ERR_MEMORY;
    }
    forget(t);
    *trace = t;
    return KL_OK;
}

void kl_trace_close(kl_trace *t)
{
    if (!t)
        return;
    kl_allocator copy = t->alloc_copy;
    const kl_allocator *alloc = t->alloc ? &copy : NULL;
    kl__release(alloc, t->memory);
    kl__release(alloc, t);
}

void kl_trace_reset(kl_trace *t)
{
    forget(t);
}

/* ------------------------------------------------------------------------------------------------------- telling -- */

void kl__trace_begin(kl_trace *t, const struct kl__seq *q, const int32_t *token)
{
    int64_t behind = q->position + q->n_token;
    t->count_from = t->end > q->position ? t->end : q->position;
    t->n_token += behind > t->count_from ? behind - t->count_from : 0;
    t->end = behind > t->end ? behind : t->end;
    for (int i = 0; i < q->n_token; i++) {
        int64_t slot = (q->position + i) % t->max_tokens;
        t->position[slot] = q->position + i;
        t->token[slot] = token[q->first + i];
        for (int l = 0; l < t->c.n_layer; l++)
            if (t->layer[l].top)
                t->layer[l].top[slot * KL_TRACE_TOP].position = -1;
    }
}

static float sigmoid(float x)
{
    return 1 / (1 + expf(-x));
}

/* -g of one channel whose gate sees x. */
static float forgets(const kl_config *c, float rate, float x)
{
    if (c->gate_bounded)
        return -c->gate_lower_bound * sigmoid(rate * x);
    return rate * (x > 20 ? x : log1pf(expf(x)));
}

static int bin_of(float forgotten)
{
    float octave = forgotten > 0 ? log2f(0.693147181f / forgotten) : INFINITY;
    if (!(octave > FIRST_OCTAVE)) /* what is not finite as well: then the session is broken */
        return 0;
    return octave >= FIRST_OCTAVE + 0.5f * (KL_TRACE_BINS - 1) ? KL_TRACE_BINS - 1 : (int)(2 * (octave - FIRST_OCTAVE));
}

static void count_decays(struct kl__trace_layer *to, const kl_config *c, const struct kl__layer *l, const float *raw)
{
    const float *A_log = l->w[KL__A_LOG].data, *bias = l->w[KL__DT_BIAS].data;
    for (int64_t h = 0; h < c->n_kda_v_head; h++) {
        float rate = A_log ? expf(A_log[h]) : 1;
        for (int64_t i = h * to->n_channel; i < (h + 1) * to->n_channel; i++) {
            float forgotten = forgets(c, rate, raw[i] + (bias ? bias[i] : 0));
            to->sum[i] += forgotten;
            to->bin[h * KL_TRACE_BINS + bin_of(forgotten)]++;
        }
    }
}

static const float *row_of(kl_tensor x, int64_t i)
{
    return (const float *)x.data + i * (x.pitch ? x.pitch : x.dim[1]);
}

void kl__trace_recurrent(kl_trace *t, const struct kl__seq *q, int layer, const struct kl__layer *l, kl_tensor decay,
                         kl_tensor beta, bool written)
{
    struct kl__trace_layer *to = &t->layer[layer];
    int64_t heads = t->c.n_kda_v_head;
    float scale = t->c.neg_eigval ? 2 : 1;
    for (int i = 0; i < q->n_token; i++) {
        int64_t position = q->position + i, slot = position % t->max_tokens;
        if (to->sum && position >= t->count_from)
            count_decays(to, &t->c, l, row_of(decay, q->first + i));
        const float *from = to->beta ? row_of(beta, q->first + i) : NULL;
        for (int64_t h = 0; from && h < heads; h++)
            to->beta[slot * heads + h] = written ? from[h] : scale * sigmoid(from[h]);
    }
}

void kl__trace_route(kl_trace *t, const struct kl__seq *q, int layer, const int32_t *id, const float *weight)
{
    struct kl__trace_layer *to = &t->layer[layer];
    int64_t topk = t->c.n_expert_used;
    for (int64_t i = 0; i < q->n_token; i++)
        for (int64_t j = (q->first + i) * topk; j < (q->first + i + 1) * topk; j++) {
            bool counts = q->position + i >= t->count_from;
            to->count[id[j]] += counts;
            to->expert_weight[id[j]] += counts ? weight[j] : 0;
        }
}

/* -------------------------------------------------------------------------------------------------------- asking -- */

int64_t kl_trace_first(const kl_trace *t)
{
    return t->end > t->max_tokens ? t->end - t->max_tokens : 0;
}

int64_t kl_trace_end(const kl_trace *t)
{
    return t->end;
}

/* The entry of a position; -1: none. */
static int64_t slot_of(const kl_trace *t, int64_t position)
{
    int64_t slot = position >= 0 ? position % t->max_tokens : 0;
    return position >= 0 && t->position[slot] == position ? slot : -1;
}

static const struct kl__trace_layer *layer_of(const kl_trace *t, int layer)
{
    static const struct kl__trace_layer none;
    return layer >= 0 && layer < t->c.n_layer ? &t->layer[layer] : &none;
}

int32_t kl_trace_token(const kl_trace *t, int64_t position)
{
    int64_t slot = slot_of(t, position);
    return slot < 0 ? -1 : t->token[slot];
}

const float *kl_trace_beta(const kl_trace *t, int layer, int64_t position)
{
    int64_t slot = slot_of(t, position);
    const float *beta = layer_of(t, layer)->beta;
    return slot < 0 || !beta ? NULL : beta + slot * t->c.n_kda_v_head;
}

bool kl_trace_decay_of(kl_trace_decay *decay, const kl_trace *t, int layer)
{
    const struct kl__trace_layer *l = layer_of(t, layer);
    *decay = (kl_trace_decay){t->n_token, t->c.n_kda_v_head, l->n_channel, l->sum, l->bin};
    return l->sum != NULL;
}

double kl_trace_bin_begins(int i)
{
    return exp2(FIRST_OCTAVE + 0.5 * i);
}

double kl_trace_half_life(const kl_trace_decay *d, int head, double q)
{
    const uint64_t *bin = d->bin + (int64_t)head * KL_TRACE_BINS;
    double all = 0, below = 0;
    for (int i = 0; i < KL_TRACE_BINS; i++)
        all += (double)bin[i];
    for (int i = 0; i < KL_TRACE_BINS && all > 0; i++) {
        if (bin[i] && below + (double)bin[i] >= q * all)
            return kl_trace_bin_begins(i) * exp2(0.5 * (q * all - below) / (double)bin[i]);
        below += (double)bin[i];
    }
    return 0;
}

bool kl_trace_attention_of(kl_trace_attention *a, const kl_trace *t, int layer)
{
    const struct kl__trace_layer *l = layer_of(t, layer);
    int64_t n = l->query + 1 < t->max_tokens ? l->query + 1 : t->max_tokens;
    *a = (kl_trace_attention){.query = l->weight ? l->query : -1};
    if (a->query < 0)
        return l->weight != NULL;
    a->first = l->query + 1 - n;
    a->n = n;
    a->weight = l->weight;
    a->before = l->before;
    return true;
}

const kl_trace_place *kl_trace_top(const kl_trace *t, int layer, int64_t position)
{
    int64_t slot = slot_of(t, position);
    const kl_trace_place *top = layer_of(t, layer)->top;
    return slot < 0 || !top || top[slot * KL_TRACE_TOP].position < 0 ? NULL : top + slot * KL_TRACE_TOP;
}

bool kl_trace_experts_of(kl_trace_experts *e, const kl_trace *t, int layer)
{
    const struct kl__trace_layer *l = layer_of(t, layer);
    *e = (kl_trace_experts){t->n_token, l->count ? t->c.n_expert : 0, l->count, l->expert_weight};
    return l->count != NULL;
}

kl_memory_use kl_config_memory_use(const kl_config *c, kl_cache_type type, int64_t n_token)
{
    kl_state_cost cost = kl_config_state_cost(c, type);
    int64_t pages = cost.page_bytes ? (n_token + KL_PAGE_TOKENS - 1) / KL_PAGE_TOKENS : 0;
    int64_t numbers = kl__n_recurrent(c) * (kl__width_k(c) + kl__width_v(c));
    int64_t bytes = type == KL_CACHE_F32 ? 4 * numbers : type == KL_CACHE_Q8_0 ? numbers / 32 * 34 : 2 * numbers;
    return (kl_memory_use){cost.fixed_bytes, pages * cost.page_bytes, n_token * (bytes + cost.token_bytes)};
}
