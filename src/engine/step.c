/* One step: checks, room for the new tokens, the walk, logits, and only then the sessions move on. */
#include "base/error.h"
#include "engine/engine.h"

#include <math.h>
#include <string.h>

/* -------------------------------------------------------------------------------------------------------- checks -- */

static kl_status check_span(const kl_engine *e, const kl_span *span, int i, kl_error *err)
{
    const kl_span *s = &span[i];
    if (!s->session || !s->token || s->n_token < 1)
        return kl__fail(err, KL_ERR_ARGUMENT, "kl_step: span %d has session %p, token %p and %d tokens, expected some",
                        i, (void *)s->session, (const void *)s->token, s->n_token);
    if (s->session->engine != e)
        return kl__fail(err, KL_ERR_ARGUMENT, "kl_step: the session of span %d is of another engine", i);
    for (int j = 0; j < i; j++)
        if (span[j].session == s->session)
            return kl__fail(err, KL_ERR_ARGUMENT, "kl_step: spans %d and %d have the same session", j, i);
    if (s->want != KL_WANT_NONE && !s->logits && !s->hidden)
        return kl__fail(err, KL_ERR_ARGUMENT, "kl_step: span %d wants logits, but gives no room for them", i);
    int n_vocab = e->model->net.c.n_vocab;
    for (int t = 0; t < s->n_token; t++)
        if (s->token[t] < 0 || s->token[t] >= n_vocab)
            return kl__fail(err, KL_ERR_ARGUMENT, "kl_step: token %d of span %d is %d, expected 0 .. %d", t, i,
                            (int)s->token[t], n_vocab - 1);
    if (s->session->broken)
        return kl__fail(err, KL_ERR_NUMERIC, "kl_step: the numbers of span %d's session are not finite any more", i);
    return KL_OK;
}

static kl_status check(const kl_engine *e, const kl_span *span, int n_span, kl_error *err)
{
    if (!e || n_span < 0 || (n_span > 0 && !span))
        return kl__fail(err, KL_ERR_ARGUMENT, "kl_step: engine %p and %d spans at %p, expected some", (const void *)e,
                        n_span, (const void *)span);
    if (n_span > e->max_span)
        return kl__fail(err, KL_ERR_ARGUMENT, "kl_step: there are %d spans, expected at most %d", n_span, e->max_span);
    int64_t n_token = 0;
    for (int i = 0; i < n_span; i++) {
        KL_TRY(check_span(e, span, i, err));
        n_token += span[i].n_token;
    }
    if (n_token > e->max_token)
        return kl__fail(err, KL_ERR_ARGUMENT, "kl_step: there are %lld tokens, expected at most %d", (long long)n_token,
                        e->max_token);
    return KL_OK;
}

/* ------------------------------------------------------------------------------------------------------ the walk -- */

static kl_status reserve(const kl_span *span, int n_span, kl_error *err)
{
    for (int i = 0; i < n_span; i++) {
        kl_status status = kl__timeline_reserve(&span[i].session->line, span[i].n_token, err);
        if (status == KL_OK)
            continue;
        while (i-- > 0)
            kl__timeline_trim(&span[i].session->line);
        return status;
    }
    return KL_OK;
}

static struct kl__batch gather(kl_engine *e, const kl_span *span, int n_span)
{
    struct kl__batch b = {.token = e->token, .seq = e->seq, .n_seq = n_span};
    b.cache = (struct kl__cache){e->pages.base, e->pages.n_page, e->pages.page_bytes, e->cache_type};
    for (int i = 0; i < n_span; i++) {
        const struct kl__timeline *t = &span[i].session->line;
        e->seq[i] = (struct kl__seq){t->fixed, t->page, t->length, b.n_token, span[i].n_token, span[i].decode,
                                     span[i].session->trace};
        memcpy(e->token + b.n_token, span[i].token, (size_t)span[i].n_token * sizeof *e->token);
        b.n_token += span[i].n_token;
    }
    return b;
}

/* -------------------------------------------------------------------------------------------------------- logits -- */

static bool all_finite(const float *x, int64_t n)
{
    float sum = 0; /* stays 0, unless something is not finite */
    for (int64_t i = 0; i < n; i++)
        sum += x[i] * 0;
    return sum == 0;
}

static int n_wanted(const kl_span *s)
{
    return s->want == KL_WANT_ALL ? s->n_token : s->want == KL_WANT_LAST;
}

/* Spans that want their last token's logits share one product.  A single one gets them where it wants them, several by
 * way of the engine's room. */
static kl_status last_logits(kl_engine *e, const float *hidden, const kl_span *span, int n_span, kl_error *err)
{
    const kl_config *c = &e->model->net.c;
    size_t width = (size_t)c->n_embd, vocab = (size_t)c->n_vocab;
    int n = 0;
    bool any = false; /* somebody wants more than the normed row */
    float *to = e->logits;
    for (int i = 0; i < n_span; i++)
        if (span[i].want == KL_WANT_LAST) {
            e->row[n++] = e->seq[i].first + e->seq[i].n_token - 1;
            any |= span[i].logits != NULL;
            to = span[i].logits;
        }
    if (n == 0)
        return KL_OK;
    to = n == 1 ? to : e->logits;
    KL_TRY(kl__net_head(&e->model->net, &e->lent, hidden, e->row, n, e->normed, any ? to : NULL, err));
    for (int i = 0, k = 0; i < n_span; i++) {
        if (span[i].want != KL_WANT_LAST)
            continue;
        if (span[i].hidden)
            memcpy(span[i].hidden, e->normed + (size_t)k * width, width * sizeof(float));
        if (span[i].logits && n > 1)
            memcpy(span[i].logits, e->logits + (size_t)k * vocab, vocab * sizeof(float));
        k++;
    }
    return KL_OK;
}

static kl_status all_logits(kl_engine *e, const float *hidden, const kl_span *s, const struct kl__seq *q, kl_error *err)
{
    for (int t = 0; t < s->n_token; t++)
        e->row[t] = q->first + t;
    KL_TRY(kl__net_head(&e->model->net, &e->lent, hidden, e->row, s->n_token, e->normed, s->logits, err));
    if (s->hidden)
        memcpy(s->hidden, e->normed, (size_t)s->n_token * (size_t)e->model->net.c.n_embd * sizeof(float));
    return KL_OK;
}

static kl_status make_logits(kl_engine *e, const float *hidden, const kl_span *span, int n_span, kl_error *err)
{
    KL_TRY(last_logits(e, hidden, span, n_span, err));
    for (int i = 0; i < n_span; i++)
        if (span[i].want == KL_WANT_ALL)
            KL_TRY(all_logits(e, hidden, &span[i], &e->seq[i], err));
    return KL_OK;
}

/* A sequence is whole while the last row of its hidden states is finite, and the logits that were asked for. */
static void judge(const kl_engine *e, const float *hidden, kl_span *s, const struct kl__seq *q)
{
    const kl_config *c = &e->model->net.c;
    const float *row = hidden + (q->first + (int64_t)q->n_token - 1) * c->n_embd;
    bool whole = all_finite(row, c->n_embd) && (!s->logits || all_finite(s->logits, n_wanted(s) * (int64_t)c->n_vocab));
    s->status = whole ? KL_OK : KL_ERR_NUMERIC;
    s->session->broken = !whole;
}

/* ------------------------------------------------------------------------------------------------------ the step -- */

static void move_on(kl_session *s, const kl_span *span)
{
    memcpy(s->line.token + s->line.length, span->token, (size_t)span->n_token * sizeof *span->token);
    s->line.length += span->n_token;
}

/* What skipped tasks left as it was may well be refused by the next operator: the stop is the reason all the same. */
static kl_status compute(kl_engine *e, const struct kl__batch *b, float **hidden, const kl_span *span, int n_span,
                         kl_error *err)
{
    e->stop.stopped = false;
    kl__pool_stop_when(e->stop.fn ? &e->stop : NULL);
    kl_status status = kl__net_walk(&e->model->net, b, &e->lent, hidden, err);
    if (status == KL_OK)
        status = make_logits(e, *hidden, span, n_span, err);
    kl__pool_stop_when(NULL);
    return e->stop.stopped ? kl__fail(err, KL_ERR_CANCELLED, "stopped within a step of %d tokens", b->n_token) : status;
}

kl_status kl_step(kl_engine *e, kl_span *span, int n_span, kl_error *err)
{
    KL_TRY(check(e, span, n_span, err));
    if (n_span == 0)
        return KL_OK;
    KL_TRY(reserve(span, n_span, err));
    struct kl__batch b = gather(e, span, n_span);
    float *hidden = NULL;
    kl_status status = compute(e, &b, &hidden, span, n_span, err);
    for (int i = 0; i < n_span; i++) {
        if (status != KL_OK) { /* states may be half-way: no session of this step can go on */
            span[i].session->broken = true;
            continue;
        }
        judge(e, hidden, &span[i], &e->seq[i]);
        move_on(span[i].session, &span[i]);
    }
    return status;
}

kl_status kl_prefill(kl_session *s, const int32_t *token, int64_t n_token, float *logits, kl_progress_fn *progress,
                     void *user, kl_error *err)
{
    for (int64_t done = 0; done < n_token;) {
        if (progress && !progress(user, done, n_token))
            return kl__fail(err, KL_ERR_CANCELLED, "stopped after %lld of %lld tokens", (long long)done,
                            (long long)n_token);
        /* Pieces end at multiples of the page, counted from the start of the sequence: that keeps the bits. */
        int64_t at = s->line.length, n = s->engine->max_token - at % KL_PAGE_TOKENS;
        n = n < n_token - done ? n : n_token - done;
        bool last = done + n == n_token;
        kl_span span = {.session = s,
                        .token = token + done,
                        .n_token = (int)n,
                        .want = last && logits ? KL_WANT_LAST : KL_WANT_NONE,
                        .logits = logits};
        KL_TRY(kl_step(s->engine, &span, 1, err));
        if (span.status != KL_OK)
            return kl__fail(err, span.status, "the model's numbers are not finite at token %lld",
                            (long long)s->line.length);
        done += n;
    }
    if (progress)
        progress(user, n_token, n_token);
    return KL_OK;
}

kl_status kl_decode(kl_session *s, int32_t token, float *logits, kl_error *err)
{
    kl_span span = {.session = s,
                    .token = &token,
                    .n_token = 1,
                    .decode = true,
                    .want = logits ? KL_WANT_LAST : KL_WANT_NONE,
                    .logits = logits};
    KL_TRY(kl_step(s->engine, &span, 1, err));
    if (span.status != KL_OK)
        return kl__fail(err, span.status, "the model's numbers are not finite at token %lld",
                        (long long)s->line.length);
    return KL_OK;
}
