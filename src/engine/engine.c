#include "engine/engine.h"

#include "base/error.h"

enum {
    MOST_TOKENS = 1 << 16,
    MOST_SPANS = 4096,
};

static void carve(kl_engine *e, struct kl__carver *c, struct kl__need need)
{
    const kl_config *cfg = &e->model->net.c;
    e->lent.stage_bytes = need.stage_bytes;
    e->lent.stage = kl__carve(c, 1, need.stage_bytes);
    e->lent.work.bytes = need.work_bytes;
    e->lent.work.data = kl__carve(c, 1, need.work_bytes);
    e->token = kl__carve(c, (size_t)e->max_token, sizeof *e->token);
    e->seq = kl__carve(c, (size_t)e->max_span, sizeof *e->seq);
    e->row = kl__carve(c, (size_t)e->max_token, sizeof *e->row);
    e->normed = kl__carve(c, (size_t)e->max_token * (size_t)cfg->n_embd, sizeof *e->normed);
    e->logits = kl__carve(c, (size_t)e->max_span * (size_t)cfg->n_vocab, sizeof *e->logits);
}

/* Sizes and limits, with defaults in place of zeros. */
static kl_status set_options(kl_engine *e, const kl_model *model, const kl_engine_options *o, kl_error *err)
{
    int tokens = o && o->max_batch_tokens ? o->max_batch_tokens : 512;
    int spans = o && o->max_batch_sequences ? o->max_batch_sequences : 16;
    if (tokens < 1 || tokens > MOST_TOKENS)
        return kl__fail(err, KL_ERR_ARGUMENT, "max_batch_tokens is %d, expected 1 .. %d", tokens, MOST_TOKENS);
    if (spans < 1 || spans > MOST_SPANS)
        return kl__fail(err, KL_ERR_ARGUMENT, "max_batch_sequences is %d, expected 1 .. %d", spans, MOST_SPANS);
    if (o && ((unsigned)o->cache_type > KL_CACHE_Q8_0 || o->cache_bytes < 0))
        return kl__fail(err, KL_ERR_ARGUMENT, "cache_type is %d and cache_bytes %lld, expected a type and a size",
                        (int)o->cache_type, (long long)o->cache_bytes);
    int64_t latent = kl__width_latent(&model->net.c);
    if (o && o->cache_type == KL_CACHE_Q8_0 && kl__n_mla(&model->net.c) && latent % 32)
        return kl__fail(err, KL_ERR_UNSUPPORTED,
                        "a latent has %lld numbers, expected a multiple of 32 for a q8_0 cache", (long long)latent);
    e->model = model;
    e->max_token = (tokens + KL_PAGE_TOKENS - 1) / KL_PAGE_TOKENS * KL_PAGE_TOKENS;
    e->max_span = spans;
    e->cache_type = o ? o->cache_type : KL_CACHE_BF16;
    e->fixed_bytes = kl__fixed_bytes(&model->net.c);
    return KL_OK;
}

static kl_status take_memory(kl_engine *e, int64_t budget, kl_error *err)
{
    struct kl__need need = kl__net_need(&e->model->net, e->max_token, e->cache_type);
    struct kl__carver c = {0};
    carve(e, &c, need);
    e->memory_bytes = c.bytes;
    e->memory = kl__alloc(e->alloc, c.bytes);
    if (!e->memory)
        return kl__fail(err, KL_ERR_MEMORY, "no memory for %zu bytes of workspace", c.bytes);
    c = (struct kl__carver){.base = e->memory};
    carve(e, &c, need);
    return kl__pages_open(&e->pages, kl__page_bytes(&e->model->net.c, e->cache_type), budget, err);
}

kl_status kl_engine_open(kl_engine **engine, const kl_model *model, const kl_engine_options *options, kl_error *err)
{
    if (!engine || !model)
        return kl__fail(err, KL_ERR_ARGUMENT, "kl_engine_open: %s is NULL, expected a pointer",
                        engine ? "model" : "engine");
    kl_engine *e = kl__alloc(options ? options->alloc : NULL, sizeof *e);
    if (!e)
        return kl__fail(err, KL_ERR_MEMORY, "no memory for an engine");
    if (options && options->alloc) {
        e->alloc_copy = *options->alloc;
        e->alloc = &e->alloc_copy;
    }
    kl_status status = set_options(e, model, options, err);
    if (status == KL_OK)
        status = take_memory(e, options ? options->cache_bytes : 0, err);
    if (status == KL_OK)
        *engine = e;
    else
        kl_engine_close(e);
    return status;
}

void kl_engine_close(kl_engine *e)
{
    if (!e)
        return;
    kl__pages_close(&e->pages);
    kl__release(e->alloc, e->memory);
    kl_allocator copy = e->alloc_copy;
    kl__release(e->alloc ? &copy : NULL, e);
}

kl_cache_type kl_engine_cache_type(const kl_engine *e)
{
    return e->cache_type;
}

const kl_model *kl_engine_model(const kl_engine *e)
{
    return e->model;
}

void kl_engine_watch(kl_engine *e, kl_spent *spent)
{
    e->lent.spent = spent;
}

void kl_engine_stop_when(kl_engine *e, kl_stop_fn *stop, void *user)
{
    e->stop = (struct kl__stop){.fn = stop, .user = user};
    e->lent.stop = &e->stop;
}

kl_engine_memory kl_engine_memory_of(const kl_engine *e)
{
    return (kl_engine_memory){
        .workspace_bytes = (int64_t)e->memory_bytes,
        .page_bytes = e->pages.page_bytes,
        .pages_used = kl__pages_used(&e->pages),
        .pages_held = kl__pages_held(&e->pages),
        .pages_most = e->pages.n_page,
        .fixed_bytes = (int64_t)e->fixed_bytes,
    };
}

kl_status kl_engine_predict(kl_engine_memory *memory, const kl_model *model, const kl_engine_options *options,
                            kl_error *err)
{
    kl_engine e = {0};
    KL_TRY(set_options(&e, model, options, err));
    struct kl__carver c = {0};
    carve(&e, &c, kl__net_need(&model->net, e.max_token, e.cache_type));
    *memory = (kl_engine_memory){
        .workspace_bytes = (int64_t)c.bytes,
        .page_bytes = kl__page_bytes(&model->net.c, e.cache_type),
        .fixed_bytes = (int64_t)e.fixed_bytes,
    };
    return KL_OK;
}
