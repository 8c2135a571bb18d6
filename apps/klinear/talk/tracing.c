#define _GNU_SOURCE /* fopencookie() */

#include "tracing.h"

#include "base/error.h"
#include "base/file.h"

#include <math.h>
#include <stdio.h>

static const double quantile[] = {0.05, 0.25, 0.5, 0.75, 0.95};
static const double LN2 = 0.693147180559945309;
enum { N_QUANTILE = sizeof quantile / sizeof *quantile };

/* ------------------------------------------------------------------------------------------------------- tokens -- */

static void put_token(struct ka_json *j, const struct ka_loaded *l, int32_t id)
{
    char text[256];
    size_t n = id < 0 ? 0 : kl_detokenize(text, sizeof text, l->tokenizer, &id, 1, true);
    ka_json_bytes(j, NULL, text, n < sizeof text ? n : 0);
}

static int32_t id_of(const kl_trace *t, struct ka_trace_view view, int64_t position)
{
    int32_t id = kl_trace_token(t, position);
    return id < 0 && position < view.n_known ? view.known[position] : id;
}

static void put_tokens(struct ka_json *j, const kl_trace *t, const struct ka_loaded *l, struct ka_trace_view view,
                       int64_t first)
{
    ka_json_integer(j, "first", first);
    ka_json_integer(j, "end", kl_trace_end(t));
    ka_json_open(j, "ids", '[');
    for (int64_t i = first; i < kl_trace_end(t); i++)
        ka_json_integer(j, NULL, id_of(t, view, i));
    ka_json_close(j, ']');
    ka_json_open(j, "texts", '[');
    for (int64_t i = first; i < kl_trace_end(t); i++)
        put_token(j, l, id_of(t, view, i));
    ka_json_close(j, ']');
}

/* ------------------------------------------------------------------------------------------------------- layers -- */

static void put_half_lives(struct ka_json *j, const kl_trace_decay *d)
{
    ka_json_open(j, "half_life", '[');
    for (int h = 0; h < d->n_head; h++) {
        ka_json_open(j, NULL, '[');
        for (int i = 0; i < N_QUANTILE; i++)
            ka_json_number(j, NULL, kl_trace_half_life(d, h, quantile[i]));
        ka_json_close(j, ']');
    }
    ka_json_close(j, ']');
}

/* Of each channel the half-life that its mean decay has, and how often each bin was met. */
static void put_channels(struct ka_json *j, const kl_trace_decay *d)
{
    ka_json_open(j, "channels", '[');
    for (int h = 0; h < d->n_head; h++) {
        ka_json_open(j, NULL, '[');
        for (int i = 0; i < d->n_channel; i++)
            ka_json_number(j, NULL, LN2 * (double)d->n_token / d->sum[h * d->n_channel + i]);
        ka_json_close(j, ']');
    }
    ka_json_close(j, ']');
    ka_json_open(j, "bins", '[');
    for (int h = 0; h < d->n_head; h++) {
        ka_json_open(j, NULL, '[');
        for (int i = 0; i < KL_TRACE_BINS; i++)
            ka_json_integer(j, NULL, (int64_t)d->bin[h * KL_TRACE_BINS + i]);
        ka_json_close(j, ']');
    }
    ka_json_close(j, ']');
}

static void put_decay(struct ka_json *j, const kl_trace *t, int layer, bool whole)
{
    kl_trace_decay d;
    if (!kl_trace_decay_of(&d, t, layer))
        return;
    ka_json_open(j, "decay", '{');
    put_half_lives(j, &d);
    if (whole)
        put_channels(j, &d);
    ka_json_close(j, '}');
}

static bool has_beta(const kl_config *c, int layer)
{
    int mixer = c->mixer[layer];
    return mixer == KL_MIXER_KDA || mixer == KL_MIXER_GDN || mixer == KL_MIXER_DELTANET || mixer == KL_MIXER_MAMBA2;
}

static void put_beta(struct ka_json *j, const kl_trace *t, const kl_config *c, int layer, int64_t first)
{
    if (!has_beta(c, layer))
        return;
    ka_json_open(j, "beta", '[');
    for (int64_t i = first; i < kl_trace_end(t); i++) {
        const float *beta = kl_trace_beta(t, layer, i);
        ka_json_open(j, NULL, '[');
        for (int h = 0; beta && h < c->n_kda_v_head; h++)
            ka_json_number(j, NULL, beta[h]);
        ka_json_close(j, ']');
    }
    ka_json_close(j, ']');
}

static void put_top(struct ka_json *j, const kl_trace *t, int layer, int64_t first)
{
    ka_json_open(j, "top", '[');
    for (int64_t i = first; i < kl_trace_end(t); i++) {
        const kl_trace_place *top = kl_trace_top(t, layer, i);
        ka_json_open(j, NULL, '[');
        for (int k = 0; top && k < KL_TRACE_TOP && top[k].position >= 0; k++) {
            ka_json_open(j, NULL, '[');
            ka_json_integer(j, NULL, top[k].position);
            ka_json_number(j, NULL, top[k].weight);
            ka_json_close(j, ']');
        }
        ka_json_close(j, ']');
    }
    ka_json_close(j, ']');
}

static void put_attention(struct ka_json *j, const kl_trace *t, int layer, int64_t first)
{
    kl_trace_attention a;
    if (!kl_trace_attention_of(&a, t, layer))
        return;
    ka_json_open(j, "attention", '{');
    ka_json_integer(j, "query", a.query);
    ka_json_integer(j, "first", a.first);
    ka_json_number(j, "before", a.before);
    ka_json_open(j, "weights", '[');
    for (int64_t i = 0; i < a.n; i++)
        ka_json_number(j, NULL, a.weight[i]);
    ka_json_close(j, ']');
    put_top(j, t, layer, first);
    ka_json_close(j, '}');
}

static void put_experts(struct ka_json *j, const kl_trace *t, int layer)
{
    kl_trace_experts e;
    if (!kl_trace_experts_of(&e, t, layer))
        return;
    ka_json_open(j, "experts", '{');
    ka_json_open(j, "count", '[');
    for (int i = 0; i < e.n_expert; i++)
        ka_json_integer(j, NULL, (int64_t)e.count[i]);
    ka_json_close(j, ']');
    ka_json_open(j, "weight", '[');
    for (int i = 0; i < e.n_expert; i++)
        ka_json_number(j, NULL, e.weight[i]);
    ka_json_close(j, ']');
    ka_json_close(j, '}');
}

/* -------------------------------------------------------------------------------------------------------- whole -- */

static void put_memory(struct ka_json *j, const kl_trace *t, const kl_config *c, const kl_engine *engine)
{
    kl_memory_use use = kl_config_memory_use(c, kl_engine_cache_type(engine), kl_trace_end(t));
    kl_memory_use one = kl_config_memory_use(c, kl_engine_cache_type(engine), 1);
    ka_json_open(j, "memory", '{');
    ka_json_integer(j, "recurrent_bytes", use.recurrent_bytes);
    ka_json_integer(j, "latent_bytes", use.latent_bytes);
    ka_json_integer(j, "full_bytes", use.full_bytes);
    ka_json_integer(j, "page_bytes", one.latent_bytes);
    ka_json_integer(j, "full_token_bytes", one.full_bytes);
    ka_json_close(j, '}');
}

void ka_trace_json(struct ka_json *j, const kl_trace *t, const struct ka_loaded *l, struct ka_trace_view view)
{
    const kl_config *c = kl_model_config(l->model);
    kl_trace_decay d;
    kl_trace_decay_of(&d, t, 0); /* its count of tokens is that of all layers */
    int64_t first = view.first > kl_trace_first(t) ? view.first : kl_trace_first(t);
    ka_json_integer(j, "version", 1);
    ka_json_integer(j, "tokens_seen", d.n_token);
    put_tokens(j, t, l, view, first);
    put_memory(j, t, c, l->engine);
    ka_json_open(j, "quantiles", '[');
    for (int i = 0; i < N_QUANTILE; i++)
        ka_json_number(j, NULL, quantile[i]);
    ka_json_close(j, ']');
    ka_json_open(j, "layers", '[');
    for (int i = 0; i < c->n_layer; i++) {
        ka_json_open(j, NULL, '{');
        ka_json_text(j, "mixer", kl_mixer_name((kl_mixer)c->mixer[i]));
        put_decay(j, t, i, view.whole);
        put_beta(j, t, c, i, first);
        put_attention(j, t, i, first);
        put_experts(j, t, i);
        ka_json_close(j, '}');
    }
    ka_json_close(j, ']');
}

/* A file that appears when it is complete, as the C library's streams write it. */
struct sink {
    struct kl__out *file;
    uint64_t bytes;
    kl_status status;
    kl_error *err;
};

static ssize_t put_bytes(void *cookie, const char *data, size_t bytes)
{
    struct sink *s = cookie;
    if (s->status == KL_OK)
        s->status = kl__out_write(s->file, s->bytes, data, bytes, s->err);
    s->bytes += bytes;
    return s->status == KL_OK ? (ssize_t)bytes : 0;
}

kl_status ka_trace_save(const char *path, const kl_trace *t, const struct ka_loaded *l, kl_error *err)
{
    struct sink s = {.err = err};
    KL_TRY(kl__out_open(&s.file, path, NULL, err));
    FILE *out = fopencookie(&s, "w", (cookie_io_functions_t){.write = put_bytes});
    if (out) {
        struct ka_json j = {.out = out, .compact = true};
        ka_json_open(&j, NULL, '{');
        ka_trace_json(&j, t, l, (struct ka_trace_view){.whole = true});
        ka_json_close(&j, '}');
        fputc('\n', out);
        fclose(out);
    } else
        s.status = kl__fail(err, KL_ERR_MEMORY, "out of memory");
    if (s.status == KL_OK)
        return kl__out_commit(s.file, s.bytes, err);
    kl__out_abandon(s.file);
    return s.status;
}
