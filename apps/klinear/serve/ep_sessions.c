/* /v1/sessions: named conversations, made, listed, saved, restored, forked, removed. */
#include "generation.h"
#include "routes.h"
#include "turns.h"

#include <stdlib.h>
#include <string.h>

/* -------------------------------------------------------------------------------------------------------- asking -- */

/* As of when the session was last given back. */
static json_t *shown_json(const struct ks_session *one)
{
    return json_pack("{s:s,s:s,s:I,s:I,s:I,s:b,s:b}", "object", "session", "id", one->name, "tokens",
                     (json_int_t)one->shown_n, "created", (json_int_t)one->created, "changed",
                     (json_int_t)one->shown_changed, "saved", one->shown_saved, "busy", one->busy);
}

/* Of a session that the caller has. */
static json_t *own_json(const struct ks_session *one)
{
    return json_pack("{s:s,s:s,s:I,s:I,s:I,s:b}", "object", "session", "id", one->name, "tokens", (json_int_t)one->n,
                     "created", (json_int_t)one->created, "changed", (json_int_t)one->changed, "saved", one->saved);
}

void ks_ep_sessions(struct ks_exchange *x)
{
    struct ks_server *s = x->server;
    uint64_t owner = ks_key_number(&s->keys, x->key);
    json_t *list = json_array();
    pthread_mutex_lock(&s->sessions.lock);
    for (struct ks_session *one = s->sessions.first; one; one = one->next)
        if (one->owner == owner)
            json_array_append_new(list, shown_json(one));
    pthread_mutex_unlock(&s->sessions.lock);
    ks_answer_json(x, 200, json_pack("{s:s,s:o}", "object", "list", "data", list));
}

static struct ks_session *take(struct ks_exchange *x, const char *name, struct ks_problem *p)
{
    return ks_session_take(x->server, ks_key_number(&x->server->keys, x->key), name, p);
}

/* With its tokens, and their text. */
void ks_ep_session(struct ks_exchange *x)
{
    struct ks_problem p;
    struct ks_session *one = take(x, x->argument, &p);
    if (!one) {
        ks_answer_problem(x, &p);
        return;
    }
    json_t *all = own_json(one), *ids = json_array();
    for (int64_t i = 0; i < one->n; i++)
        json_array_append_new(ids, json_integer(one->token[i]));
    json_object_set_new(all, "ids", ids);
    const kl_tokenizer *t = x->server->l->tokenizer;
    size_t bytes = kl_detokenize(NULL, 0, t, one->token, (size_t)one->n, true);
    char *text = malloc(bytes + 1);
    if (text) {
        kl_detokenize(text, bytes, t, one->token, (size_t)one->n, true);
        json_object_set_new(all, "text", ks_text_json(text, bytes));
    }
    free(text);
    ks_session_give(x->server, one);
    ks_answer_json(x, 200, all);
}

void ks_ep_session_delete(struct ks_exchange *x)
{
    struct ks_problem p;
    struct ks_session *one = take(x, x->argument, &p);
    if (!one) {
        ks_answer_problem(x, &p);
        return;
    }
    json_t *gone = json_pack("{s:s,s:s,s:b}", "object", "session.deleted", "id", one->name, "deleted", 1);
    ks_session_remove(x->server, one);
    ks_answer_json(x, 200, gone);
}

/* -------------------------------------------------------------------------------------------------------- making -- */

static json_t *whole(struct ks_generation *g)
{
    json_t *made = own_json(&g->grown);
    json_object_set_new(made, "usage", ks_usage_json(g));
    return made;
}

static const struct ks_dialect dialect = {.whole = whole};

static const char *const known[] = {"name", "messages", "tools", "prompt", NULL};

/* What the session begins with: turns, a text, tokens, or nothing. */
static bool read_beginning(struct ks_generation *g, struct ks_turns *t, const struct ks_fields *f)
{
    kl_text name = {0};
    if (!ks_only(f, known) || !ks_string(f, "name", &name))
        return false;
    if (!name.data)
        return ks_refuse(f->p, 400, "name", NULL, "name is absent, expected a string");
    if (ks_field(f, "messages") && ks_field(f, "prompt"))
        return ks_refuse(f->p, 400, "prompt", NULL, "there are messages and a prompt, expected one of them");
    g->max_new = 0;
    g->without_opening = true;
    g->session = ks_session_make(g->x->server, ks_key_number(&g->x->server->keys, g->x->key), name.data, f->p);
    g->made = g->session != NULL;
    if (!g->session)
        return false;
    if (ks_field(f, "messages"))
        return ks_turns_read(g, t, f);
    return !ks_field(f, "prompt") || ks_read_prompts(g, f, "prompt");
}

void ks_ep_session_make(struct ks_exchange *x)
{
    struct ks_problem p;
    struct ks_turns t = {0};
    struct ks_generation *g = ks_generation_open(x, &dialect, "session-");
    if (!g)
        return;
    struct ks_fields f = {g->body, "", &p};
    bool fine = read_beginning(g, &t, &f);
    ks_turns_close(&t);
    if (fine && g->n_prompt) {
        ks_generate(g);
        return;
    }
    json_t *made = fine ? own_json(g->session) : NULL;
    g->made = !fine;
    ks_leave_session(g);
    if (fine)
        ks_answer_json(x, 200, made);
    else
        ks_answer_problem(x, &p);
}

/* -------------------------------------------------------------------------------------------------------- acting -- */

static void save(struct ks_exchange *x)
{
    struct ks_problem p;
    struct ks_session *one = x->generation;
    bool saved = ks_session_save(x->server, one, &p);
    json_t *said = saved ? own_json(one) : NULL;
    ks_session_give(x->server, one);
    if (saved)
        ks_answer_json(x, 200, said);
    else
        ks_answer_problem(x, &p);
}

static void restore(struct ks_exchange *x)
{
    struct ks_session *one = x->generation;
    int64_t length;
    ks_session_warm(x->server, one, &length);
    json_t *said = own_json(one);
    json_object_set_new(said, "state_tokens", json_integer(length));
    ks_session_give(x->server, one);
    ks_answer_json(x, 200, said);
}

static void forget(void *session)
{
    (void)session; /* the list of sessions has it */
}

/* The rest of it happens on the thread that steps. */
static void send(struct ks_exchange *x, struct ks_session *one, void (*run)(struct ks_exchange *x))
{
    struct ks_problem p;
    x->generation = one;
    x->close_generation = forget;
    if (ks_errand(x, run))
        return;
    ks_session_give(x->server, one);
    ks_refuse(&p, 503, NULL, NULL, x->server->draining ? "the server is being stopped" : "out of memory");
    ks_answer_problem(x, &p);
}

static bool fork_name(kl_text *name, const json_t *body, struct ks_problem *p)
{
    static const char *const fields[] = {"name", NULL};
    struct ks_fields f = {(json_t *)body, "", p};
    if (!ks_only(&f, fields) || !ks_string(&f, "name", name))
        return false;
    return name->data || ks_refuse(p, 400, "name", NULL, "name is absent, expected a string: that of the fork");
}

static void fork_session(struct ks_exchange *x, struct ks_session *one)
{
    struct ks_problem p;
    kl_text name = {0};
    json_t *body = ks_parse(&p, x->body.data, x->body.n), *said = NULL;
    struct ks_session *copy = NULL;
    if (body && fork_name(&name, body, &p))
        copy = ks_session_make(x->server, one->owner, name.data, &p);
    if (copy && ks_session_fork(x->server, copy, one, &p)) {
        said = own_json(copy);
        ks_session_give(x->server, copy);
    } else if (copy)
        ks_session_remove(x->server, copy);
    ks_session_give(x->server, one);
    json_decref(body);
    if (said)
        ks_answer_json(x, 200, said);
    else
        ks_answer_problem(x, &p);
}

/* POST /v1/sessions/NAME/save, /restore, /fork */
void ks_ep_session_act(struct ks_exchange *x)
{
    struct ks_problem p;
    char name[KS_SESSION_NAME + 2];
    const char *slash = strrchr(x->argument, '/'), *what = slash ? slash + 1 : "";
    size_t n = slash ? (size_t)(slash - x->argument) : 0;
    bool known_what = strcmp(what, "save") == 0 || strcmp(what, "restore") == 0 || strcmp(what, "fork") == 0;
    if (!known_what || n >= sizeof name) {
        ks_refuse(&p, 404, NULL, "unknown_url", "expected /v1/sessions/NAME/save, restore or fork");
        ks_answer_problem(x, &p);
        return;
    }
    memcpy(name, x->argument, n);
    name[n] = 0;
    struct ks_session *one = take(x, name, &p);
    if (!one)
        ks_answer_problem(x, &p);
    else if (*what == 'f')
        fork_session(x, one);
    else
        send(x, one, *what == 's' ? save : restore);
}
