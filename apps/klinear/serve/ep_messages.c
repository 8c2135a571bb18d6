/* POST /v1/messages and /v1/messages/count_tokens: the API of Anthropic. */
#include "formats.h"
#include "routes.h"
#include "turns.h"

#include <stdlib.h>
#include <string.h>

/* What a stream has begun: the block that is open. */
struct own {
    int block; /* its index; the next one's when none is open */
    bool open, text; /* one is; it is a text */
};

/* ------------------------------------------------------------------------------------------------------ messages -- */

/* A text, or an array of blocks of type text; the parts live as long as the turns. */
static bool read_texts(kl_chat_message *m, struct ks_turns *t, json_t *content, const char *path, struct ks_problem *p)
{
    if (json_is_string(content)) {
        m->content = (kl_text){json_string_value(content), json_string_length(content)};
        return true;
    }
    size_t n = json_array_size(content);
    if (content && !json_is_array(content))
        return ks_refuse(p, 400, "messages", NULL, "%s is %s, expected a string or an array", path, ks_kind(content));
    kl_text *part = ks_turns_keep(t, n * sizeof *part);
    if (!part)
        return ks_refuse(p, 503, NULL, NULL, "out of memory");
    for (size_t i = 0; i < n; i++) {
        json_t *block = json_array_get(content, i), *text = json_object_get(block, "text");
        const char *type = json_string_value(json_object_get(block, "type"));
        if (!type || strcmp(type, "text") != 0 || !json_is_string(text))
            return ks_refuse(p, 400, "messages", NULL, "%s[%zu] is of type \"%.40s\", expected text", path, i,
                             type ? type : ks_kind(block));
        part[i] = (kl_text){json_string_value(text), json_string_length(text)};
    }
    m->part = part;
    m->n_part = n;
    return true;
}

/* A call that the assistant made. */
static bool read_use(kl_chat_call *call, struct ks_turns *t, json_t *block, int i, struct ks_problem *p)
{
    const char *id = json_string_value(json_object_get(block, "id"));
    const char *name = json_string_value(json_object_get(block, "name"));
    json_t *input = json_object_get(block, "input");
    char *text = json_is_object(input) ? json_dumps(input, JSON_REAL_PRECISION(15)) : NULL;
    char *kept = text ? ks_turns_keep(t, strlen(text) + 1) : NULL;
    if (kept)
        memcpy(kept, text, strlen(text));
    free(text);
    if (!name || !kept)
        return ks_refuse(p, 400, "messages", NULL, "a block of type tool_use has no name, or no object as its input");
    call->id = ks_call_id(t, kl_text_of(id ? id : ""), kl_text_of(name), i);
    if (id)
        ks_turns_name(t, id, call->id);
    call->arguments = kl_text_of(kept);
    return true;
}

/* The blocks of an assistant: texts, then calls. */
static bool read_assistant(struct ks_turns *t, json_t *content, const char *path, int *n_call, struct ks_problem *p)
{
    kl_chat_message *m = ks_turns_add(t);
    m->role = kl_text_of("assistant");
    json_t *texts = json_array(), *block;
    size_t i, n = json_array_size(content);
    kl_chat_call *call = ks_turns_keep(t, n * sizeof *call);
    bool fine = texts && call;
    m->call = call;
    json_array_foreach(content, i, block)
    {
        const char *type = json_string_value(json_object_get(block, "type"));
        if (fine && type && strcmp(type, "tool_use") == 0)
            fine = read_use(&call[m->n_call++], t, block, (*n_call)++, p);
        else if (!type || strncmp(type, "thinking", 8) != 0)
            json_array_append(texts, block);
    }
    if (fine)
        fine = read_texts(m, t, json_is_array(content) ? texts : content, path, p);
    json_decref(texts);
    return fine;
}

/* The blocks of a user: answers of tools are turns of their own, in front of what is said. */
static bool read_user(struct ks_turns *t, json_t *content, const char *path, struct ks_problem *p)
{
    json_t *texts = json_array(), *block;
    size_t i;
    bool fine = texts != NULL, answers = false;
    json_array_foreach(content, i, block)
    {
        const char *type = json_string_value(json_object_get(block, "type"));
        const char *id = json_string_value(json_object_get(block, "tool_use_id"));
        if (!type || strcmp(type, "tool_result") != 0) {
            json_array_append(texts, block);
        } else if (fine) {
            kl_chat_message *m = ks_turns_add(t);
            answers = true;
            m->role = kl_text_of("tool");
            m->call_id = ks_turns_named(t, id ? id : "");
            fine = read_texts(m, t, json_object_get(block, "content"), path, p);
        }
    }
    if (fine && (!answers || json_array_size(texts))) {
        kl_chat_message *m = ks_turns_add(t);
        m->role = kl_text_of("user");
        fine = read_texts(m, t, json_is_array(content) ? texts : content, path, p);
    }
    json_decref(texts);
    return fine;
}

static bool read_messages(struct ks_turns *t, const struct ks_fields *f)
{
    json_t *messages = ks_field(f, "messages"), *system = ks_field(f, "system"), *message;
    size_t i, n_turn = 1;
    int n_call = 0;
    if (!json_array_size(messages))
        return ks_refuse(f->p, 400, "messages", NULL, "messages is %s, expected an array of at least one message",
                         json_is_array(messages) ? "empty" : ks_kind(messages));
    json_array_foreach(messages, i, message) n_turn += 1 + json_array_size(json_object_get(message, "content"));
    if (!ks_turns_open(t, n_turn, f->p))
        return false;
    if (system) {
        kl_chat_message *m = ks_turns_add(t);
        m->role = kl_text_of("system");
        if (!read_texts(m, t, system, "system", f->p))
            return false;
    }
    json_array_foreach(messages, i, message)
    {
        const char *role = json_string_value(json_object_get(message, "role"));
        json_t *content = json_object_get(message, "content");
        char path[48];
        snprintf(path, sizeof path, "messages[%zu].content", i);
        bool user = role && strcmp(role, "user") == 0;
        if (!user && (!role || strcmp(role, "assistant") != 0))
            return ks_refuse(f->p, 400, "messages", NULL, "messages[%zu].role is \"%.40s\", expected user or assistant",
                             i, role ? role : ks_kind(message));
        if (user ? !read_user(t, content, path, f->p) : !read_assistant(t, content, path, &n_call, f->p))
            return false;
    }
    return true;
}

/* --------------------------------------------------------------------------------------------------------- tools -- */

static json_t *tools_of(json_t *tools)
{
    json_t *all = json_array(), *tool;
    size_t i;
    json_array_foreach(tools, i, tool)
    {
        json_t *name = json_object_get(tool, "name"), *schema = json_object_get(tool, "input_schema");
        json_t *description = json_object_get(tool, "description");
        if (!json_is_string(name) || !json_is_object(schema)) {
            json_decref(all);
            return NULL;
        }
        json_t *function = json_pack("{s:O}", "name", name);
        if (description)
            json_object_set(function, "description", description);
        json_object_set(function, "parameters", schema);
        json_array_append_new(all, json_pack("{s:s,s:o}", "type", "function", "function", function));
    }
    return all;
}

static bool read_tools(struct ks_generation *g, const struct ks_fields *f, struct ks_turns *t, int32_t **forced,
                       int *n_forced)
{
    json_t *tools = ks_field(f, "tools"), *choice = ks_field(f, "tool_choice");
    const char *type = json_string_value(json_object_get(choice, "type"));
    const char *name = json_string_value(json_object_get(choice, "name"));
    if (choice && !type)
        return ks_refuse(f->p, 400, "tool_choice", NULL, "tool_choice has no type, expected auto, any, tool or none");
    g->one_call = json_is_true(json_object_get(choice, "disable_parallel_tool_use"));
    bool calls = type && strcmp(type, "auto") != 0 && strcmp(type, "none") != 0, one = calls && !strcmp(type, "tool");
    if ((calls && !one && strcmp(type, "any") != 0) || (one && !name))
        return ks_refuse(f->p, 400, "tool_choice", NULL,
                         "tool_choice.type is \"%.40s\", expected auto, any, tool (with a name) or none", type);
    if (calls && !json_array_size(tools))
        return ks_refuse(f->p, 400, "tool_choice", NULL, "tool_choice asks for a call, but there are no tools");
    if (!json_array_size(tools) || (type && strcmp(type, "none") == 0))
        return true;
    json_t *all = tools_of(tools);
    if (!all)
        return ks_refuse(f->p, 400, "tools", NULL, "tools has a tool without a name or an input_schema");
    kl_text called = kl_text_of(one ? name : "");
    bool fine = ks_turns_tools(t, all, f->p) &&
                (!calls || (ks_force_call(g->x->server, forced, n_forced, called, f->p) &&
                            ks_format_call(g, all, called, f->p)));
    json_decref(all);
    return fine;
}

/* ------------------------------------------------------------------------------------------------------- answers -- */

static const char *reason(const struct ks_choice *c)
{
    return c->stop_found >= 0                     ? "stop_sequence"
           : strcmp(c->finish, "length") == 0     ? "max_tokens"
           : strcmp(c->finish, "tool_calls") == 0 ? "tool_use"
                                                  : "end_turn";
}

static json_t *stop_json(const struct ks_choice *c)
{
    const struct ks_generation *g = c->g;
    return c->stop_found >= 0 ? ks_text_json(g->stop[c->stop_found].data, g->stop[c->stop_found].bytes) : json_null();
}

static json_t *usage_json(const struct ks_choice *c)
{
    const kl_job_report *r = &c->report;
    return json_pack("{s:I,s:I,s:I,s:I}", "input_tokens", (json_int_t)(c->prompt->n - r->n_reused),
                     "cache_read_input_tokens", (json_int_t)r->n_reused, "cache_creation_input_tokens", (json_int_t)0,
                     "output_tokens", (json_int_t)r->n_new);
}

/* The arguments as an object; what is none stands in one. */
static json_t *input_json(const struct ks_call *call)
{
    json_t *input = call->arguments.n ? json_loadb(call->arguments.data, call->arguments.n, 0, NULL) : json_object();
    if (json_is_object(input))
        return input;
    json_decref(input);
    return json_pack("{s:o}", "arguments", ks_text_json(call->arguments.data, call->arguments.n));
}

static json_t *use_json(const struct ks_call *call, json_t *input)
{
    kl_text name = kl_chat_call_name((kl_text){call->id.data, call->id.n});
    return json_pack("{s:s,s:o,s:o,s:o}", "type", "tool_use", "id", ks_text_json(call->id.data, call->id.n), "name",
                     ks_text_json(name.data, name.bytes), "input", input);
}

static json_t *message_json(const struct ks_choice *c, json_t *content, json_t *why, json_t *stop)
{
    return json_pack("{s:s,s:s,s:s,s:s,s:o,s:o,s:o,s:o}", "id", c->g->id.text, "type", "message", "role", "assistant",
                     "model", c->g->x->server->name, "content", content, "stop_reason", why, "stop_sequence", stop,
                     "usage", usage_json(c));
}

static json_t *whole(struct ks_generation *g)
{
    struct ks_choice *c = g->choice;
    json_t *content = json_array();
    if (c->content.n || !c->n_call)
        json_array_append_new(
            content, json_pack("{s:s,s:o}", "type", "text", "text", ks_text_json(c->content.data, c->content.n)));
    for (int i = 0; i < c->n_call; i++)
        if (c->call[i].whole)
            json_array_append_new(content, use_json(&c->call[i], input_json(&c->call[i])));
    return message_json(c, content, json_string(reason(c)), stop_json(c));
}

/* ------------------------------------------------------------------------------------------------------- streams -- */

static void event(struct ks_choice *c, const char *name, json_t *data)
{
    json_object_set_new(data, "type", json_string(name));
    ks_stream_json(c->g->x, name, data);
}

static void close_block(struct ks_choice *c)
{
    struct own *own = c->g->own;
    if (own->open)
        event(c, "content_block_stop", json_pack("{s:i}", "index", own->block++));
    own->open = false;
}

static void open_block(struct ks_choice *c, json_t *block)
{
    struct own *own = c->g->own;
    event(c, "content_block_start", json_pack("{s:i,s:o}", "index", own->block, "content_block", block));
    own->open = true;
}

static void begin(struct ks_choice *c)
{
    event(c, "message_start", json_pack("{s:o}", "message", message_json(c, json_array(), json_null(), json_null())));
}

static void text(struct ks_choice *c, kl_text new, json_t *logprobs)
{
    struct own *own = c->g->own;
    (void)logprobs;
    if (own->open && !own->text) /* behind a section of calls */
        close_block(c);
    if (!own->open)
        open_block(c, json_pack("{s:s,s:s}", "type", "text", "text", ""));
    own->text = true;
    event(c, "content_block_delta",
          json_pack("{s:i,s:{s:s,s:o}}", "index", own->block, "delta", "type", "text_delta", "text",
                    ks_text_json(new.data, new.bytes)));
}

static void call(struct ks_choice *c, int i)
{
    close_block(c);
    open_block(c, use_json(&c->call[i], json_object()));
    ((struct own *)c->g->own)->text = false;
}

static void arguments(struct ks_choice *c, int i, kl_text new)
{
    struct own *own = c->g->own;
    (void)i;
    event(c, "content_block_delta",
          json_pack("{s:i,s:{s:s,s:o}}", "index", own->block, "delta", "type", "input_json_delta", "partial_json",
                    ks_text_json(new.data, new.bytes)));
}

static void end(struct ks_choice *c)
{
    close_block(c);
    event(c, "message_delta",
          json_pack("{s:{s:s,s:o},s:o}", "delta", "stop_reason", reason(c), "stop_sequence", stop_json(c), "usage",
                    usage_json(c)));
    event(c, "message_stop", json_object());
}

static void finish(struct ks_generation *g)
{
    (void)g;
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

static const char *const known[] = {
    "model",    "messages",       "system",       "max_tokens", "temperature", "top_p",
    "top_k",    "stop_sequences", "stream",       "tools",      "seed",        "tool_choice",
    "metadata", "thinking",       "service_tier", "container",  NULL,
};

static bool read_request(struct ks_generation *g, struct ks_turns *t, bool counts, struct ks_problem *p)
{
    struct ks_fields f = {g->body, "", p};
    int32_t *forced = NULL;
    int n_forced = 0;
    g->own = calloc(1, sizeof(struct own));
    g->max_new = counts ? 0 : -1;
    if (!g->own)
        return ks_refuse(p, 503, NULL, NULL, "out of memory");
    if (!ks_only(&f, known) || !ks_read_sampling(g, &f) || !ks_integer(&f, "max_tokens", &g->max_new, 1, INT64_MAX))
        return false;
    if (g->max_new < 0)
        return ks_refuse(p, 400, "max_tokens", NULL, "max_tokens is absent, expected a number");
    bool fine =
        read_messages(t, &f) && read_tools(g, &f, t, &forced, &n_forced) && ks_turns_prompt(g, t, forced, n_forced, p);
    free(forced);
    return fine;
}

static void answer(struct ks_exchange *x, bool counts)
{
    struct ks_problem p;
    struct ks_turns t = {0};
    struct ks_generation *g = ks_generation_open(x, &dialect, "msg_");
    if (!g)
        return;
    bool fine = read_request(g, &t, counts, &p);
    ks_turns_close(&t);
    if (!fine)
        ks_answer_problem(x, &p);
    else if (counts)
        ks_answer_json(x, 200, json_pack("{s:I}", "input_tokens", (json_int_t)g->prompt[0].n));
    else
        ks_generate(g);
}

void ks_ep_messages(struct ks_exchange *x)
{
    answer(x, false);
}

void ks_ep_count_tokens(struct ks_exchange *x)
{
    answer(x, true);
}
