/* POST /v1/completions */
#include "formats.h"
#include "routes.h"

#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------------------------------------------- answers -- */

/* The prompt's own text, for echo. */
static json_t *text_of(const struct ks_choice *c, kl_text new)
{
    const kl_tokenizer *t = c->g->x->server->l->tokenizer;
    if (!c->g->echo)
        return ks_text_json(new.data, new.bytes);
    size_t n = kl_detokenize(NULL, 0, t, c->prompt->token, (size_t)c->prompt->n, true);
    char *all = malloc(n + new.bytes + 1);
    if (!all)
        return json_null();
    kl_detokenize(all, n, t, c->prompt->token, (size_t)c->prompt->n, true);
    if (new.bytes)
        memcpy(all + n, new.data, new.bytes);
    json_t *text = ks_text_json(all, n + new.bytes);
    free(all);
    return text;
}

static int64_t characters(const char *text, size_t n)
{
    int64_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (text[i] & 0xC0) != 0x80;
    return sum;
}

/* Goes past a token, as the text does: a prompt that is echoed shows the names of markers, an answer does not, and has
 * a character when its last byte is there. */
static void pass_token(struct ks_choice *c, int32_t id, bool of_prompt)
{
    const kl_tokenizer *t = c->g->x->server->l->tokenizer;
    kl_text whole = kl_tokenizer_text(t, id);
    char *text = of_prompt ? NULL : malloc(kl_decoder_room(t));
    if (of_prompt)
        c->offset += characters(whole.data, whole.bytes);
    else if (text)
        c->offset += characters(text, kl_decoder_put(&c->passed, text, t, id));
    free(text);
}

/* Adds an entry to the four lists of this API. */
static void add_entry(struct ks_choice *c, json_t *lists, json_t *entry, bool of_prompt, bool tops)
{
    json_t *token = json_object_get(entry, "token"), *tops_of = json_object(), *top;
    size_t i;
    json_array_append(json_object_get(lists, "tokens"), token);
    json_array_append(json_object_get(lists, "token_logprobs"), json_object_get(entry, "logprob"));
    json_array_append_new(json_object_get(lists, "text_offset"), json_integer(c->offset));
    json_array_foreach(json_object_get(entry, "top_logprobs"), i, top)
        json_object_set(tops_of, json_string_value(json_object_get(top, "token")), json_object_get(top, "logprob"));
    json_array_append_new(json_object_get(lists, "top_logprobs"), tops ? tops_of : json_null());
    if (!tops)
        json_decref(tops_of);
    pass_token(c, (int32_t)json_integer_value(json_object_get(entry, "id")), of_prompt);
}

static json_t *lists_of(struct ks_choice *c, json_t *entries, bool with_prompt)
{
    json_t *lists = json_pack("{s:[],s:[],s:[],s:[]}", "tokens", "token_logprobs", "top_logprobs", "text_offset");
    bool tops = c->g->sampling.n_top > 0;
    json_t *entry;
    size_t i;
    if (with_prompt && c->g->prompt_logprobs) {
        int32_t id = c->prompt->token[0];
        json_t *first =
            json_pack("{s:o,s:n,s:i}", "token", ks_token_text(c->g->x->server, id), "logprob", "id", (int)id);
        add_entry(c, lists, first, true, false);
        json_decref(first);
        json_array_foreach(c->prompt_logprobs, i, entry) add_entry(c, lists, entry, true, tops);
    }
    json_array_foreach(entries, i, entry) add_entry(c, lists, entry, false, tops);
    return lists;
}

static json_t *object(struct ks_generation *g, json_t *choices)
{
    return json_pack("{s:s,s:s,s:I,s:s,s:o}", "id", g->id.text, "object", "text_completion", "created",
                     (json_int_t)g->created, "model", g->x->server->name, "choices", choices);
}

static void tell(struct ks_choice *c, json_t *text, json_t *logprobs, const char *finish)
{
    json_t *choice = json_pack("{s:i,s:o,s:o,s:s?}", "index", c->index, "text", text, "logprobs",
                               logprobs ? lists_of(c, logprobs, false) : json_null(), "finish_reason", finish);
    ks_stream_json(c->g->x, NULL, object(c->g, json_pack("[o]", choice)));
}

static void begin(struct ks_choice *c)
{
    if (!c->g->echo)
        return;
    for (int64_t i = 0; i < c->prompt->n; i++)
        pass_token(c, c->prompt->token[i], true);
    tell(c, text_of(c, (kl_text){0}), NULL, NULL);
}

static void text(struct ks_choice *c, kl_text new, json_t *logprobs)
{
    tell(c, ks_text_json(new.data, new.bytes), logprobs, NULL);
}

static void end(struct ks_choice *c)
{
    tell(c, json_string(""), NULL, c->finish);
}

static void finish(struct ks_generation *g)
{
    if (g->usage_wanted) {
        json_t *last = object(g, json_array());
        json_object_set_new(last, "usage", ks_usage_json(g));
        ks_stream_json(g->x, NULL, last);
    }
    ks_stream_text(g->x, "data: [DONE]\n\n");
}

static json_t *whole(struct ks_generation *g)
{
    json_t *choices = json_array();
    for (int i = 0; i < g->n_prompt * g->n; i++) {
        struct ks_choice *c = &g->choice[i];
        json_t *lists = c->logprobs ? lists_of(c, c->logprobs, true) : json_null();
        json_array_append_new(choices, json_pack("{s:i,s:o,s:o,s:s}", "index", i, "text",
                                                 text_of(c, (kl_text){c->content.data, c->content.n}), "logprobs",
                                                 lists, "finish_reason", c->finish));
    }
    json_t *all = object(g, choices);
    json_object_set_new(all, "usage", ks_usage_json(g));
    return all;
}

static const struct ks_dialect dialect = {.begin = begin, .text = text, .end = end, .finish = finish, .whole = whole};

/* ------------------------------------------------------------------------------------------------------- request -- */

static const char *const known[] = {
    KS_SAMPLING_FIELDS, KS_FORMAT_FIELDS, "prompt", "model", "max_tokens",   "logprobs", "echo",
    "best_of",          "suffix", "user",  "cache_prompt", "session", NULL,
};

static bool read_settings(struct ks_generation *g, const struct ks_fields *f)
{
    int64_t n_top = -1, best_of = 0;
    kl_text suffix = {0};
    g->raw = true;
    g->max_new = 16; /* as the original has it */
    if (!ks_only(f, known) || !ks_read_sampling(g, f) || !ks_read_formats(g, f) ||
        !ks_integer(f, "max_tokens", &g->max_new, 0, INT64_MAX) ||
        !ks_integer(f, "logprobs", &n_top, 0, 20) || !ks_flag(f, "echo", &g->echo) ||
        !ks_integer(f, "best_of", &best_of, 1, 16) || !ks_string(f, "suffix", &suffix))
        return false;
    if (suffix.bytes)
        return ks_refuse(f->p, 400, "suffix", NULL, "suffix is not empty: this model cannot fill in");
    if (best_of && best_of != g->n)
        return ks_refuse(f->p, 400, "best_of", NULL, "best_of is %d, expected %d, as n is", (int)best_of, g->n);
    g->logprobs = g->sampling.logprobs = n_top >= 0;
    g->sampling.n_top = n_top > 0 ? (int32_t)n_top : 0;
    g->prompt_logprobs = g->logprobs && g->echo && !g->stream;
    return true;
}

void ks_ep_completions(struct ks_exchange *x)
{
    struct ks_problem p;
    struct ks_generation *g = ks_generation_open(x, &dialect, "cmpl-");
    if (!g)
        return;
    struct ks_fields f = {g->body, "", &p};
    if (read_settings(g, &f) && ks_read_session(g, &f) && ks_read_prompts(g, &f, "prompt")) {
        ks_generate(g);
        return;
    }
    ks_leave_session(g);
    ks_answer_problem(x, &p);
}
