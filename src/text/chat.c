/* The template of Kimi Linear: every turn is a marker of its class, a name, <|im_middle|>, the body, <|im_end|>; turns
 * follow each other without anything between.  The text is built first, with a list of the markers in it; the ids are
 * the markers' own and, between them, those of plain text. */
#include "base/error.h"
#include "base/memory.h"
#include "text/json_text.h"
#include "text/tokenizer.h"

struct place {
    size_t at; /* in the text */
    enum kl__mark mark;
};

struct rendering {
    struct kl__growing text, places; /* places: struct place, one behind the other */
    kl_error *err;
};

static struct kl__str of(kl_text text)
{
    return (struct kl__str){text.data, text.data ? text.bytes : 0};
}

static bool is(kl_text text, const char *word)
{
    return kl__str_same(of(text), kl__str(word));
}

/* ------------------------------------------------------------------------------------------------------ building -- */

static void put_mark(struct rendering *r, enum kl__mark mark)
{
    struct place place = {r->text.bytes, mark};
    kl__grow(&r->places, (struct kl__str){(const char *)&place, sizeof place});
    kl__grow(&r->text, kl__str(kl__mark_name(mark)));
}

static void open_turn(struct rendering *r, enum kl__mark class_of_turn, struct kl__str name)
{
    put_mark(r, class_of_turn);
    kl__grow(&r->text, name);
    put_mark(r, KL__MARK_MIDDLE);
}

static kl_status put_json(struct rendering *r, const struct json_t *value, const struct kl__json_style *style)
{
    return kl__json_write(&r->text, value, style) ? KL_OK
                                                  : kl__fail(r->err, KL_ERR_MEMORY, "no memory for the text of a chat");
}

static kl_status put_tools(struct rendering *r, const struct json_t *tools)
{
    static const struct kl__json_style style = {",", ":", .sorted = true};
    if (!kl__json_is_array(tools) && !kl__json_is_null(tools))
        return kl__fail(r->err, KL_ERR_FORMAT, "chat: tools is another JSON value, expected an array");
    if (kl__json_items(tools) == 0)
        return KL_OK;
    open_turn(r, KL__MARK_SYSTEM, kl__str("tool_declare"));
    KL_TRY(put_json(r, tools, &style));
    put_mark(r, KL__MARK_END);
    return KL_OK;
}

static kl_status parse_and_put_tools(struct rendering *r, kl_text tools)
{
    struct json_t *value;
    if (!tools.bytes)
        return KL_OK;
    KL_TRY(kl__json_parse(&value, of(tools), "chat", "tools", r->err));
    kl_status status = put_tools(r, value);
    kl__json_free(value);
    return status;
}

static kl_status put_arguments(struct rendering *r, const kl_chat_call *call)
{
    static const struct kl__json_style style = {", ", ": ", .sorted = false};
    struct json_t *value;
    struct kl__str text;
    kl_status status = KL_OK;
    if (!call->is_value) {
        kl__grow(&r->text, of(call->arguments));
        return KL_OK;
    }
    KL_TRY(kl__json_parse(&value, of(call->arguments), "chat", "the arguments of a call", r->err));
    if (kl__json_string(value, &text))
        kl__grow(&r->text, text);
    else
        status = put_json(r, value, &style);
    kl__json_free(value);
    return status;
}

static kl_status put_calls(struct rendering *r, const kl_chat_message *m)
{
    put_mark(r, KL__MARK_CALLS_BEGIN);
    for (size_t i = 0; i < m->n_call; i++) {
        put_mark(r, KL__MARK_CALL_BEGIN);
        kl__grow(&r->text, of(m->call[i].id));
        put_mark(r, KL__MARK_CALL_ARGUMENTS);
        KL_TRY(put_arguments(r, &m->call[i]));
        put_mark(r, KL__MARK_CALL_END);
    }
    put_mark(r, KL__MARK_CALLS_END);
    return KL_OK;
}

static kl_status put_message(struct rendering *r, const kl_chat_message *m, size_t i)
{
    if (!m->role.data || !m->role.bytes)
        return kl__fail(r->err, KL_ERR_ARGUMENT, "chat: message %zu has no role", i);
    enum kl__mark class_of_turn = is(m->role, "user")        ? KL__MARK_USER
                                  : is(m->role, "assistant") ? KL__MARK_ASSISTANT
                                                             : KL__MARK_SYSTEM;
    open_turn(r, class_of_turn, of(m->name).bytes ? of(m->name) : of(m->role));
    if (is(m->role, "tool")) {
        kl__grow(&r->text, kl__str("## Return of "));
        kl__grow(&r->text, of(m->call_id));
        kl__grow(&r->text, kl__str("\n"));
    }
    kl__grow(&r->text, of(m->content));
    for (size_t p = 0; p < m->n_part; p++)
        kl__grow(&r->text, of(m->part[p]));
    if (class_of_turn == KL__MARK_ASSISTANT && m->n_call)
        KL_TRY(put_calls(r, m));
    put_mark(r, KL__MARK_END);
    return KL_OK;
}

static kl_status build(struct rendering *r, const kl_chat *chat)
{
    KL_TRY(parse_and_put_tools(r, chat->tools));
    for (size_t i = 0; i < chat->n_message; i++)
        KL_TRY(put_message(r, &chat->message[i], i));
    if (!chat->without_opening)
        open_turn(r, KL__MARK_ASSISTANT, kl__str("assistant"));
    return r->text.failed || r->places.failed ? kl__fail(r->err, KL_ERR_MEMORY, "no memory for the text of a chat")
                                              : KL_OK;
}

/* -------------------------------------------------------------------------------------------------------- giving -- */

static void put_id(kl_chat_prompt *prompt, int32_t id)
{
    if (prompt->n_id < prompt->id_room)
        prompt->ids[prompt->n_id] = id;
    prompt->n_id++;
}

static kl_status keep(void *user, const int32_t *ids, size_t n)
{
    for (size_t i = 0; i < n; i++)
        put_id(user, ids[i]);
    return KL_OK;
}

static kl_status put_ids(kl_chat_prompt *prompt, const struct rendering *r, const kl_tokenizer *t)
{
    size_t at = 0, n_place = r->places.bytes / sizeof(struct place);
    for (size_t i = 0; i < n_place; i++) {
        struct place place;
        memcpy(&place, r->places.at + i * sizeof place, sizeof place);
        kl_text plain = {r->text.at + at, place.at - at};
        if (t->mark[place.mark] < 0)
            return kl__fail(r->err, KL_ERR_UNSUPPORTED, "chat: the vocabulary has no token '%s'",
                            kl__mark_name(place.mark));
        KL_TRY(kl_tokenize_each(keep, prompt, t, plain, KL_MARKUP_PLAIN, r->err));
        put_id(prompt, t->mark[place.mark]);
        at = place.at + strlen(kl__mark_name(place.mark));
    }
    return KL_OK; /* the last thing in a chat is a marker */
}

static kl_status give(kl_chat_prompt *prompt, const struct rendering *r, const kl_tokenizer *t)
{
    kl_chat_prompt p = *prompt;
    p.n_id = 0;
    if (t)
        KL_TRY(put_ids(&p, r, t));
    p.text_bytes = r->text.bytes;
    size_t fits = p.text_bytes < p.text_room ? p.text_bytes : p.text_room;
    if (fits)
        memcpy(p.text, r->text.at, fits);
    *prompt = p;
    return KL_OK;
}

kl_status kl_chat_render(kl_chat_prompt *prompt, const kl_tokenizer *t, const kl_chat *chat, kl_error *err)
{
    const kl_allocator *alloc = t ? t->alloc : NULL;
    struct rendering r = {.text = {.alloc = alloc}, .places = {.alloc = alloc}, .err = err};
    if (t)
        KL_TRY(kl_chat_check(t, chat->rendering, err));
    kl_status status = build(&r, chat);
    if (status == KL_OK)
        status = give(prompt, &r, t);
    kl__growing_close(&r.text);
    kl__growing_close(&r.places);
    return status;
}
