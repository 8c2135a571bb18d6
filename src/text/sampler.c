#include "base/error.h"
#include "base/memory.h"
#include "klinear/kl/text.h"
#include "text/candidates.h"
#include "text/fixed.h"
#include "text/philox.h"

#include <float.h>
#include <math.h>

struct kl_sampler {
    const kl_allocator *alloc;
    int32_t n_vocab;
    struct kl__candidate *candidate; /* [n_vocab] */
    double *logit;                   /* [n_vocab] with penalties and bias */
    uint32_t *count;                 /* [n_vocab] zero between calls */
};

/* ------------------------------------------------------------------------------------------------------- opening -- */

enum { MOST_TOKENS = 1 << 28 };

kl_status kl_sampler_open(kl_sampler **sampler, int32_t n_vocab, const kl_allocator *alloc, kl_error *err)
{
    if (n_vocab < 1 || n_vocab > MOST_TOKENS)
        return kl__fail(err, KL_ERR_ARGUMENT, "n_vocab is %d, expected 1 to %d", n_vocab, MOST_TOKENS);
    kl_sampler *s = kl__alloc(alloc, sizeof *s);
    if (s) {
        *s = (kl_sampler){.alloc = alloc, .n_vocab = n_vocab};
        s->candidate = kl__alloc(alloc, (size_t)n_vocab * sizeof *s->candidate);
        s->logit = kl__alloc(alloc, (size_t)n_vocab * sizeof *s->logit);
        s->count = kl__alloc(alloc, (size_t)n_vocab * sizeof *s->count);
    }
    if (!s || !s->candidate || !s->logit || !s->count) {
        kl_sampler_close(s);
        return kl__fail(err, KL_ERR_MEMORY, "no memory for choosing among %d tokens", n_vocab);
    }
    *sampler = s;
    return KL_OK;
}

void kl_sampler_close(kl_sampler *s)
{
    if (!s)
        return;
    kl__release(s->alloc, s->candidate);
    kl__release(s->alloc, s->logit);
    kl__release(s->alloc, s->count);
    kl__release(s->alloc, s);
}

/* ------------------------------------------------------------------------------------------------------ settings -- */

/* NaN is in no range. */
static kl_status need_range(const char *field, double value, double low, double high, kl_error *err)
{
    if (value >= low && value <= high)
        return KL_OK;
    return kl__fail(err, KL_ERR_ARGUMENT, "sampling: %s is %g, expected %g to %g", field, value, low, high);
}

static kl_status check_bias(const kl_sampling *g, int32_t n_vocab, kl_error *err)
{
    if (g->n_bias && !g->bias)
        return kl__fail(err, KL_ERR_ARGUMENT, "sampling: bias is missing, n_bias is %zu", g->n_bias);
    for (size_t i = 0; i < g->n_bias; i++) {
        kl_logit_bias b = g->bias[i];
        if (b.id < 0 || b.id >= n_vocab)
            return kl__fail(err, KL_ERR_ARGUMENT, "sampling: bias[%zu].id is %d, expected 0 to %d", i, b.id,
                            n_vocab - 1);
        if (!(b.bias <= 1e6))
            return kl__fail(err, KL_ERR_ARGUMENT, "sampling: bias[%zu].bias is %g, expected at most 1e6", i, b.bias);
    }
    return KL_OK;
}

kl_status kl_sampling_check(const kl_sampling *g, int32_t n_vocab, kl_error *err)
{
    KL_TRY(need_range("temperature", g->temperature, 0, 100, err));
    KL_TRY(need_range("top_k", g->top_k, 0, INT32_MAX, err));
    KL_TRY(need_range("top_p", g->top_p, 0, 1, err));
    KL_TRY(need_range("min_p", g->min_p, 0, 1, err));
    KL_TRY(need_range("typical_p", g->typical_p, 0, 1, err));
    KL_TRY(need_range("repetition_penalty", g->repetition_penalty, 0, 100, err));
    KL_TRY(need_range("presence_penalty", g->presence_penalty, -100, 100, err));
    KL_TRY(need_range("frequency_penalty", g->frequency_penalty, -100, 100, err));
    KL_TRY(need_range("penalty_tokens", (double)g->penalty_tokens, 0, 0x1p62, err));
    KL_TRY(need_range("n_top", g->n_top, 0, KL_MAX_TOP, err));
    return check_bias(g, n_vocab, err);
}

/* ----------------------------------------------------------------------------------------------------- penalties -- */

static bool is_penalising(const kl_sampling *g)
{
    bool repetition = g->repetition_penalty != 0 && g->repetition_penalty != 1;
    return repetition || g->presence_penalty != 0 || g->frequency_penalty != 0;
}

/* The count is of what was generated; a token that only the prompt has is marked by the highest bit. */
enum { IN_PROMPT = 1 << 30 };

static void penalise(kl_sampler *s, const kl_sampling *g, int32_t id)
{
    uint32_t times = s->count[id] & ~(uint32_t)IN_PROMPT;
    double r = g->repetition_penalty == 0 ? 1 : g->repetition_penalty, x = s->logit[id];
    x = x > 0 ? x / r : x * r;
    s->logit[id] = x - (times ? g->presence_penalty : 0) - (double)times * g->frequency_penalty;
    s->count[id] = 0;
}

static void penalise_history(kl_sampler *s, const kl_sampling *g, const kl_history *h)
{
    size_t from = g->penalty_tokens && (uint64_t)g->penalty_tokens < h->n ? h->n - (size_t)g->penalty_tokens : 0;
    for (size_t i = from; i < h->n; i++) {
        if (h->id[i] < 0 || h->id[i] >= s->n_vocab)
            continue;
        uint32_t *count = &s->count[h->id[i]];
        if (i < h->n_prompt)
            *count |= IN_PROMPT;
        else if ((*count & (IN_PROMPT - 1)) < IN_PROMPT - 1)
            ++*count;
    }
    for (size_t i = from; i < h->n; i++)
        if (h->id[i] >= 0 && h->id[i] < s->n_vocab && s->count[h->id[i]])
            penalise(s, g, h->id[i]);
}

/* ------------------------------------------------------------------------------------------------------ choosing -- */

/* The highest logit, after a look at all of them. */
static kl_status check_logits(const float *logits, int32_t n, kl_error *err)
{
    bool fault = false, any = false;
    for (int32_t i = 0; i < n; i++) {
        fault |= !(logits[i] <= FLT_MAX);
        any |= logits[i] >= -FLT_MAX;
    }
    if (fault)
        for (int32_t i = 0; i < n; i++)
            if (!(logits[i] <= FLT_MAX))
                return kl__fail(err, KL_ERR_NUMERIC, "the logit of token %d is %g, expected a number", i,
                                (double)logits[i]);
    return any ? KL_OK : kl__fail(err, KL_ERR_NUMERIC, "all %d logits are -inf, so that no token is left", n);
}

/* The lowest id of the highest logit. */
static int32_t highest(const double *logit, int32_t n)
{
    int32_t best = 0;
    for (int32_t i = 1; i < n; i++)
        best = logit[i] > logit[best] ? i : best;
    return best;
}

/* p is e^key with the highest key 0, so that none overflows. */
static struct kl__candidates all_candidates(kl_sampler *s, double highest_logit, double temperature)
{
    for (int32_t i = 0; i < s->n_vocab; i++) {
        double key = (s->logit[i] - highest_logit) / temperature;
        s->candidate[i] = (struct kl__candidate){key, kl__exp(key), i};
    }
    return (struct kl__candidates){s->candidate, (size_t)s->n_vocab};
}

/* What is less likely than its part of the tail that top-p leaves out cannot be in front of that tail.  Leaving it out
 * early, with room for rounding, spares the heap. */
static void keep_top_p(struct kl__candidates *c, double top_p)
{
    double sum = kl__sum(c);
    kl__keep_likely(c, 0.999 * (1 - top_p) * sum / (double)c->n);
    kl__keep_first(c, c->n, top_p * sum);
}

static int32_t draw(kl_sampler *s, const kl_sampling *g, double highest_logit, double u)
{
    struct kl__candidates c = all_candidates(s, highest_logit, g->temperature);
    if (g->min_p > 0)
        kl__keep_likely(&c, g->min_p);
    if (g->top_k > 0 && (size_t)g->top_k < c.n)
        kl__keep_first(&c, (size_t)g->top_k, INFINITY);
    if (g->typical_p > 0 && g->typical_p < 1)
        kl__keep_typical(&c, g->typical_p);
    if (g->top_p > 0 && g->top_p < 1)
        keep_top_p(&c, g->top_p);
    return kl__draw(&c, u);
}

/* ----------------------------------------------------------------------------------------------- log-probability -- */

static void fill_logprobs(kl_sampler *s, kl_sampled *to, const float *logits, const kl_sampling *g)
{
    float top = logits[0];
    double sum = 0;
    for (int32_t i = 1; i < s->n_vocab; i++)
        top = logits[i] > top ? logits[i] : top;
    for (int32_t i = 0; i < s->n_vocab; i++) {
        sum += kl__exp((double)logits[i] - (double)top);
        s->candidate[i] = (struct kl__candidate){.key = (double)logits[i], .id = i};
    }
    double log_sum = (double)top + kl__log(sum);
    struct kl__candidates c = {s->candidate, (size_t)s->n_vocab};
    if (g->n_top)
        kl__keep_first(&c, (size_t)g->n_top, INFINITY);
    else
        c.n = 0;
    to->logprob = (double)logits[to->id] - log_sum;
    to->n_top = (int32_t)c.n;
    for (size_t i = 0; i < c.n; i++)
        to->top[i] = (kl_logprob){c.at[i].id, c.at[i].key - log_sum};
}

kl_status kl_sampler_next(kl_sampler *s, kl_sampled *sampled, kl_sampler_state *state, const float *logits,
                          const kl_sampling *g, const kl_history *history, kl_error *err)
{
    KL_TRY(kl_sampling_check(g, s->n_vocab, err));
    KL_TRY(check_logits(logits, s->n_vocab, err));
    for (int32_t i = 0; i < s->n_vocab; i++)
        s->logit[i] = (double)logits[i];
    if (history && is_penalising(g))
        penalise_history(s, g, history);
    for (size_t i = 0; i < g->n_bias; i++)
        s->logit[g->bias[i].id] += g->bias[i].bias;
    int32_t best = highest(s->logit, s->n_vocab);
    if (s->logit[best] == -INFINITY)
        return kl__fail(err, KL_ERR_ARGUMENT, "bias forbids every token that the logits allow");
    kl_sampled to = {.id = best};
    if (g->temperature > 0 && g->top_k != 1)
        to.id = draw(s, g, s->logit[best], kl__random(state->seed, state->n_drawn));
    if (g->logprobs)
        fill_logprobs(s, &to, logits, g);
    state->n_drawn++;
    *sampled = to;
    return KL_OK;
}
