/* Depth without a prompt: states and latents drawn at random, of the size that a model's have. */
#include "base/error.h"
#include "base/half.h"
#include "base/pool.h"
#include "engine/engine.h"
#include "tensor/quant/quant.h"

#include <math.h>
#include <string.h>

enum { PATTERN_PAGES = 8 }; /* pages that are drawn; the others repeat them */

static uint64_t next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

/* Four uniform numbers make one that is nearly normal, with variance 1. */
static float nearly_normal(uint64_t *state)
{
    uint64_t z = next(state);
    int32_t sum = 0;
    for (int i = 0; i < 4; i++)
        sum += (int32_t)(z >> 16 * i & 0xffff) - 0x8000;
    return (float)sum * (sqrtf(3) / 65536);
}

static void draw(char *to, int64_t bytes, kl_cache_type type, uint64_t *state)
{
    if (type == KL_CACHE_F32)
        for (int64_t i = 0; i < bytes / 4; i++)
            ((float *)(void *)to)[i] = nearly_normal(state);
    else if (type == KL_CACHE_Q8_0)
        for (float x[32]; bytes >= 34; bytes -= 34, to += 34) {
            for (int i = 0; i < 32; i++)
                x[i] = nearly_normal(state);
            kl__encode(KL__TYPE_Q8_0, to, x, 32, NULL);
        }
    else
        for (int64_t i = 0; i < bytes / 2; i++)
            ((uint16_t *)(void *)to)[i] = kl__bf16_of_f32(nearly_normal(state));
}

/* Copies one of the pages that were drawn. */
static void repeat_task(void *arg, int64_t task, int thread)
{
    (void)thread;
    const struct kl__timeline *t = arg;
    int64_t page = PATTERN_PAGES + task;
    memcpy(kl__page_at(t->pages, t->page[page]), kl__page_at(t->pages, t->page[page % PATTERN_PAGES]),
           (size_t)t->pages->page_bytes);
}

kl_status kl_session_fill_random(kl_session *s, int64_t n_token, uint64_t seed, kl_error *err)
{
    struct kl__timeline *t = &s->line;
    if (t->length != 0 || n_token < 0)
        return kl__fail(
            err, KL_ERR_ARGUMENT,
            "kl_session_fill_random: the session has %lld tokens and n_token is %lld, expected 0 and a count",
            (long long)t->length, (long long)n_token);
    KL_TRY(kl__timeline_reserve(t, n_token, err));
    for (int64_t i = 0; i < t->n_page && i < PATTERN_PAGES; i++)
        draw(kl__page_at(t->pages, t->page[i]), t->pages->page_bytes, s->engine->cache_type, &seed);
    kl__pool_run(kl__net_pool(&s->engine->model->net), t->n_page - PATTERN_PAGES, repeat_task, t);
    for (size_t i = 0; i < t->fixed_bytes / sizeof(float); i++)
        ((float *)(void *)t->fixed)[i] = 0.1F * nearly_normal(&seed);
    for (int64_t i = 0; i < n_token; i++)
        t->token[i] = (int32_t)(next(&seed) % (uint64_t)s->engine->model->net.c.n_vocab);
    t->length = n_token;
    return KL_OK;
}
