#include "generation.h"

#include "../cli/machine.h"
#include "base/str.h"
#include "log.h"
#include "routes.h"
#include "traces.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ------------------------------------------------------------------------------------------------------- opening -- */

static void close_choice(struct ks_choice *c)
{
    for (int i = 0; i < c->n_call; i++) {
        ks_free(&c->call[i].id);
        ks_free(&c->call[i].arguments);
    }
    free(c->call);
    free(c->embedding);
    ks_free(&c->content);
    ks_free(&c->ids);
    kl_stop_close(c->stop);
    kl_guide_close(c->guide);
    json_decref(c->logprobs);
    json_decref(c->untold);
    json_decref(c->prompt_logprobs);
}

static void close_generation(void *generation)
{
    struct ks_generation *g = generation;
    for (int i = 0; g->choice && i < g->n_prompt * g->n; i++)
        close_choice(&g->choice[i]);
    for (int i = 0; i < g->n_prompt; i++)
        free(g->prompt[i].token);
    free(g->prompt);
    free(g->choice);
    free(g->bias);
    free(g->own);
    kl_trace_close(g->trace);
    ks_leave_session(g);
    kl_grammar_close(g->grammar);
    json_decref(g->body);
    free(g);
}

struct ks_generation *ks_generation_open(struct ks_exchange *x, const struct ks_dialect *dialect, const char *id)
{
    struct ks_problem p;
    ks_log_prompt(x, (kl_text){x->body.data, x->body.n});
    json_t *body = ks_parse(&p, x->body.data, x->body.n);
    struct ks_generation *g = body ? calloc(1, sizeof *g) : NULL;
    if (body && !g)
        ks_refuse(&p, 503, NULL, NULL, "out of memory");
    if (!g) {
        json_decref(body);
        ks_answer_problem(x, &p);
        return NULL;
    }
    g->x = x;
    g->dialect = dialect;
    g->id = ks_new_id(id);
    g->created = (int64_t)time(NULL);
    g->body = body;
    g->max_new = -1;
    g->n = 1;
    x->generation = g;
    x->close_generation = close_generation;
    return g;
}

/* ------------------------------------------------------------------------------------------------------ settings -- */

static bool read_bias(struct ks_generation *g, const struct ks_fields *f)
{
    json_t *bias = ks_field(f, "logit_bias"), *value;
    const char *key;
    int32_t n_vocab = (int32_t)kl_model_config(g->x->server->l->model)->n_vocab;
    if (!bias)
        return true;
    if (!json_is_object(bias) || json_object_size(bias) > 1024)
        return ks_refuse(f->p, 400, "logit_bias", NULL,
                         "logit_bias is %s with %zu entries, expected an object with at "
                         "most 1024",
                         ks_kind(bias), json_object_size(bias));
    g->bias = calloc(json_object_size(bias) + 1, sizeof *g->bias);
    if (!g->bias)
        return ks_refuse(f->p, 503, NULL, NULL, "out of memory");
    json_object_foreach(bias, key, value)
    {
        char *end;
        long id = *key >= '0' && *key <= '9' ? strtol(key, &end, 10) : -1;
        double x = json_number_value(value);
        if (id < 0 || *end || id >= n_vocab)
            return ks_refuse(f->p, 400, "logit_bias", NULL,
                             "logit_bias has the key \"%.40s\", expected a token, 0 to %d",
                             kl__shown(kl__str(key)).text, (int)n_vocab - 1);
        if (!json_is_number(value) || !(x >= -100 && x <= 100))
            return ks_refuse(f->p, 400, "logit_bias", NULL, "logit_bias[\"%.20s\"] is %g, expected -100 to 100", key,
                             x);
        g->bias[g->sampling.n_bias++] = (kl_logit_bias){(int32_t)id, x <= -100 ? -INFINITY : x};
    }
    g->sampling.bias = g->bias;
    return true;
}

static bool add_stop(struct ks_generation *g, const struct ks_fields *f, const json_t *value)
{
    if (!json_is_string(value) || !json_string_length(value) || json_string_length(value) > KL_STOP_BYTES)
        return ks_refuse(f->p, 400, "stop", NULL, "stop has %s, expected strings of 1 to %d bytes", ks_kind(value),
                         KL_STOP_BYTES);
    g->stop[g->n_stop++] = (kl_text){json_string_value(value), json_string_length(value)};
    return true;
}

static bool read_stop(struct ks_generation *g, const struct ks_fields *f, const char *name)
{
    json_t *stop = ks_field(f, name);
    if (!stop)
        return true;
    if (!json_is_array(stop))
        return add_stop(g, f, stop);
    if (json_array_size(stop) > 16)
        return ks_refuse(f->p, 400, "stop", NULL, "stop has %zu strings, expected at most 16", json_array_size(stop));
    for (size_t i = 0; i < json_array_size(stop); i++)
        if (!add_stop(g, f, json_array_get(stop, i)))
            return false;
    return true;
}

bool ks_read_sampling(struct ks_generation *g, const struct ks_fields *f)
{
    kl_sampling *s = &g->sampling;
    int64_t seed = 0, n = g->n, top_k = 0, last = 0;
    s->temperature = 1;
    g->seeded = ks_field(f, "seed") != NULL;
    if (!ks_number(f, "temperature", &s->temperature, 0, 2) || !ks_number(f, "top_p", &s->top_p, 0, 1) ||
        !ks_number(f, "min_p", &s->min_p, 0, 1) || !ks_number(f, "typical_p", &s->typical_p, 0, 1) ||
        !ks_integer(f, "top_k", &top_k, -1, INT32_MAX) ||
        !ks_number(f, "repetition_penalty", &s->repetition_penalty, 0.01, 100) ||
        !ks_number(f, "presence_penalty", &s->presence_penalty, -2, 2) ||
        !ks_number(f, "frequency_penalty", &s->frequency_penalty, -2, 2) ||
        !ks_integer(f, "penalty_tokens", &last, 0, INT32_MAX) || !ks_integer(f, "seed", &seed, INT64_MIN, INT64_MAX) ||
        !ks_integer(f, "n", &n, 1, 16) || !ks_flag(f, "stream", &g->stream) || !read_bias(g, f) ||
        !read_stop(g, f, "stop") || !read_stop(g, f, "stop_sequences") || !ks_read_trace(g, f))
        return false;
    s->top_k = top_k < 0 ? 0 : (int32_t)top_k;
    s->penalty_tokens = last;
    g->seed = g->seeded ? (uint64_t)seed : ks_new_seed();
    g->n = (int)n;
    json_t *options = ks_field(f, "stream_options");
    if (options && !json_is_object(options))
        return ks_refuse(f->p, 400, "stream_options", NULL, "stream_options is %s, expected an object",
                         ks_kind(options));
    struct ks_fields inner = {options, "stream_options.", f->p};
    return !options || ks_flag(&inner, "include_usage", &g->usage_wanted);
}

bool ks_encode(const struct ks_server *s, int32_t **token, int64_t *n, kl_text text, kl_markup markup,
               struct ks_problem *p)
{
    kl_error err = {0};
    size_t n_id, room = text.bytes + 16; /* well-formed text has at most one token for each byte */
    *token = malloc(room * sizeof **token);
    if (!*token)
        return ks_refuse(p, 503, NULL, NULL, "out of memory");
    kl_status status = kl_tokenize(*token, room, &n_id, s->l->tokenizer, text, markup, &err);
    if (status != KL_OK) {
        free(*token);
        *token = NULL;
        return ks_refuse_error(p, "prompt", status, &err);
    }
    *n = (int64_t)n_id;
    return true;
}

bool ks_add_prompt(struct ks_generation *g, int32_t *token, int64_t n, struct ks_problem *p)
{
    if (g->session && g->n_prompt) {
        free(token);
        return ks_refuse(p, 400, "session", NULL, "there are several prompts, expected one with a session");
    }
    struct ks_prompt *more = realloc(g->prompt, (size_t)(g->n_prompt + 1) * sizeof *more);
    if (!more) {
        free(token);
        return ks_refuse(p, 503, NULL, NULL, "out of memory");
    }
    g->prompt = more;
    if (g->session && g->session->n) {
        const struct ks_session *s = g->session;
        int32_t *both = realloc(token, (size_t)(s->n + n + 1) * sizeof *both);
        if (!both) {
            free(token);
            return ks_refuse(p, 503, NULL, NULL, "out of memory");
        }
        memmove(both + s->n, both, (size_t)n * sizeof *both);
        memcpy(both, s->token, (size_t)s->n * sizeof *both);
        token = both;
        n += s->n;
    }
    g->prompt[g->n_prompt++] = (struct ks_prompt){.token = token, .n = n};
    int64_t most = g->x->server->context - (g->max_new != 0);
    if (n > most)
        return ks_refuse(p, 400, "prompt", "context_length_exceeded",
                         "the prompt has %lld tokens, expected at most %lld: the context has %lld", (long long)n,
                         (long long)most, (long long)g->x->server->context);
    return n > 0 || ks_refuse(p, 400, "prompt", NULL, "the prompt has no tokens, expected at least one");
}

/* ---------------------------------------------------------------------------------------------------------- JSON -- */

json_t *ks_text_json(const char *data, size_t n)
{
    json_t *text = json_stringn(n ? data : "", n);
    return text ? text : json_string("\xEF\xBF\xBD");
}

json_t *ks_token_text(const struct ks_server *s, int32_t id)
{
    char text[1024];
    size_t n = kl_detokenize(text, sizeof text, s->l->tokenizer, &id, 1, true);
    return ks_text_json(text, n < sizeof text ? n : 0);
}

static json_t *bytes_json(const struct ks_server *s, int32_t id)
{
    kl_text text = kl_tokenizer_text(s->l->tokenizer, id);
    json_t *bytes = json_array();
    for (size_t i = 0; i < text.bytes; i++)
        json_array_append_new(bytes, json_integer((unsigned char)text.data[i]));
    return bytes;
}

static json_t *logprob_json(const struct ks_server *s, int32_t id, double logprob)
{
    return json_pack("{s:o,s:f,s:o,s:i}", "token", ks_token_text(s, id), "logprob", logprob < -9999 ? -9999 : logprob,
                     "bytes", bytes_json(s, id), "id", (int)id);
}

json_t *ks_token_json(const struct ks_server *s, const kl_sampled *sampled, bool tops)
{
    json_t *entry = logprob_json(s, sampled->id, sampled->logprob), *top = json_array();
    for (int i = 0; tops && i < sampled->n_top; i++)
        json_array_append_new(top, logprob_json(s, sampled->top[i].id, sampled->top[i].logprob));
    json_object_set_new(entry, "top_logprobs", top);
    return entry;
}

json_t *ks_usage_json(const struct ks_generation *g)
{
    int64_t n_prompt = 0, n_new = 0, cached = 0, loaded = 0, matched = 0, read = 0, again = 0, preempted = 0;
    int64_t drafted = 0, accepted = 0;
    double waited = 0, reading = 0, writing = 0;
    for (int i = 0; i < g->n_prompt; i++)
        n_prompt += g->prompt[i].n;
    for (int i = 0; i < g->n_prompt * g->n; i++) {
        const kl_job_report *r = &g->choice[i].report;
        n_new += r->n_new;
        read += r->n_read;
        again += r->n_again;
        drafted += r->n_drafted;
        accepted += r->n_accepted;
        preempted += r->n_preempted;
        cached += i % g->n == 0 ? r->n_reused : 0;
        loaded += i % g->n == 0 ? r->n_loaded : 0;
        matched += i % g->n == 0 ? r->n_matched : 0;
        waited = r->waited_seconds > waited ? r->waited_seconds : waited;
        reading = r->read_seconds > reading ? r->read_seconds : reading;
        writing = r->write_seconds > writing ? r->write_seconds : writing;
    }
    json_t *own = json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:s,s:f,s:f,s:f}", "loaded_tokens", (json_int_t)loaded,
                            "matched_tokens", (json_int_t)matched, "reused_tokens", (json_int_t)cached, "read_tokens",
                            (json_int_t)read, "read_again_tokens", (json_int_t)again, "preempted",
                            (json_int_t)preempted, "drafted_tokens", (json_int_t)drafted, "accepted_tokens",
                            (json_int_t)accepted, "reuse", kl_reuse_name(g->choice[0].report.reuse), "waited_ms",
                            1e3 * waited, "read_ms", 1e3 * reading, "write_ms", 1e3 * writing);
    return json_pack("{s:I,s:I,s:I,s:{s:I},s:o}", "prompt_tokens", (json_int_t)n_prompt, "completion_tokens",
                     (json_int_t)n_new, "total_tokens", (json_int_t)(n_prompt + n_new), "prompt_tokens_details",
                     "cached_tokens", (json_int_t)cached, "klinear", own);
}
