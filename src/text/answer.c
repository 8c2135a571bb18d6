/* What the model writes: content, and calls in sections between markers.  Markers are known by their ids, because some
 * configurations have lost their names. */
#include "base/error.h"
#include "base/memory.h"
#include "text/growing.h"
#include "text/tokenizer.h"

/* ------------------------------------------------------------------------------------------------------ id by id -- */

/* What the marker does to the reader; any that is not listed for the place it stands in is a fault. */
static const struct {
    enum kl__mark mark;
    kl_answer_place from, to;
    kl_answer_event event;
} moves[] = {
    {KL__MARK_EOS, KL_ANSWER_CONTENT, KL_ANSWER_DONE, KL_ANSWER_STOPS},
    {KL__MARK_EOT, KL_ANSWER_CONTENT, KL_ANSWER_DONE, KL_ANSWER_STOPS},
    {KL__MARK_END, KL_ANSWER_CONTENT, KL_ANSWER_DONE, KL_ANSWER_STOPS},
    {KL__MARK_EOS, KL_ANSWER_CALLS, KL_ANSWER_DONE, KL_ANSWER_STOPS},
    {KL__MARK_EOT, KL_ANSWER_CALLS, KL_ANSWER_DONE, KL_ANSWER_STOPS},
    {KL__MARK_END, KL_ANSWER_CALLS, KL_ANSWER_DONE, KL_ANSWER_STOPS},
    {KL__MARK_CALLS_BEGIN, KL_ANSWER_CONTENT, KL_ANSWER_CALLS, KL_ANSWER_GOES_ON},
    {KL__MARK_CALLS_END, KL_ANSWER_CALLS, KL_ANSWER_CONTENT, KL_ANSWER_GOES_ON},
    {KL__MARK_CALL_BEGIN, KL_ANSWER_CALLS, KL_ANSWER_CALL_ID, KL_ANSWER_CALL_BEGINS},
    {KL__MARK_CALL_ARGUMENTS, KL_ANSWER_CALL_ID, KL_ANSWER_ARGUMENTS, KL_ANSWER_ARGUMENTS_BEGIN},
    {KL__MARK_CALL_END, KL_ANSWER_ARGUMENTS, KL_ANSWER_CALLS, KL_ANSWER_CALL_ENDS},
};

/* A marker of the table, or -1. */
static int mark_of(const kl_tokenizer *t, int32_t id)
{
    for (int i = 0; i < KL__N_MARK; i++)
        if (t->mark[i] == id)
            return i;
    return -1;
}

static kl_answer_event fault(kl_answer_reader *r)
{
    r->place = KL_ANSWER_DONE;
    return KL_ANSWER_FAULT;
}

/* Markers that have no part in answers count for nothing in the content. */
static kl_answer_event move(kl_answer_reader *r, int mark)
{
    bool in_answers = mark >= 0 && mark != KL__MARK_USER && mark != KL__MARK_ASSISTANT && mark != KL__MARK_SYSTEM &&
                      mark != KL__MARK_MIDDLE;
    if (!in_answers && r->place == KL_ANSWER_CONTENT)
        return KL_ANSWER_GOES_ON;
    for (size_t i = 0; i < sizeof moves / sizeof *moves; i++) {
        if ((int)moves[i].mark != mark || moves[i].from != r->place)
            continue;
        if (moves[i].event == KL_ANSWER_ARGUMENTS_BEGIN && !r->any)
            return fault(r);
        r->any = false;
        r->place = moves[i].to;
        return moves[i].event;
    }
    return fault(r);
}

kl_answer_piece kl_answer_put(kl_answer_reader *r, char *text, const kl_tokenizer *t, int32_t id)
{
    kl_answer_piece piece = {.place = r->place};
    if (r->place == KL_ANSWER_DONE)
        return piece;
    r->decoder.show_special = false;
    piece.bytes = kl_decoder_put(&r->decoder, text, t, id);
    r->any |= piece.bytes > 0;
    if (kl_tokenizer_is_special(t, id))
        piece.event = move(r, mark_of(t, id));
    return piece;
}

kl_answer_piece kl_answer_end(kl_answer_reader *r, char *text)
{
    kl_answer_piece piece = {.place = r->place};
    if (r->place == KL_ANSWER_DONE)
        return piece;
    piece.bytes = kl_decoder_end(&r->decoder, text);
    if (r->place == KL_ANSWER_CALL_ID || r->place == KL_ANSWER_ARGUMENTS)
        piece.event = KL_ANSWER_FAULT;
    r->place = KL_ANSWER_DONE;
    return piece;
}

kl_text kl_chat_call_name(kl_text id)
{
    size_t end = id.bytes, from;
    for (size_t i = 0; i < id.bytes; i++)
        end = id.data[i] == ':' ? i : end;
    for (from = end; from > 0 && id.data[from - 1] != '.';)
        from--;
    return (kl_text){id.data ? id.data + from : NULL, end - from};
}

/* ------------------------------------------------------------------------------------------------------- at once -- */

struct whole {
    kl_answer answer;
    const kl_allocator *alloc;
};

/* A call's texts, as places in the one text of all of them. */
struct extent {
    size_t id, arguments, end;
};

struct gathering {
    struct kl__growing content, texts, calls; /* calls: struct extent, one behind the other */
    struct extent open;
    bool stopped, faulty;
};

static void gather(struct gathering *g, const kl_answer_piece *piece, const char *text)
{
    struct kl__str s = {text, piece->bytes};
    if (piece->place == KL_ANSWER_CONTENT)
        kl__grow(&g->content, s);
    else if (piece->place == KL_ANSWER_CALL_ID || piece->place == KL_ANSWER_ARGUMENTS)
        kl__grow(&g->texts, s);
    g->stopped |= piece->event == KL_ANSWER_STOPS;
    g->faulty |= piece->event == KL_ANSWER_FAULT;
    if (piece->event == KL_ANSWER_CALL_BEGINS)
        g->open.id = g->texts.bytes;
    if (piece->event == KL_ANSWER_ARGUMENTS_BEGIN)
        g->open.arguments = g->texts.bytes;
    if (piece->event == KL_ANSWER_CALL_ENDS) {
        g->open.end = g->texts.bytes;
        kl__grow(&g->calls, (struct kl__str){(const char *)&g->open, sizeof g->open});
    }
}

/* Struct, calls and texts in one piece of memory. */
static struct whole *assemble(const struct gathering *g, const kl_allocator *alloc)
{
    size_t n_call = g->calls.bytes / sizeof(struct extent);
    bool failed = g->content.failed || g->texts.failed || g->calls.failed;
    struct whole *w = NULL;
    if (!failed)
        w = kl__alloc(alloc, sizeof *w + n_call * sizeof(kl_chat_call) + g->content.bytes + g->texts.bytes);
    if (!w)
        return NULL;
    kl_chat_call *call = (kl_chat_call *)(w + 1);
    char *content = (char *)(call + n_call), *texts = content + g->content.bytes;
    if (g->content.bytes)
        memcpy(content, g->content.at, g->content.bytes);
    if (g->texts.bytes)
        memcpy(texts, g->texts.at, g->texts.bytes);
    for (size_t i = 0; i < n_call; i++) {
        struct extent e;
        memcpy(&e, g->calls.at + i * sizeof e, sizeof e);
        call[i] = (kl_chat_call){{texts + e.id, e.arguments - e.id}, {texts + e.arguments, e.end - e.arguments}, false};
    }
    *w = (struct whole){{{content, g->content.bytes}, call, n_call, g->stopped, g->faulty}, alloc};
    return w;
}

kl_status kl_answer_open(const kl_answer **answer, const kl_tokenizer *t, const int32_t *ids, size_t n_id,
                         kl_error *err)
{
    char text[3 * (KL__TOKEN_BYTES + 4)];
    kl_answer_reader r = {0};
    struct gathering g = {{.alloc = t->alloc}, {.alloc = t->alloc}, {.alloc = t->alloc}, {0}, false, false};
    for (size_t i = 0; i <= n_id; i++) {
        kl_answer_piece piece = i < n_id ? kl_answer_put(&r, text, t, ids[i]) : kl_answer_end(&r, text);
        gather(&g, &piece, text);
    }
    struct whole *w = assemble(&g, t->alloc);
    kl__growing_close(&g.content);
    kl__growing_close(&g.texts);
    kl__growing_close(&g.calls);
    if (!w)
        return kl__fail(err, KL_ERR_MEMORY, "no memory for an answer of %zu tokens", n_id);
    *answer = &w->answer;
    return KL_OK;
}

void kl_answer_close(const kl_answer *answer)
{
    struct whole *w = (struct whole *)(uintptr_t)answer; /* its first member */
    if (w)
        kl__release(w->alloc, w);
}
