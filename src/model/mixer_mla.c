/* Multi-head latent attention: the queries of each head against the latents of all positions, which live in pages. */
#include "model/trace.h"
#include "model/walk.h"

#include "base/half.h"
#include "tensor/quant/quant.h"
#include "tensor/tensor.h"

#include <string.h>

struct stage {
    kl_tensor q_low; /* [T][q_rank] */
    kl_tensor q;     /* [T][H (DN + DR)] */
    kl_tensor row;   /* [T][R + DR]: latent and shared key channels */
    kl_tensor o;     /* [T][H DV] */
};

static struct stage lay_out(struct kl__walk *w)
{
    const kl_config *c = &w->net->c;
    struct stage s = {
        .q = kl__stage(w, kl__width_q_mla(c)),
        .row = kl__stage(w, kl__width_latent(c)),
        .o = kl__stage(w, kl__width_o_mla(c)),
    };
    if (c->q_rank)
        s.q_low = kl__stage(w, c->q_rank);
    return s;
}

static kl_status project(struct kl__walk *w, const struct kl__layer *l, const struct stage *s)
{
    const kl_config *c = &w->net->c;
    struct kl__weight_product p[2] = {
        {s->row, &l->w[KL__MLA_KV_A], false},
        c->q_rank ? (struct kl__weight_product){s->q_low, &l->w[KL__MLA_Q_A], false}
                  : (struct kl__weight_product){s->q, &l->w[KL__MLA_Q], false},
    };
    KL_TRY(kl__walk_linears(w, KL__PART_projections, p, 2, kl__walk_rows(w, w->n)));
    if (c->q_rank) {
        KL_TRY(kl__walk_norm(w, s->q_low, s->q_low, &l->w[KL__NORM_Q], (kl_tensor){0}, KL_ACT_NONE, c->kv_norm_eps));
        KL_TRY(kl__walk_linear(w, KL__PART_gates, s->q, s->q_low, &l->w[KL__MLA_Q_B], false));
    }
    kl_tensor latent = kl__columns(s->row, 0, c->kv_rank);
    return kl__walk_norm(w, latent, latent, &l->w[KL__NORM_KV], (kl_tensor){0}, KL_ACT_NONE, c->kv_norm_eps);
}

/* The baselines turn the shared slices of queries and keys by their positions. */
static kl_status rotate(struct kl__walk *w, const struct stage *s)
{
    const kl_config *c = &w->net->c;
    int64_t n = w->batch->n_token, *position = kl__stage_positions(w);
    for (int i = 0; i < w->batch->n_seq && !w->measure; i++)
        for (int t = 0; t < w->batch->seq[i].n_token; t++)
            position[w->batch->seq[i].first + t] = w->batch->seq[i].position + t;
    kl_tensor key = kl_view3((float *)s->row.data + c->kv_rank, KL_F32, n, 1, c->qk_rope);
    key.pitch = s->row.dim[1];
    KL_TRY(kl__walk_rope(w, &(kl_rope_args){.x = key, .position = position, .base = c->rope_base}));
    /* Query heads are wider than what is turned: one call for each head, whose columns lie at the heads' distance. */
    for (int64_t h = 0; h < c->n_head; h++) {
        float *slice = (float *)s->q.data + h * (c->qk_nope + c->qk_rope) + c->qk_nope;
        kl_tensor q = kl_view3(slice, KL_F32, n, 1, c->qk_rope);
        q.pitch = s->q.dim[1];
        KL_TRY(kl__walk_rope(w, &(kl_rope_args){.x = q, .position = position, .base = c->rope_base}));
    }
    return KL_OK;
}

/* Blocks hold finite numbers only: of a row that has others nothing is kept but that. */
static void store_blocks(char *to, const float *from, int64_t n)
{
    static const uint16_t not_a_number = 0x7e00;
    if (kl__encode(KL__TYPE_Q8_0, to, from, n, NULL) != KL_OK)
        for (int64_t i = 0; i < n / 32; i++)
            memcpy(to + i * 34, &not_a_number, sizeof not_a_number);
}

static void store_row(kl_cache_type type, char *to, const float *from, int64_t n)
{
    if (type == KL_CACHE_F32)
        memcpy(to, from, (size_t)n * sizeof(float));
    else if (type == KL_CACHE_Q8_0)
        store_blocks(to, from, n);
    else
        for (int64_t i = 0; i < n; i++)
            ((uint16_t *)(void *)to)[i] = kl__bf16_of_f32(from[i]);
}

static void remember(struct kl__walk *w, int index, const struct stage *s)
{
    const struct kl__batch *b = w->batch;
    int64_t n = s->row.dim[1];
    double from_clock = kl__watch_clock(w->spent);
    for (int i = 0; i < b->n_seq; i++)
        for (int t = 0; t < b->seq[i].n_token; t++) {
            const float *from = (const float *)s->row.data + (b->seq[i].first + (int64_t)t) * n;
            char *to = kl__latent_row(b, &w->net->c, &b->seq[i], index, b->seq[i].position + t);
            store_row(b->cache.type, to, from, n);
        }
    kl__walk_took(w, KL__PART_cache, (struct kl__effort){4.0 * (double)(b->n_token * n), 0}, from_clock);
}

/* All pages, as MLA layer `index` sees them.  Where nothing is computed there are none: then `length` rows. */
static kl_tensor pool_of(const struct kl__walk *w, int index, int64_t length)
{
    const struct kl__cache *cache = &w->batch->cache;
    static const kl_dtype dtypes[] = {[KL_CACHE_BF16] = KL_BF16, [KL_CACHE_F32] = KL_F32, [KL_CACHE_Q8_0] = KL_Q8_0};
    kl_dtype dtype = dtypes[cache->type];
    int64_t n = kl__width_latent(&w->net->c), bytes = (int64_t)kl_dtype_bytes(dtype);
    if (dtype == KL_Q8_0)
        n = n / 32 * 34;
    if (w->measure)
        return kl_view2(cache->base, dtype, length, n);
    char *first = cache->base + index * KL_PAGE_TOKENS * n * bytes;
    kl_tensor pool = kl_view3(first, dtype, cache->n_page, KL_PAGE_TOKENS, n);
    pool.pitch = cache->page_bytes / bytes;
    return pool;
}

/* A call of `n` tokens from row `first` of the step on, over caches of `length` rows in all. */
static kl_mla_args call_of(const struct kl__walk *w, const struct kl__layer *l, int index, const struct stage *s,
                           int64_t first, int64_t n, int64_t length)
{
    const kl_config *c = &w->net->c;
    return (kl_mla_args){
        .o = kl_view3((float *)s->o.data + first * s->o.dim[1], KL_F32, n, c->n_head, c->v_dim),
        .q = kl_view3((float *)s->q.data + first * s->q.dim[1], KL_F32, n, c->n_head, c->qk_nope + c->qk_rope),
        .cache = pool_of(w, index, length),
        .w_uk = l->w_uk,
        .w_uv = l->w_uv,
        .packed = l->kv_packed,
        .causal = true,
    };
}

static int64_t pages_of(int64_t length)
{
    return (length + KL_PAGE_TOKENS - 1) / KL_PAGE_TOKENS;
}

/* Tokens from .. from + n - 1 of a sequence's part of the step. */
static kl_status attend(struct kl__walk *w, const struct kl__layer *l, int index, const struct kl__seq *q,
                        const struct stage *s, int64_t from, int64_t n, kl_mla_form form)
{
    if (n == 0)
        return KL_OK;
    int64_t length = q->position + from + n;
    const int64_t cu_q[2] = {0, n}, cu_k[2] = {0, length};
    kl_mla_args a = call_of(w, l, index, s, q->first + from, n, length);
    a.form = form;
    a.cu_q = cu_q;
    a.cu_k = cu_k;
    a.n_seq = 1;
    if (!w->measure)
        a.paging = (kl_paging){q->page, pages_of(length), KL_PAGE_TOKENS, NULL};
    return kl__walk_mla(w, &a);
}

/* Sequences i .. end - 1, which decode, together: what is read of the weights is read once. */
static kl_status attend_decoding(struct kl__walk *w, const struct kl__layer *l, int index, const struct stage *s,
                                 struct kl__lists lists, int i, int end)
{
    const struct kl__seq *seq = &w->batch->seq[i];
    int64_t most = 0, n = end - i;
    lists.cu_q[0] = lists.cu_k[0] = 0;
    for (int k = 0; k < n; k++) {
        int64_t length = seq[k].position + seq[k].n_token;
        lists.cu_q[k + 1] = lists.cu_q[k] + seq[k].n_token;
        lists.cu_k[k + 1] = lists.cu_k[k] + length;
        lists.page[k] = seq[k].page;
        most = length > most ? length : most;
    }
    kl_mla_args a = call_of(w, l, index, s, seq->first, lists.cu_q[n], lists.cu_k[n]);
    a.form = KL_MLA_ABSORBED;
    a.cu_q = lists.cu_q;
    a.cu_k = lists.cu_k;
    a.n_seq = n;
    a.paging = (kl_paging){seq->page, pages_of(most), KL_PAGE_TOKENS, lists.page};
    return kl__walk_mla(w, &a);
}

/* A prompt: complete blocks of positions in the expanded form, what stands before and behind them absorbed.  The form
 * of a position does not depend on where the prompt was cut, if it was cut between blocks. */
static kl_status attend_prompt(struct kl__walk *w, const struct kl__layer *l, int index, const struct kl__seq *q,
                               const struct stage *s)
{
    int64_t before = (KL_PAGE_TOKENS - q->position % KL_PAGE_TOKENS) % KL_PAGE_TOKENS;
    if (before > q->n_token)
        before = q->n_token;
    int64_t whole = (q->n_token - before) / KL_PAGE_TOKENS * KL_PAGE_TOKENS;
    KL_TRY(attend(w, l, index, q, s, 0, before, KL_MLA_ABSORBED));
    KL_TRY(attend(w, l, index, q, s, before, whole, KL_MLA_EXPANDED));
    return attend(w, l, index, q, s, before + whole, q->n_token - before - whole, KL_MLA_ABSORBED);
}

/* What a sequence writes, token by token, and the end of what it reads: the attention of those is told. */
static void tell(const struct kl__walk *w, int layer, int index, const struct kl__seq *q, const struct stage *s)
{
    for (int t = q->decode ? 0 : q->n_token - 1; t < q->n_token; t++)
        kl__trace_attend(q->trace, w->batch, q, layer, index, &w->net->layer[layer],
                         (const float *)s->q.data + (q->first + t) * s->q.dim[1], t);
}

kl_status kl__mixer_mla_forward(struct kl__walk *w, int layer)
{
    const struct kl__layer *l = &w->net->layer[layer];
    const kl_config *c = &w->net->c;
    int index = 0;
    for (int i = 0; i < layer; i++)
        index += c->mixer[i] == KL_MIXER_MLA;
    struct stage s = lay_out(w);
    KL_TRY(project(w, l, &s));
    if (c->rope && c->qk_rope)
        KL_TRY(rotate(w, &s));
    if (!w->measure)
        remember(w, index, &s);
    struct kl__lists lists = kl__stage_lists(w);
    for (int i = 0, end; i < w->batch->n_seq; i = end) {
        const struct kl__seq *q = &w->batch->seq[i];
        for (end = i + 1; q->decode && end < w->batch->n_seq && w->batch->seq[end].decode;)
            end++;
        if (!q->decode)
            KL_TRY(attend_prompt(w, l, index, q, &s));
        else if (w->measure)
            KL_TRY(attend(w, l, index, q, &s, 0, q->n_token, KL_MLA_ABSORBED));
        else
            KL_TRY(attend_decoding(w, l, index, &s, lists, i, end));
        for (int k = i; k < end; k++)
            if (w->batch->seq[k].trace)
                tell(w, layer, index, &w->batch->seq[k], &s);
    }
    return kl__walk_linear(w, KL__PART_outputs, kl__walk_rows(w, w->h), s.o, &l->w[KL__MLA_O], true);
}
