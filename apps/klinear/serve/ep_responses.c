/* POST /v1/responses: OpenAI's newer API, as far as it needs no memory of earlier responses. */
#include "formats.h"
#include "routes.h"
#include "turns.h"

#include <stdlib.h>
#include <string.h>

/* What a stream has told so far. */
struct own {
    int sequence;       /* the next event's number */
    int item;           /* index of the item that is open, or of the next */
    bool message, call; /* which kind is open */
    struct ks_id message_id;
    size_t from; /* where the open message begins in the content */
};

/* --------------------------------------------------------------------------------------------------------- input -- */

static bool read_texts(kl_chat_message *m, struct ks_turns *t, json_t *content, size_t at, struct ks_problem *p)
{
    if (json_is_string(content)) {
        m->content = (kl_text){json_string_value(content), json_string_length(content)};
        return true;
    }
    size_t n = json_array_size(content);
    kl_text *part = ks_turns_keep(t, n * sizeof *part);
    if (!json_is_array(content))
        return ks_refuse(p, 400, "input", NULL, "input[%zu].content is %s, expected a string or an array", at,
                         ks_kind(content));
    for (size_t i = 0; part && i < n; i++) {
        json_t *text = json_object_get(json_array_get(content, i), "text");
        const char *type = json_string_value(json_object_get(json_array_get(content, i), "type"));
        bool known = type && (strcmp(type, "input_text") == 0 || strcmp(type, "output_text") == 0);
        if (!known || !json_is_string(text))
            return ks_refuse(p, 400, "input", NULL,
                             "input[%zu].content[%zu] is of type \"%.40s\", expected input_text or output_text", at, i,
                             type ? type : "");
        part[i] = (kl_text){json_string_value(text), json_string_length(text)};
    }
    m->part = part;
    m->n_part = n;
    return part || ks_refuse(p, 503, NULL, NULL, "out of memory");
}

/* A call belongs to the turn of the assistant in front of it, or to one of its own. */
static bool read_call(struct ks_turns *t, json_t *item, size_t at, struct ks_problem *p)
{
    const char *id = json_string_value(json_object_get(item, "call_id"));
    const char *name = json_string_value(json_object_get(item, "name"));
    const char *arguments = json_string_value(json_object_get(item, "arguments"));
    if (!id || !arguments || !name)
        return ks_refuse(p, 400, "input", NULL, "input[%zu] has no call_id, name or arguments", at);
    kl_chat_message *m = t->n ? &t->message[t->n - 1] : NULL;
    if (!m || strcmp(m->role.data, "assistant") != 0) {
        m = ks_turns_add(t);
        m->role = kl_text_of("assistant");
    }
    if ((m->n_call & (m->n_call - 1)) == 0) { /* what is kept stays until the end: the room doubles */
        kl_chat_call *more = ks_turns_keep(t, (m->n_call ? 2 * m->n_call : 1) * sizeof *more);
        if (!more)
            return ks_refuse(p, 503, NULL, NULL, "out of memory");
        if (m->n_call)
            memcpy(more, t->call, m->n_call * sizeof *more);
        m->call = t->call = more;
    }
    kl_text own = ks_call_id(t, kl_text_of(id), kl_text_of(name), t->n_call++);
    ks_turns_name(t, id, own);
    t->call[m->n_call++] = (kl_chat_call){.id = own, .arguments = kl_text_of(arguments)};
    return true;
}

static bool read_output(struct ks_turns *t, json_t *item, size_t at, struct ks_problem *p)
{
    const char *id = json_string_value(json_object_get(item, "call_id"));
    kl_chat_message *m = ks_turns_add(t);
    m->role = kl_text_of("tool");
    m->call_id = ks_turns_named(t, id ? id : "");
    return read_texts(m, t, json_object_get(item, "output"), at, p);
}

static bool read_item(struct ks_turns *t, json_t *input, size_t i, struct ks_problem *p)
{
    static const char *const roles[] = {"system", "developer", "user", "assistant", NULL};
    json_t *item = json_array_get(input, i);
    const char *type = json_string_value(json_object_get(item, "type"));
    const char *role = json_string_value(json_object_get(item, "role"));
    int k = 0;
    if (type && strcmp(type, "function_call") == 0)
        return read_call(t, item, i, p);
    if (type && strcmp(type, "function_call_output") == 0)
        return read_output(t, item, i, p);
    while (roles[k] && (!role || strcmp(roles[k], role) != 0))
        k++;
    if (!json_is_object(item) || (type && strcmp(type, "message") != 0) || !roles[k])
        return ks_refuse(p, 400, "input", NULL,
                         "input[%zu] is of type \"%.40s\" with role \"%.40s\", expected a message, a function_call or "
                         "a function_call_output",
                         i, type ? type : ks_kind(item), role ? role : "");
    kl_chat_message *m = ks_turns_add(t);
    m->role = k == 1 ? kl_text_of("system") : kl_text_of(roles[k]);
    return read_texts(m, t, json_object_get(item, "content"), i, p);
}

static bool read_input(struct ks_turns *t, const struct ks_fields *f)
{
    json_t *input = ks_field(f, "input");
    kl_text instructions = {0};
    if (!ks_string(f, "instructions", &instructions) || !ks_turns_open(t, json_array_size(input) + 2, f->p))
        return false;
    if (instructions.bytes)
        *ks_turns_add(t) = (kl_chat_message){.role = kl_text_of("system"), .content = instructions};
    if (json_is_string(input)) {
        kl_chat_message *m = ks_turns_add(t);
        m->role = kl_text_of("user");
        m->content = (kl_text){json_string_value(input), json_string_length(input)};
        return true;
    }
    if (!json_array_size(input))
        return ks_refuse(f->p, 400, "input", NULL, "input is %s, expected a string or an array of items",
                         json_is_array(input) ? "empty" : ks_kind(input));
    for (size_t i = 0; i < json_array_size(input); i++)
        if (!read_item(t, input, i, f->p))
            return false;
    return true;
}

static bool read_tools(struct ks_generation *g, const struct ks_fields *f, struct ks_turns *t, int32_t **forced,
                       int *n_forced)
{
    json_t *tools = ks_field(f, "tools"), *choice = ks_field(f, "tool_choice"), *tool;
    const char *word = json_string_value(choice), *name = json_string_value(json_object_get(choice, "name"));
    bool parallel = true, fine = true;
    size_t i;
    if (!ks_flag(f, "parallel_tool_calls", &parallel))
        return false;
    g->one_call = !parallel;
    if (choice && !name && (!word || (strcmp(word, "auto") && strcmp(word, "none") && strcmp(word, "required"))))
        return ks_refuse(f->p, 400, "tool_choice", NULL,
                         "tool_choice is %s, expected auto, none, required, or an object with a name",
                         word ? word : ks_kind(choice));
    bool calls = choice && (!word || strcmp(word, "required") == 0);
    if (calls && !json_array_size(tools))
        return ks_refuse(f->p, 400, "tool_choice", NULL, "tool_choice asks for a call, but there are no tools");
    if (!json_array_size(tools) || (word && strcmp(word, "none") == 0))
        return true;
    json_t *all = json_array();
    json_array_foreach(tools, i, tool)
    {
        const char *type = json_string_value(json_object_get(tool, "type"));
        json_t *function = type && strcmp(type, "function") == 0 ? json_copy(tool) : NULL;
        if (!function)
            fine = ks_refuse(f->p, 400, "tools", NULL, "tools[%zu] is of type \"%.40s\", expected function", i,
                             type ? type : ks_kind(tool));
        json_object_del(function, "type");
        json_object_del(function, "strict");
        json_array_append_new(
            all, json_pack("{s:s,s:o}", "type", "function", "function", function ? function : json_object()));
    }
    fine = fine && ks_turns_tools(t, all, f->p);
    json_array_foreach(tools, i, tool) /* of which the prompt has no word */
        if (json_is_true(json_object_get(tool, "strict")))
            json_object_set_new(json_object_get(json_array_get(all, i), "function"), "strict", json_true());
    kl_text called = kl_text_of(name ? name : "");
    if (fine && calls)
        fine = ks_force_call(g->x->server, forced, n_forced, called, f->p) && ks_format_call(g, all, called, f->p);
    json_decref(all);
    return fine;
}

/* ------------------------------------------------------------------------------------------------------- answers -- */

static json_t *content_json(const char *data, size_t n)
{
    return json_pack("{s:s,s:o,s:[],s:[]}", "type", "output_text", "text", ks_text_json(data, n), "annotations",
                     "logprobs");
}

static json_t *item_json(const struct own *own, const char *status, const char *data, size_t n, bool begun)
{
    json_t *content = begun ? json_pack("[o]", content_json(data, n)) : json_array();
    return json_pack("{s:s,s:s,s:s,s:s,s:o}", "type", "message", "id", own->message_id.text, "status", status, "role",
                     "assistant", "content", content);
}

static json_t *call_json(const struct ks_call *call, const char *status, bool whole)
{
    kl_text name = kl_chat_call_name((kl_text){call->id.data, call->id.n});
    json_t *id = ks_text_json(call->id.data, call->id.n);
    return json_pack("{s:s,s:O,s:o,s:o,s:o,s:s}", "type", "function_call", "id", id, "call_id", id, "name",
                     ks_text_json(name.data, name.bytes), "arguments",
                     ks_text_json(call->arguments.data, whole ? call->arguments.n : 0), "status", status);
}

static json_t *response_json(struct ks_generation *g, const char *status, json_t *output)
{
    struct ks_choice *c = g->choice;
    bool ended = strcmp(status, "in_progress") != 0;
    const kl_job_report *r = &c->report;
    json_t *usage = json_pack("{s:I,s:{s:I},s:I,s:{s:i},s:I}", "input_tokens", (json_int_t)c->prompt->n,
                              "input_tokens_details", "cached_tokens", (json_int_t)r->n_reused, "output_tokens",
                              (json_int_t)r->n_new, "output_tokens_details", "reasoning_tokens", 0, "total_tokens",
                              (json_int_t)(c->prompt->n + r->n_new));
    json_t *response = json_pack("{s:s,s:s,s:I,s:s,s:s,s:n,s:o,s:o}", "id", g->id.text, "object", "response",
                                 "created_at", (json_int_t)g->created, "model", g->x->server->name, "status", status,
                                 "error", "output", output, "usage", ended ? usage : json_null());
    if (!ended)
        json_decref(usage);
    json_object_set_new(response, "incomplete_details",
                        strcmp(status, "incomplete") == 0 ? json_pack("{s:s}", "reason", "max_output_tokens")
                                                          : json_null());
    json_object_set_new(response, "parallel_tool_calls", json_boolean(!g->one_call));
    json_t *tools = json_object_get(g->body, "tools"), *choice = json_object_get(g->body, "tool_choice");
    json_object_set_new(response, "tools", tools ? json_incref(tools) : json_array());
    json_object_set_new(response, "tool_choice", choice ? json_incref(choice) : json_string("auto"));
    return response;
}

static const char *status_of(const struct ks_choice *c)
{
    return strcmp(c->finish, "length") == 0 ? "incomplete" : "completed";
}

static json_t *output_json(struct ks_generation *g)
{
    struct ks_choice *c = g->choice;
    json_t *output = json_array();
    if (c->content.n || !c->n_call)
        json_array_append_new(output, item_json(g->own, status_of(c), c->content.data, c->content.n, true));
    for (int i = 0; i < c->n_call; i++)
        if (c->call[i].whole)
            json_array_append_new(output, call_json(&c->call[i], "completed", true));
    return output;
}

static json_t *whole(struct ks_generation *g)
{
    return response_json(g, status_of(g->choice), output_json(g));
}

/* ------------------------------------------------------------------------------------------------------- streams -- */

static void event(struct ks_choice *c, const char *name, json_t *data)
{
    struct own *own = c->g->own;
    json_object_set_new(data, "type", json_string(name));
    json_object_set_new(data, "sequence_number", json_integer(own->sequence++));
    ks_stream_json(c->g->x, name, data);
}

/* Data of an event about the text of the open message; takes `more`. */
static json_t *about_text(const struct own *own, const char *key, json_t *more)
{
    return json_pack("{s:s,s:i,s:i,s:o}", "item_id", own->message_id.text, "output_index", own->item, "content_index",
                     0, key, more);
}

static void close_item(struct ks_choice *c)
{
    struct own *own = c->g->own;
    const char *data = c->content.n ? c->content.data + own->from : "";
    size_t n = c->content.n - own->from;
    if (own->message) {
        event(c, "response.output_text.done", about_text(own, "text", ks_text_json(data, n)));
        event(c, "response.content_part.done", about_text(own, "part", content_json(data, n)));
        event(c, "response.output_item.done",
              json_pack("{s:i,s:o}", "output_index", own->item, "item", item_json(own, "completed", data, n, true)));
    } else if (own->call) {
        const struct ks_call *call = &c->call[c->n_call - 1];
        const struct ks_call *ended = call->begun || c->n_call < 2 ? call : call - 1;
        event(c, "response.function_call_arguments.done",
              json_pack("{s:o,s:i,s:o}", "item_id", ks_text_json(ended->id.data, ended->id.n), "output_index",
                        own->item, "arguments", ks_text_json(ended->arguments.data, ended->arguments.n)));
        event(c, "response.output_item.done",
              json_pack("{s:i,s:o}", "output_index", own->item, "item",
                        call_json(ended, ended->whole ? "completed" : "incomplete", true)));
    }
    own->item += own->message || own->call;
    own->message = own->call = false;
}

static void begin(struct ks_choice *c)
{
    event(c, "response.created", json_pack("{s:o}", "response", response_json(c->g, "in_progress", json_array())));
    event(c, "response.in_progress", json_pack("{s:o}", "response", response_json(c->g, "in_progress", json_array())));
}

static void text(struct ks_choice *c, kl_text new, json_t *logprobs)
{
    struct own *own = c->g->own;
    (void)logprobs;
    if (!own->message) {
        close_item(c);
        own->message = true;
        own->from = c->content.n - new.bytes;
        own->message_id = ks_new_id("msg_");
        event(c, "response.output_item.added",
              json_pack("{s:i,s:o}", "output_index", own->item, "item", item_json(own, "in_progress", "", 0, false)));
        event(c, "response.content_part.added", about_text(own, "part", content_json("", 0)));
    }
    json_t *data = about_text(own, "delta", ks_text_json(new.data, new.bytes));
    json_object_set_new(data, "logprobs", json_array());
    event(c, "response.output_text.delta", data);
}

static void call(struct ks_choice *c, int i)
{
    struct own *own = c->g->own;
    if (own->call && i > 0) { /* the one before is whole */
        int n_call = c->n_call;
        c->n_call = i;
        close_item(c);
        c->n_call = n_call;
    } else
        close_item(c);
    own->call = true;
    event(c, "response.output_item.added",
          json_pack("{s:i,s:o}", "output_index", own->item, "item", call_json(&c->call[i], "in_progress", false)));
}

static void arguments(struct ks_choice *c, int i, kl_text new)
{
    struct own *own = c->g->own;
    event(c, "response.function_call_arguments.delta",
          json_pack("{s:o,s:i,s:o}", "item_id", ks_text_json(c->call[i].id.data, c->call[i].id.n), "output_index",
                    own->item, "delta", ks_text_json(new.data, new.bytes)));
}

static void end(struct ks_choice *c)
{
    const char *status = status_of(c);
    char name[32];
    snprintf(name, sizeof name, "response.%s", status);
    close_item(c);
    event(c, name, json_pack("{s:o}", "response", response_json(c->g, status, output_json(c->g))));
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
    "model",
    "input",
    "instructions",
    "max_output_tokens",
    "temperature",
    "top_p",
    "top_k",
    "seed",
    "stream",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "text",
    "previous_response_id",
    "background",
    "user",
    "store",
    "metadata",
    "include",
    "reasoning",
    "service_tier",
    "truncation",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "stream_options",
    "max_tool_calls",
    NULL,
};

static bool check_unoffered(const struct ks_fields *f)
{
    if (ks_field(f, "previous_response_id"))
        return ks_refuse(f->p, 400, "previous_response_id", NULL,
                         "previous_response_id is set, but responses are not kept: send the whole conversation");
    if (json_is_true(ks_field(f, "background")))
        return ks_refuse(f->p, 400, "background", NULL, "background is true, but responses are not kept");
    return true;
}

static bool read_request(struct ks_generation *g, struct ks_turns *t, struct ks_problem *p)
{
    struct ks_fields f = {g->body, "", p};
    struct own *own = g->own = calloc(1, sizeof *own);
    int32_t *forced = NULL;
    int n_forced = 0;
    if (!own)
        return ks_refuse(p, 503, NULL, NULL, "out of memory");
    own->message_id = ks_new_id("msg_");
    if (!ks_only(&f, known) || !ks_read_sampling(g, &f) || !check_unoffered(&f) ||
        !ks_read_format(g, &f, json_object_get(ks_field(&f, "text"), "format"), NULL, "text.format") ||
        !ks_integer(&f, "max_output_tokens", &g->max_new, 1, INT64_MAX))
        return false;
    bool fine =
        read_input(t, &f) && read_tools(g, &f, t, &forced, &n_forced) && ks_turns_prompt(g, t, forced, n_forced, p);
    free(forced);
    return fine;
}

void ks_ep_responses(struct ks_exchange *x)
{
    struct ks_problem p;
    struct ks_turns t = {0};
    struct ks_generation *g = ks_generation_open(x, &dialect, "resp_");
    if (!g)
        return;
    bool fine = read_request(g, &t, &p);
    ks_turns_close(&t);
    if (fine)
        ks_generate(g);
    else
        ks_answer_problem(x, &p);
}
