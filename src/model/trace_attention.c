/* Where queries look: softmax(scale q~ . [c ; kr]) with q~_h = [w_uk[h]^T q_n ; q_r], as the absorbed form computes it,
 * one query against all latents of its sequence.  Positions before the window only give their sum. */
#include "base/half.h"
#include "model/trace.h"
#include "model/walk.h"

#include <math.h>
#include <string.h>

static float number_of(kl_tensor w, int64_t i)
{
    return w.dtype == KL_BF16 ? kl__f32_of_bf16(((const uint16_t *)w.data)[i]) : ((const float *)w.data)[i];
}

/* t->query [H][R + DR] <- the absorbed queries, with the scale of the softmax. */
static void absorb(kl_trace *t, const struct kl__layer *l, const float *query)
{
    const kl_config *c = &t->c;
    int64_t wide = kl__width_latent(c), own = c->qk_nope + c->qk_rope;
    int64_t head = l->w_uk.pitch ? l->w_uk.pitch : (int64_t)c->qk_nope * c->kv_rank;
    float scale = 1 / sqrtf((float)own);
    for (int64_t h = 0; h < c->n_head; h++) {
        float *to = t->query + h * wide;
        const float *from = query + h * own;
        memset(to, 0, (size_t)wide * sizeof *to);
        for (int64_t d = 0; d < c->qk_nope; d++)
            for (int64_t r = 0; r < c->kv_rank; r++)
                to[r] += scale * from[d] * number_of(l->w_uk, h * head + d * c->kv_rank + r);
        for (int64_t r = 0; r < c->qk_rope; r++)
            to[c->kv_rank + r] = scale * from[c->qk_nope + r];
    }
}

static void read_row(float *to, kl_cache_type type, const char *from, int64_t n)
{
    if (type == KL_CACHE_F32)
        memcpy(to, from, (size_t)n * sizeof *to);
    else if (type == KL_CACHE_Q8_0)
        kl__decode(KL__TYPE_Q8_0, to, from, n);
    else
        for (int64_t i = 0; i < n; i++)
            to[i] = kl__f32_of_bf16(((const uint16_t *)(const void *)from)[i]);
}

/* Eight sums side by side: a compiler makes one vector of them. */
static float dot(const float *a, const float *b, int64_t n)
{
    float sum[8] = {0}, rest = 0;
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int j = 0; j < 8; j++)
            sum[j] += a[i + j] * b[i + j];
    for (; i < n; i++)
        rest += a[i] * b[i];
    for (int j = 0; j < 8; j++)
        rest += sum[j];
    return rest;
}

/* A score of a position before the window: only the sum of exp(score - most) goes on. */
static void add_before(double *most, double *sum, double score)
{
    if (score > *most) {
        *sum = *sum * exp(*most - score) + 1;
        *most = score;
    } else {
        *sum += exp(score - *most);
    }
}

/* t->score [H][n] of the window, and for each head the greatest score and the sum before it. */
static void score(kl_trace *t, const struct kl__batch *b, const struct kl__seq *q, int index, int64_t first, int64_t n)
{
    int64_t wide = kl__width_latent(&t->c);
    for (int h = 0; h < t->c.n_head; h++) {
        t->most[h] = -INFINITY;
        t->sum[h] = 0;
    }
    for (int64_t at = 0; at < first + n; at++) {
        read_row(t->row, b->cache.type, kl__latent_row(b, &t->c, q, index, at), wide);
        for (int64_t h = 0; h < t->c.n_head; h++) {
            float x = dot(t->query + h * wide, t->row, wide);
            if (at < first)
                add_before(&t->most[h], &t->sum[h], x);
            else
                t->score[h * t->max_tokens + at - first] = x;
        }
    }
}

static void add_head(kl_trace *t, struct kl__trace_layer *to, int64_t h, int64_t n)
{
    const float *x = t->score + h * t->max_tokens;
    double most = t->most[h], all = 0;
    for (int64_t i = 0; i < n; i++)
        most = x[i] > most ? x[i] : most;
    double before = t->sum[h] > 0 ? t->sum[h] * exp(t->most[h] - most) : 0;
    for (int64_t i = 0; i < n; i++)
        all += exp(x[i] - most);
    double share = 1 / ((all + before) * t->c.n_head);
    for (int64_t i = 0; i < n; i++)
        to->weight[i] += (float)(share * exp(x[i] - most));
    to->before += (float)(share * before);
}

/* The strongest places of the row, the strongest first. */
static void rank(kl_trace_place *top, const float *weight, int64_t first, int64_t n)
{
    for (int k = 0; k < KL_TRACE_TOP; k++)
        top[k] = (kl_trace_place){-1, 0};
    for (int64_t i = 0; i < n; i++) {
        int k = KL_TRACE_TOP;
        for (; k > 0 && weight[i] > top[k - 1].weight; k--)
            if (k < KL_TRACE_TOP)
                top[k] = top[k - 1];
        if (k < KL_TRACE_TOP)
            top[k] = (kl_trace_place){(int32_t)(first + i), weight[i]};
    }
}

void kl__trace_attend(kl_trace *t, const struct kl__batch *b, const struct kl__seq *q, int layer, int index,
                      const struct kl__layer *l, const float *query, int from)
{
    struct kl__trace_layer *to = &t->layer[layer];
    int64_t position = q->position + from, n = position + 1 < t->max_tokens ? position + 1 : t->max_tokens;
    int64_t first = position + 1 - n;
    absorb(t, l, query);
    score(t, b, q, index, first, n);
    memset(to->weight, 0, (size_t)n * sizeof *to->weight);
    to->before = 0;
    for (int64_t h = 0; h < t->c.n_head; h++)
        add_head(t, to, h, n);
    to->query = position;
    rank(to->top + position % t->max_tokens * KL_TRACE_TOP, to->weight, first, n);
}
