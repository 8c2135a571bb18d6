#include "turns.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEPT_FOR_EACH = 8 };

bool ks_turns_open(struct ks_turns *t, size_t n_message, struct ks_problem *p)
{
    *t = (struct ks_turns){.room = n_message};
    t->message = calloc(n_message + 1, sizeof *t->message);
    t->given = json_object();
    return (t->message && t->given) || ks_refuse(p, 503, NULL, NULL, "out of memory");
}

void ks_turns_close(struct ks_turns *t)
{
    for (size_t i = 0; i < t->n_kept; i++)
        free(t->kept[i]);
    free(t->kept);
    free(t->message);
    json_decref(t->given);
    *t = (struct ks_turns){0};
}

void *ks_turns_keep(struct ks_turns *t, size_t bytes)
{
    void **more = realloc(t->kept, (t->n_kept + 1) * sizeof *more);
    if (!more)
        return NULL;
    t->kept = more;
    t->kept[t->n_kept] = calloc(1, bytes ? bytes : 1);
    return t->kept[t->n_kept] ? t->kept[t->n_kept++] : NULL;
}

kl_chat_message *ks_turns_add(struct ks_turns *t)
{
    return &t->message[t->n++];
}

static bool same(kl_text a, kl_text b)
{
    return a.bytes == b.bytes && (a.bytes == 0 || memcmp(a.data, b.data, a.bytes) == 0);
}

kl_text ks_call_id(struct ks_turns *t, kl_text id, kl_text name, int i)
{
    if (same(kl_chat_call_name(id), name))
        return id;
    size_t room = name.bytes + 32;
    char *text = ks_turns_keep(t, room);
    if (!text)
        return id;
    int n = snprintf(text, room, "functions.%.*s:%d", (int)name.bytes, name.data, i);
    return (kl_text){text, (size_t)n};
}

void ks_turns_name(struct ks_turns *t, const char *given, kl_text id)
{
    kl_text *kept = ks_turns_keep(t, sizeof *kept);
    if (!kept)
        return;
    *kept = id;
    json_object_set_new(t->given, given, json_integer((json_int_t)t->n_kept - 1));
}

kl_text ks_turns_named(const struct ks_turns *t, const char *given)
{
    const json_t *at = json_object_get(t->given, given);
    return at ? *(const kl_text *)t->kept[json_integer_value(at)] : kl_text_of(given);
}

bool ks_turns_tools(struct ks_turns *t, const json_t *tools, struct ks_problem *p)
{
    char *text = json_dumps(tools, JSON_COMPACT | JSON_REAL_PRECISION(15));
    char *kept = text ? ks_turns_keep(t, strlen(text) + 1) : NULL;
    if (kept)
        memcpy(kept, text, strlen(text));
    free(text);
    t->tools = kl_text_of(kept);
    return kept || ks_refuse(p, 503, NULL, NULL, "out of memory");
}

/* Places where the next request of this conversation, or another with the same beginning, may differ: behind the turns
 * of the system, and where the last turn of a user begins. */
static void mark_turns(const struct ks_server *s, struct ks_prompt *prompt)
{
    const kl_tokenizer *t = s->l->tokenizer;
    int32_t system = kl_tokenizer_special(t, "<|im_system|>"), user = kl_tokenizer_special(t, "<|im_user|>");
    int64_t first = -1, last = -1;
    for (int64_t i = 0; i < prompt->n; i++)
        if (prompt->token[i] == user && user >= 0) {
            first = first < 0 ? i : first;
            last = i;
        }
    if (first > 0 && system >= 0)
        prompt->mark[prompt->n_mark++] = first;
    if (last > first)
        prompt->mark[prompt->n_mark++] = last;
}

/* 1 when the session's last turn lacks its end, which the model was not given the room to write. */
static int ends_open(const struct ks_generation *g)
{
    const struct ks_session *one = g->session;
    const struct ks_server *s = g->x->server;
    int32_t end = kl_tokenizer_special(s->l->tokenizer, "<|im_end|>");
    return one && one->n && end >= 0 && one->token[one->n - 1] != end;
}

bool ks_turns_prompt(struct ks_generation *g, const struct ks_turns *t, const int32_t *forced, int n,
                     struct ks_problem *p)
{
    const struct ks_server *s = g->x->server;
    kl_error err = {0};
    kl_chat chat = {.message = t->message, .n_message = t->n, .tools = t->tools, .rendering = s->rendering,
                    .without_opening = g->without_opening};
    kl_chat_prompt rendered = {0};
    if (!s->chats)
        return ks_refuse(p, 400, "messages", "no_chat_template", "%s", s->no_chat.text);
    kl_status status = kl_chat_render(&rendered, s->l->tokenizer, &chat, &err);
    if (status != KL_OK)
        return ks_refuse_error(p, "messages", status, &err);
    rendered.id_room = rendered.n_id;
    int32_t *ids = malloc((rendered.n_id + (size_t)n + 2) * sizeof *ids);
    if (!ids)
        return ks_refuse(p, 503, NULL, NULL, "out of memory");
    int closes = ends_open(g);
    if (closes)
        ids[0] = kl_tokenizer_special(s->l->tokenizer, "<|im_end|>");
    rendered.ids = ids + closes;
    kl_chat_render(&rendered, s->l->tokenizer, &chat, &err);
    if (n)
        memcpy(rendered.ids + rendered.n_id, forced, (size_t)n * sizeof *forced);
    if (!ks_add_prompt(g, ids, (int64_t)rendered.n_id + n + closes, p))
        return false;
    struct ks_prompt *prompt = &g->prompt[g->n_prompt - 1];
    g->forced = prompt->token + prompt->n - n;
    g->n_forced = n;
    mark_turns(s, prompt);
    return true;
}

bool ks_force_call(const struct ks_server *s, int32_t **ids, int *n, kl_text name, struct ks_problem *p)
{
    const kl_tokenizer *t = s->l->tokenizer;
    int32_t section = kl_tokenizer_special(t, "<|tool_calls_section_begin|>");
    int32_t call = kl_tokenizer_special(t, "<|tool_call_begin|>");
    int32_t arguments = kl_tokenizer_special(t, "<|tool_call_argument_begin|>");
    char text[160];
    size_t n_id = 0;
    if (section < 0 || call < 0 || arguments < 0)
        return ks_refuse(p, 400, "tool_choice", NULL, "this model has no tokens for calls of tools");
    if (name.bytes > 128)
        return ks_refuse(p, 400, "tool_choice", NULL, "the name of the tool has %zu bytes, expected at most 128",
                         name.bytes);
    *ids = malloc((sizeof text + 4) * sizeof **ids);
    if (!*ids)
        return ks_refuse(p, 503, NULL, NULL, "out of memory");
    (*ids)[0] = section;
    (*ids)[1] = call;
    *n = 2;
    if (!name.bytes)
        return true;
    int bytes = snprintf(text, sizeof text, "functions.%.*s:0", (int)name.bytes, name.data);
    if (kl_tokenize(*ids + 2, sizeof text, &n_id, t, (kl_text){text, (size_t)bytes}, KL_MARKUP_PLAIN, NULL) != KL_OK)
        return ks_refuse(p, 503, NULL, NULL, "out of memory");
    *n += (int)n_id;
    (*ids)[(*n)++] = arguments;
    return true;
}
