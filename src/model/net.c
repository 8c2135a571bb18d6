#include "model/net.h"

#include "base/error.h"
#include "model/trace.h"
#include "model/walk.h"
#include "ops/backend.h"
#include "tensor/tensor.h"

#include <string.h>

/* ----------------------------------------------------------------------------------------- what a sequence keeps -- */

static size_t recurrent_bytes(const kl_config *c)
{
    kl_config one = {.n_layer = 1, .mixer = {KL_MIXER_KDA}};
    one.n_kda_head = c->n_kda_head;
    one.n_kda_v_head = c->n_kda_v_head;
    one.kda_k = c->kda_k;
    one.kda_v = c->kda_v;
    one.n_conv = c->n_conv;
    return (size_t)kl_config_state_cost(&one, KL_CACHE_F32).fixed_bytes;
}

size_t kl__fixed_bytes(const kl_config *c)
{
    return (size_t)kl_config_state_cost(c, KL_CACHE_F32).fixed_bytes;
}

size_t kl__fixed_offset(const kl_config *c, int layer)
{
    size_t n = 0;
    for (int i = 0; i < layer; i++)
        n += kl__mixer_recurrent(c->mixer[i]);
    return n * recurrent_bytes(c);
}

int64_t kl__page_bytes(const kl_config *c, kl_cache_type type)
{
    return kl_config_state_cost(c, type).page_bytes;
}

char *kl__latent_row(const struct kl__batch *b, const kl_config *c, const struct kl__seq *q, int index, int64_t at)
{
    int64_t row = kl__page_bytes(c, b->cache.type) / KL_PAGE_TOKENS / kl__n_mla(c);
    return b->cache.base + q->page[at / KL_PAGE_TOKENS] * b->cache.page_bytes +
           ((int64_t)index * KL_PAGE_TOKENS + at % KL_PAGE_TOKENS) * row;
}

/* ------------------------------------------------------------------------------------------------------ the walk -- */

kl_pool *kl__net_pool(const struct kl__net *net)
{
    return net->be->pool;
}

static kl_status run_layer(struct kl__walk *w, int i)
{
    const struct kl__net *net = w->net;
    const struct kl__layer *l = &net->layer[i];
    struct kl__carver mark = w->stage;
    w->layer = i;
    kl_tensor h = kl__walk_rows(w, w->h), n = kl__walk_rows(w, w->n);
    KL_TRY(kl__walk_norm(w, n, h, &l->w[KL__NORM_MIXER], (kl_tensor){0}, KL_ACT_NONE, net->c.rms_eps));
    KL_TRY(net->c.mixer[i] == KL_MIXER_MLA ? kl__mixer_mla_forward(w, i) : kl__mixer_recurrent_forward(w, i));
    w->stage = mark;
    KL_TRY(kl__walk_norm(w, n, h, &l->w[KL__NORM_FFN], (kl_tensor){0}, KL_ACT_NONE, net->c.rms_eps));
    KL_TRY(net->c.ffn[i] == KL_FFN_MOE ? kl__ffn_moe_forward(w, i) : kl__ffn_dense_forward(w, i));
    w->stage = mark;
    return KL_OK;
}

static struct kl__walk walk_of(const struct kl__net *net, const struct kl__batch *b, void *stage, kl_workspace work,
                               kl_error *err)
{
    struct kl__walk w = {.net = net, .be = net->be, .batch = b, .stage = {.base = stage}, .work = work, .err = err};
    w.layer = -1;
    w.h = kl__stage(&w, net->c.n_embd).data;
    w.n = kl__stage(&w, net->c.n_embd).data;
    return w;
}

kl_status kl__net_walk(const struct kl__net *net, const struct kl__batch *b, const struct kl__lent *lent,
                       float **hidden, kl_error *err)
{
    struct kl__walk w = walk_of(net, b, lent->stage, lent->work, err);
    kl_tensor id = kl_view1((void *)(uintptr_t)b->token, KL_I32, b->n_token);
    w.spent = lent->spent;
    for (int i = 0; i < b->n_seq; i++)
        if (b->seq[i].trace)
            kl__trace_begin(b->seq[i].trace, &b->seq[i], b->token);
    KL_TRY(kl__walk_embedding(&w, id));
    for (int i = 0; i < net->c.n_layer; i++) {
        KL_TRY(run_layer(&w, i));
        if (kl__stopped(lent->stop))
            return kl__fail(err, KL_ERR_CANCELLED, "stopped at layer %d of %d", i, net->c.n_layer);
    }
    *hidden = w.h;
    return KL_OK;
}

static const struct kl__weight *head_of(const struct kl__net *net)
{
    return &net->top.w[net->c.tied ? KL__EMBED : KL__HEAD];
}

kl_status kl__net_head(const struct kl__net *net, const struct kl__lent *lent, const float *hidden, const int *row,
                       int n, float *normed, float *logits, kl_error *err)
{
    int64_t width = net->c.n_embd;
    struct kl__walk w = {
        .net = net, .be = net->be, .work = lent->work, .err = err, .spent = lent->spent, .layer = -1};
    for (int i = 0; i < n; i++)
        memcpy(normed + i * width, hidden + row[i] * width, (size_t)width * sizeof(float));
    kl_tensor x = kl_view2(normed, KL_F32, n, width);
    KL_TRY(kl__walk_norm(&w, x, x, &net->top.w[KL__NORM], (kl_tensor){0}, KL_ACT_NONE, net->c.rms_eps));
    if (!logits)
        return KL_OK;
    return kl__walk_linear(&w, KL__PART_head, kl_view2(logits, KL_F32, n, net->c.n_vocab), x, head_of(net), false);
}

/* --------------------------------------------------------------------------------------------- what a walk needs -- */

/* A position far out, where the workspace of attention no longer grows (cpu/mla.h); a multiple of KL_PAGE_TOKENS. */
enum { FAR = 1 << 20 };

/* Measures a walk of one sequence.  Nothing behind the pointers is touched: they only have to be there, and the cache
 * apart from the stage, or else operators refuse the overlap and need nothing. */
static void measure(struct kl__need *need, const struct kl__net *net, int n_token, kl_cache_type type, bool decode,
                    int64_t position)
{
    char *const nowhere = (char *)(uintptr_t)KL_ALIGN, *const elsewhere = (char *)((uintptr_t)1 << 40);
    struct kl__seq seq = {.fixed = nowhere, .position = position, .n_token = n_token, .decode = decode};
    struct kl__batch b = {.n_token = n_token, .seq = &seq, .n_seq = 1};
    b.cache = (struct kl__cache){elsewhere, 1, kl__page_bytes(&net->c, type), type};
    struct kl__walk w = walk_of(net, &b, nowhere, (kl_workspace){0}, NULL);
    w.measure = &need->work_bytes;
    size_t most = w.stage.bytes;
    for (int i = 0; i < net->c.n_layer; i++) {
        struct kl__carver mark = w.stage;
        kl_status mixed =
            net->c.mixer[i] == KL_MIXER_MLA ? kl__mixer_mla_forward(&w, i) : kl__mixer_recurrent_forward(&w, i);
        most = w.stage.bytes > most ? w.stage.bytes : most;
        w.stage = mark;
        kl_status fed = net->c.ffn[i] == KL_FFN_MOE ? kl__ffn_moe_forward(&w, i) : kl__ffn_dense_forward(&w, i);
        most = w.stage.bytes > most ? w.stage.bytes : most;
        w.stage = mark;
        (void)mixed; /* nothing runs, so nothing can fail */
        (void)fed;
    }
    kl__walk_linear(&w, KL__PART_head, kl_view2(nowhere, KL_F32, n_token, net->c.n_vocab), kl__walk_rows(&w, w.n),
                    head_of(net), false);
    need->stage_bytes = most > need->stage_bytes ? most : need->stage_bytes;
}

/* No operator needs less for more tokens, and attention, in a given form, no less for a longer cache; those before and
 * behind a prompt's complete blocks are absorbed, as generated ones are.  So these two walks are the largest of all. */
struct kl__need kl__net_need(const struct kl__net *net, int n_token, kl_cache_type type)
{
    struct kl__need need = {0, 0};
    measure(&need, net, n_token, type, false, FAR);
    measure(&need, net, n_token, type, true, FAR);
    return need;
}
