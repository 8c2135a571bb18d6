/* Generations that go on with a session. */
#include "generation.h"

bool ks_read_session(struct ks_generation *g, const struct ks_fields *f)
{
    struct ks_server *s = g->x->server;
    kl_text name = {0};
    if (!ks_string(f, "session", &name))
        return false;
    if (!name.data)
        return true;
    if (g->n != 1)
        return ks_refuse(f->p, 400, "n", NULL, "n is %d, expected 1 with a session", g->n);
    g->session = ks_session_take(s, ks_key_number(&s->keys, g->x->key), name.data, f->p);
    return g->session != NULL;
}

void ks_grow_session(struct ks_generation *g)
{
    struct ks_session *one = g->session;
    if (!one)
        return;
    const struct ks_prompt *prompt = &g->prompt[0];
    const struct ks_bytes *ids = &g->choice[0].ids;
    int64_t before = one->n;
    if (!ks_session_add(one, prompt->token + before, prompt->n - before) ||
        !ks_session_add(one, (const int32_t *)(const void *)ids->data, (int64_t)(ids->n / sizeof(int32_t))))
        one->n = before;
    g->session = NULL;
    g->grown = *one;
    g->grown.token = NULL;
    ks_session_give(g->x->server, one);
}

void ks_leave_session(struct ks_generation *g)
{
    struct ks_session *one = g->session;
    g->session = NULL;
    if (!one)
        return;
    if (g->made)
        ks_session_remove(g->x->server, one);
    else
        ks_session_give(g->x->server, one);
}
