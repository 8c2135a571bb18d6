/* POST /v1/chat/completions */
#include "formats.h"
#include "routes.h"
#include "turns.h"

#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------------------------------------------ messages -- */

/* Content is a text, or an array of parts, all of which have to be texts. */
static bool read_content(kl_chat_message *m, struct ks_turns *t, const struct ks_fields *f)
{
    json_t *content = ks_field(f, "content");
    if (!content || json_is_string(content))
        return ks_string(f, "content", &m->content);
    if (!json_is_array(content))
        return ks_refuse(f->p, 400, "messages", NULL, "%scontent is %s, expected a string or an array", f->path,
                         ks_kind(content));
    size_t n = json_array_size(content);
    kl_text *part = ks_turns_keep(t, n * sizeof *part);
    if (!part)
        return ks_refuse(f->p, 503, NULL, NULL, "out of memory");
    for (size_t i = 0; i < n; i++) {
        struct ks_fields inner = {json_array_get(content, i), f->path, f->p};
        kl_text type = kl_text_of("text");
        if (!json_is_object(inner.object) || !ks_string(&inner, "type", &type))
            return ks_refuse(f->p, 400, "messages", NULL, "%scontent[%zu] is %s, expected an object", f->path, i,
                             ks_kind(inner.object));
        if ((strcmp(type.data, "text") != 0 && strcmp(type.data, "refusal") != 0))
            return ks_refuse(f->p, 400, "messages", "unsupported_content",
                             "%scontent[%zu] is of type \"%.40s\", expected text: this model reads nothing else",
                             f->path, i, type.data);
        if (!ks_string(&inner, type.data, &part[i]))
            return false;
    }
    m->part = part;
    m->n_part = n;
    return true;
}

/* The calls that an assistant made; *n_call counts those of the whole conversation. */
static bool read_calls(kl_chat_message *m, struct ks_turns *t, const struct ks_fields *f, int *n_call)
{
    json_t *calls = ks_field(f, "tool_calls");
    if (!calls)
        return true;
    if (!json_is_array(calls))
        return ks_refuse(f->p, 400, "messages", NULL, "%stool_calls is %s, expected an array", f->path, ks_kind(calls));
    size_t n = json_array_size(calls);
    kl_chat_call *call = ks_turns_keep(t, n * sizeof *call);
    if (!call)
        return ks_refuse(f->p, 503, NULL, NULL, "out of memory");
    for (size_t i = 0; i < n; i++) {
        struct ks_fields outer = {json_array_get(calls, i), f->path, f->p};
        struct ks_fields inner = {json_object_get(outer.object, "function"), f->path, f->p};
        kl_text id = {0}, name = {0};
        if (!json_is_object(inner.object))
            return ks_refuse(f->p, 400, "messages", NULL, "%stool_calls[%zu] has no object \"function\"", f->path, i);
        if (!ks_string(&outer, "id", &id) || !ks_string(&inner, "name", &name) ||
            !ks_string(&inner, "arguments", &call[i].arguments))
            return false;
        call[i].id = ks_call_id(t, id, name, (*n_call)++);
        if (id.bytes)
            ks_turns_name(t, id.data, call[i].id);
    }
    m->call = call;
    m->n_call = n;
    return true;
}

/* The answer of a tool names the call as the assistant's turn, which is rendered above it, does. */
static bool read_call_id(kl_chat_message *m, const struct ks_turns *t, const struct ks_fields *f)
{
    kl_text id = {0};
    if (!ks_string(f, "tool_call_id", &id))
        return false;
    m->call_id = id.bytes ? ks_turns_named(t, id.data) : id;
    return true;
}

static bool read_message(struct ks_turns *t, json_t *messages, size_t i, int *n_call, struct ks_problem *p)
{
    static const char *const roles[] = {"system", "developer", "user", "assistant", "tool", NULL};
    char path[32];
    snprintf(path, sizeof path, "messages[%zu].", i);
    struct ks_fields f = {json_array_get(messages, i), path, p};
    kl_text role = {0};
    int k = 0;
    if (!json_is_object(f.object))
        return ks_refuse(p, 400, "messages", NULL, "messages[%zu] is %s, expected an object", i, ks_kind(f.object));
    if (!ks_string(&f, "role", &role))
        return false;
    while (roles[k] && (!role.data || strcmp(roles[k], role.data) != 0))
        k++;
    if (!roles[k])
        return ks_refuse(p, 400, "messages", NULL,
                         "messages[%zu].role is \"%.40s\", expected system, developer, user, assistant or tool", i,
                         role.data ? role.data : "");
    kl_chat_message *m = ks_turns_add(t);
    m->role = k == 1 ? kl_text_of("system") : role;
    return ks_string(&f, "name", &m->name) && read_content(m, t, &f) && read_calls(m, t, &f, n_call) &&
           read_call_id(m, t, &f);
}

/* --------------------------------------------------------------------------------------------------------- tools -- */

/* auto, none, required, or {"type": "function", "function": {"name": ...}}. */
static bool read_choice(const struct ks_fields *f, bool *none, bool *required, kl_text *name)
{
    json_t *choice = ks_field(f, "tool_choice");
    const char *word = json_string_value(choice);
    if (!choice || (word && strcmp(word, "auto") == 0))
        return true;
    *none = word && strcmp(word, "none") == 0;
    *required = word && strcmp(word, "required") == 0;
    if (*none || *required)
        return true;
    const char *called = json_string_value(json_object_get(json_object_get(choice, "function"), "name"));
    if (!called || !*called)
        return ks_refuse(f->p, 400, "tool_choice", NULL,
                         "tool_choice is %s, expected auto, none, required, or an object with function.name",
                         word ? word : ks_kind(choice));
    *required = true;
    *name = kl_text_of(called);
    return true;
}

static bool read_tools(struct ks_generation *g, const struct ks_fields *f, struct ks_turns *t, int32_t **forced,
                       int *n_forced)
{
    json_t *tools = ks_field(f, "tools");
    bool none = false, required = false, parallel = true;
    kl_text name = {0};
    if (!read_choice(f, &none, &required, &name) || !ks_flag(f, "parallel_tool_calls", &parallel))
        return false;
    if (tools && !json_is_array(tools))
        return ks_refuse(f->p, 400, "tools", NULL, "tools is %s, expected an array", ks_kind(tools));
    if (required && !json_array_size(tools))
        return ks_refuse(f->p, 400, "tool_choice", NULL, "tool_choice asks for a call, but there are no tools");
    g->one_call = !parallel;
    if (none || !json_array_size(tools))
        return true;
    if (g->session && g->session->n)
        return ks_refuse(f->p, 400, "tools", NULL,
                         "there are tools, and the session \"%s\" has begun: expected them in its first request",
                         g->session->name);
    if (!ks_turns_tools(t, tools, f->p))
        return false;
    if (!required)
        return true;
    return ks_force_call(g->x->server, forced, n_forced, name, f->p) && ks_format_call(g, tools, name, f->p);
}

/* ------------------------------------------------------------------------------------------------------- answers -- */

static json_t *chunk(struct ks_generation *g, json_t *choices)
{
    return json_pack("{s:s,s:s,s:I,s:s,s:o}", "id", g->id.text, "object", "chat.completion.chunk", "created",
                     (json_int_t)g->created, "model", g->x->server->name, "choices", choices);
}

/* One event, with what is not told of the tokens so far; takes `delta` and `finish`, borrows `logprobs`. */
static void tell(struct ks_choice *c, json_t *delta, json_t *logprobs, json_t *finish)
{
    if (logprobs)
        json_array_extend(c->untold, logprobs);
    bool any = json_array_size(c->untold) > 0;
    json_t *choice = json_pack("{s:i,s:o,s:o,s:o}", "index", c->index, "delta", delta, "logprobs",
                               any ? json_pack("{s:o,s:n}", "content", json_copy(c->untold), "refusal") : json_null(),
                               "finish_reason", finish);
    json_array_clear(c->untold);
    ks_stream_json(c->g->x, NULL, chunk(c->g, json_pack("[o]", choice)));
}

static void begin(struct ks_choice *c)
{
    tell(c, json_pack("{s:s,s:s}", "role", "assistant", "content", ""), NULL, json_null());
}

static void text(struct ks_choice *c, kl_text new, json_t *logprobs)
{
    tell(c, json_pack("{s:o}", "content", ks_text_json(new.data, new.bytes)), logprobs, json_null());
}

static json_t *call_json(const struct ks_call *call, const char *arguments, size_t n)
{
    kl_text name = kl_chat_call_name((kl_text){call->id.data, call->id.n});
    return json_pack("{s:o,s:s,s:{s:o,s:o}}", "id", ks_text_json(call->id.data, call->id.n), "type", "function",
                     "function", "name", ks_text_json(name.data, name.bytes), "arguments", ks_text_json(arguments, n));
}

static void call(struct ks_choice *c, int i)
{
    json_t *one = call_json(&c->call[i], "", 0);
    json_object_set_new(one, "index", json_integer(i));
    tell(c, json_pack("{s:[o]}", "tool_calls", one), NULL, json_null());
}

static void arguments(struct ks_choice *c, int i, kl_text new)
{
    tell(c,
         json_pack("{s:[{s:i,s:{s:o}}]}", "tool_calls", "index", i, "function", "arguments",
                   ks_text_json(new.data, new.bytes)),
         NULL, json_null());
}

static void end(struct ks_choice *c)
{
    tell(c, json_object(), NULL, json_string(c->finish));
}

static void finish(struct ks_generation *g)
{
    if (g->usage_wanted) {
        json_t *last = chunk(g, json_array());
        json_object_set_new(last, "usage", ks_usage_json(g));
        ks_stream_json(g->x, NULL, last);
    }
    ks_stream_text(g->x, "data: [DONE]\n\n");
}

static json_t *message_json(const struct ks_choice *c)
{
    json_t *calls = json_array();
    for (int i = 0; i < c->n_call; i++)
        if (c->call[i].whole)
            json_array_append_new(calls, call_json(&c->call[i], c->call[i].arguments.data, c->call[i].arguments.n));
    bool any = json_array_size(calls) > 0;
    json_t *message =
        json_pack("{s:s,s:o,s:n}", "role", "assistant", "content",
                  any && !c->content.n ? json_null() : ks_text_json(c->content.data, c->content.n), "refusal");
    if (any)
        json_object_set(message, "tool_calls", calls);
    json_decref(calls);
    return message;
}

static json_t *whole(struct ks_generation *g)
{
    json_t *choices = json_array();
    for (int i = 0; i < g->n; i++) {
        struct ks_choice *c = &g->choice[i];
        json_t *logprobs = c->logprobs ? json_pack("{s:O,s:n}", "content", c->logprobs, "refusal") : json_null();
        json_array_append_new(choices, json_pack("{s:i,s:o,s:o,s:s}", "index", i, "message", message_json(c),
                                                 "logprobs", logprobs, "finish_reason", c->finish));
    }
    return json_pack("{s:s,s:s,s:I,s:s,s:o,s:o}", "id", g->id.text, "object", "chat.completion", "created",
                     (json_int_t)g->created, "model", g->x->server->name, "choices", choices, "usage",
                     ks_usage_json(g));
}

static const struct ks_dialect dialect = {
    .begin = begin,
    .text = text,
    .call = call,
    .arguments = arguments,
    .end = end,
    .finish = finish,
    .whole = whole,
};

/* ------------------------------------------------------------------------------------------------------- request -- */

/* Those in the last lines change nothing here. */
static const char *const known[] = {
    KS_SAMPLING_FIELDS,
    "messages",
    "model",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "max_tokens",
    "max_completion_tokens",
    "logprobs",
    "top_logprobs",
    KS_FORMAT_FIELDS,
    "modalities",
    "user",
    "store",
    "metadata",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "reasoning_effort",
    "verbosity",
    "prediction",
    "session",
    "cache_prompt",
    NULL,
};

static bool read_settings(struct ks_generation *g, const struct ks_fields *f)
{
    int64_t n_top = 0;
    g->max_new = -1;
    if (!ks_only(f, known) || !ks_read_sampling(g, f) || !ks_read_formats(g, f) ||
        !ks_integer(f, "max_tokens", &g->max_new, 1, INT64_MAX) ||
        !ks_integer(f, "max_completion_tokens", &g->max_new, 1, INT64_MAX) || !ks_flag(f, "logprobs", &g->logprobs) ||
        !ks_integer(f, "top_logprobs", &n_top, 0, 20))
        return false;
    if (n_top && !g->logprobs)
        return ks_refuse(f->p, 400, "top_logprobs", NULL, "top_logprobs is %d, expected logprobs to be true with it",
                         (int)n_top);
    g->sampling.logprobs = g->logprobs;
    g->sampling.n_top = (int32_t)n_top;
    return true;
}

bool ks_turns_read(struct ks_generation *g, struct ks_turns *t, const struct ks_fields *f)
{
    struct ks_problem *p = f->p;
    json_t *messages = ks_field(f, "messages");
    int32_t *forced = NULL;
    int n_forced = 0, n_call = 0;
    if (!json_is_array(messages) || !json_array_size(messages))
        return ks_refuse(p, 400, "messages", NULL, "messages is %s, expected an array of at least one message",
                         json_is_array(messages) ? "empty" : ks_kind(messages));
    bool fine = ks_turns_open(t, json_array_size(messages), p);
    for (size_t i = 0; fine && i < json_array_size(messages); i++)
        fine = read_message(t, messages, i, &n_call, p);
    fine = fine && read_tools(g, f, t, &forced, &n_forced) && ks_turns_prompt(g, t, forced, n_forced, p);
    free(forced);
    return fine;
}

void ks_ep_chat(struct ks_exchange *x)
{
    struct ks_problem p;
    struct ks_turns t = {0};
    struct ks_generation *g = ks_generation_open(x, &dialect, "chatcmpl-");
    if (!g)
        return;
    struct ks_fields f = {g->body, "", &p};
    bool fine = read_settings(g, &f) && ks_read_session(g, &f) && ks_turns_read(g, &t, &f);
    ks_turns_close(&t);
    if (fine) {
        ks_generate(g);
        return;
    }
    ks_leave_session(g);
    ks_answer_problem(x, &p);
}
