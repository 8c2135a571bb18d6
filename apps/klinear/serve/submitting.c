/* A generation on its way to the scheduler. */
#include "telling.h"

#include "routes.h"
#include "traces.h"

#include <stdlib.h>
#include <string.h>

/* Asks its jobs to end; nobody will hear of them any more. */
static void cancel(struct ks_exchange *x)
{
    struct ks_generation *g = x->generation;
    g->refused = true;
    for (int i = 0; i < g->n_prompt * g->n; i++)
        if (g->choice[i].job)
            kl_scheduler_cancel(x->server->scheduler, g->choice[i].job);
}

static bool open_choices(struct ks_generation *g, struct ks_problem *p)
{
    int n = g->n_prompt * g->n;
    if (n > KS_MOST_CHOICES)
        return ks_refuse(p, 400, "n", NULL, "%d prompts with %d choices each are %d answers, expected at most %d",
                         g->n_prompt, g->n, n, KS_MOST_CHOICES);
    g->choice = calloc((size_t)n, sizeof *g->choice);
    if (!g->choice)
        return ks_refuse(p, 503, NULL, NULL, "out of memory");
    for (int i = 0; i < n; i++) {
        struct ks_choice *c = &g->choice[i];
        kl_error err = {0};
        c->g = g;
        c->index = i;
        c->prompt = &g->prompt[i / g->n];
        c->stop_found = -1;
        c->logprobs = g->logprobs ? json_array() : NULL;
        c->untold = g->logprobs ? json_array() : NULL;
        c->prompt_logprobs = g->prompt_logprobs ? json_array() : NULL;
        kl_status status = g->n_stop ? kl_stop_open(&c->stop, g->stop, (size_t)g->n_stop, NULL, &err) : KL_OK;
        if (status != KL_OK)
            return ks_refuse_error(p, "stop", status, &err);
        if (g->grammar)
            status = kl_guide_open(&c->guide, g->grammar, g->x->server->lexicon, &g->guided, NULL, &err);
        if (status != KL_OK)
            return ks_refuse(p, status == KL_ERR_MEMORY ? 503 : 400, NULL, "invalid_grammar", "%s", err.text);
    }
    return true;
}

static kl_request request_of(const struct ks_generation *g, struct ks_choice *c)
{
    const struct ks_server *s = g->x->server;
    uint64_t key = ks_key_number(&s->keys, g->x->key);
    int64_t room = s->context - c->prompt->n;
    return (kl_request){
        .token = c->prompt->token,
        .n_token = c->prompt->n,
        .mark = c->prompt->mark,
        .n_mark = c->prompt->n_mark,
        .client = key,
        .space = s->o->separate ? key : 0,
        .sampling = g->sampling,
        .seed = g->seed + (uint64_t)(c->index % g->n) * 0x9e3779b97f4a7c15,
        .max_new = g->max_new < 0 || g->max_new > room ? room : g->max_new,
        .stop = s->stop,
        .n_stop = s->n_stop,
        .guide = c->guide,
        .prompt_logprobs = g->prompt_logprobs,
        .embed = g->embed,
        .trace = g->trace,
        .afresh = g->afresh,
        .tell = ks_told,
        .user = c,
    };
}

static bool submit(struct ks_generation *g, struct ks_choice *c, struct ks_problem *p)
{
    struct ks_server *s = g->x->server;
    kl_request r = request_of(g, c);
    kl_error err = {0};
    uint64_t job = 0;
    ks_hold(g->x);
    kl_status status = kl_scheduler_submit(s->scheduler, &job, &r, &err);
    if (status == KL_OK && job) {
        c->job = job;
        return true;
    }
    ks_let_go(g->x);
    if (status != KL_OK)
        return ks_refuse_error(p, NULL, status, &err);
    s->n_busy++;
    ks_refuse(p, 503, NULL, "overloaded", "%lld requests are waiting, which is the limit; try again",
              (long long)s->o->queue);
    p->retry_seconds = 1;
    return false;
}

/* What the client sees first. */
static void open_answer(struct ks_generation *g)
{
    if (g->stream)
        ks_stream_open(g->x);
    else
        ks_wait(g->x);
    for (int i = 0; i < g->n_prompt * g->n; i++)
        ks_begin_choice(&g->choice[i]);
}

/* A stream that HTTP may already be sending cannot be refused any more.  A thread of HTTP sends nothing before it
 * returns from here, so it opens the stream first, as events may come at once; to the thread that steps none come while
 * it is here, so it opens the stream last. */
static bool submit_all(struct ks_generation *g, struct ks_problem *p)
{
    int n = g->n_prompt * g->n;
    if (!open_choices(g, p) || !ks_open_trace(g, p))
        return false;
    pthread_mutex_lock(&g->x->lock);
    g->x->cancel = cancel;
    pthread_mutex_unlock(&g->x->lock);
    if (!g->stepping)
        open_answer(g);
    if (g->x->server->draining) /* who stops the server waits for answers that were opened before it said so */
        return ks_refuse(p, 503, NULL, "stopping", "the server is being stopped");
    for (int i = 0; i < n; i++)
        if (!submit(g, &g->choice[i], p))
            return false;
    if (g->stepping)
        open_answer(g);
    return true;
}

/* On the thread that steps: the session's state comes from disk first. */
static void generate_warm(struct ks_exchange *x)
{
    struct ks_generation *g = x->generation;
    int64_t length;
    ks_session_warm(x->server, g->session, &length);
    g->stepping = true;
    ks_generate(g);
    pthread_mutex_lock(&x->lock);
    bool gone = x->gone;
    pthread_mutex_unlock(&x->lock);
    if (gone && x->cancel)
        x->cancel(x);
}

void ks_generate(struct ks_generation *g)
{
    struct ks_problem p;
    if (g->session && g->session->cold && ks_errand(g->x, generate_warm))
        return;
    int64_t n_prompt = 0;
    for (int i = 0; i < g->n_prompt; i++)
        n_prompt += g->prompt[i].n;
    pthread_mutex_lock(&g->x->lock);
    g->x->n_prompt = n_prompt;
    pthread_mutex_unlock(&g->x->lock);
    if (submit_all(g, &p))
        return;
    if (g->x->cancel)
        g->x->cancel(g->x);
    ks_leave_session(g);
    ks_answer_problem(g->x, &p);
}
