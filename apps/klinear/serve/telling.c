/* What jobs say, turned into text, calls and log-probabilities, and told in the words of the dialect. */
#include "telling.h"

#include "traces.h"

#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------------------------------------------------- text -- */

static void show(struct ks_choice *c, kl_text text, json_t *logprobs)
{
    ks_add(&c->content, text.data, text.bytes);
    if (c->g->stream && (text.bytes || logprobs))
        c->g->dialect->text(c, text, logprobs);
}

/* Content on its way past the stop strings.  False: one of them is there. */
static bool pass(struct ks_choice *c, kl_text text, json_t *logprobs)
{
    if (!c->stop) {
        show(c, text, logprobs);
        return true;
    }
    char *out = malloc(text.bytes + kl_stop_held(c->stop) + 1);
    if (!out)
        return false;
    size_t n = kl_stop_put(c->stop, out, text);
    c->stop_found = kl_stop_found(c->stop);
    show(c, (kl_text){out, n}, logprobs);
    free(out);
    return c->stop_found < 0;
}

static void flush(struct ks_choice *c)
{
    char *out = c->stop && c->stop_found < 0 ? malloc(kl_stop_held(c->stop) + 1) : NULL;
    if (!out)
        return;
    size_t n = kl_stop_end(c->stop, out);
    show(c, (kl_text){out, n}, NULL);
    free(out);
}

/* --------------------------------------------------------------------------------------------------------- calls -- */

static bool open_call(struct ks_choice *c)
{
    struct ks_call *more = realloc(c->call, (size_t)(c->n_call + 1) * sizeof *more);
    if (!more)
        return false;
    c->call = more;
    c->call[c->n_call++] = (struct ks_call){0};
    return true;
}

/* False: that is enough. */
static bool take_event(struct ks_choice *c, kl_answer_event event)
{
    struct ks_call *call = c->n_call ? &c->call[c->n_call - 1] : NULL;
    switch (event) {
    case KL_ANSWER_CALL_BEGINS:
        flush(c);
        return open_call(c);
    case KL_ANSWER_ARGUMENTS_BEGIN:
        call->begun = true;
        if (c->g->stream)
            c->g->dialect->call(c, c->n_call - 1);
        return true;
    case KL_ANSWER_CALL_ENDS:
        call->whole = true;
        return !c->g->one_call;
    case KL_ANSWER_FAULT:
        c->faulty = true;
        return false;
    default:
        return true;
    }
}

static bool take_piece(struct ks_choice *c, const char *text, kl_answer_piece piece, json_t *logprobs)
{
    kl_text shown = {text, piece.bytes};
    struct ks_call *call = c->n_call ? &c->call[c->n_call - 1] : NULL;
    bool goes_on = true;
    if (piece.place != KL_ANSWER_CONTENT && logprobs)
        json_array_extend(c->untold, logprobs);
    if (piece.place == KL_ANSWER_CONTENT)
        goes_on = pass(c, shown, logprobs);
    else if (piece.place == KL_ANSWER_CALL_ID && call)
        goes_on = ks_add(&call->id, text, piece.bytes);
    else if (piece.place == KL_ANSWER_ARGUMENTS && call && piece.bytes) {
        goes_on = ks_add(&call->arguments, text, piece.bytes);
        if (c->g->stream)
            c->g->dialect->arguments(c, c->n_call - 1, shown);
    }
    return take_event(c, piece.event) && goes_on;
}

/* -------------------------------------------------------------------------------------------------------- tokens -- */

static bool is_stop(const struct ks_server *s, int32_t id)
{
    for (int i = 0; i < s->n_stop; i++)
        if (s->stop[i] == id)
            return true;
    return false;
}

static kl_answer_piece decode(struct ks_choice *c, char *text, int32_t id)
{
    const kl_tokenizer *t = c->g->x->server->l->tokenizer;
    if (!c->g->raw)
        return kl_answer_put(&c->reader, text, t, id);
    if (is_stop(c->g->x->server, id))
        return (kl_answer_piece){.event = KL_ANSWER_STOPS};
    return (kl_answer_piece){.bytes = kl_decoder_put(&c->reader.decoder, text, t, id)};
}

/* A token of the answer.  False: that is enough. */
static bool take_token(struct ks_choice *c, int32_t id, json_t *logprobs)
{
    char *text = malloc(kl_decoder_room(c->g->x->server->l->tokenizer));
    if (!text)
        return false;
    kl_answer_piece piece = decode(c, text, id);
    bool goes_on = take_piece(c, text, piece, logprobs);
    free(text);
    return goes_on;
}

static bool take_sampled(struct ks_choice *c, const kl_sampled *sampled)
{
    json_t *logprobs = NULL;
    if (c->g->logprobs && !is_stop(c->g->x->server, sampled->id)) {
        json_t *entry = ks_token_json(c->g->x->server, sampled, true);
        logprobs = json_array();
        json_array_append(logprobs, entry);
        json_array_append_new(c->logprobs, entry);
    }
    bool goes_on = take_token(c, sampled->id, logprobs);
    json_decref(logprobs);
    return goes_on;
}

/* ----------------------------------------------------------------------------------------------------------- end -- */

static void name_finish(struct ks_choice *c)
{
    int n_whole = 0;
    for (int i = 0; i < c->n_call; i++)
        n_whole += c->call[i].whole;
    kl_job_end end = c->report.end;
    c->finish = end == KL_JOB_FAILED || end == KL_JOB_CANCELLED ? "error"
                : end == KL_JOB_LENGTH || end == KL_JOB_FULL    ? "length"
                : n_whole > 0                                   ? "tool_calls"
                                                                : "stop";
}

/* A grammar that cannot be followed is the client's, and so is a bias that forbids everything. */
static int status_of(kl_status status)
{
    bool theirs = status == KL_ERR_UNSUPPORTED || status == KL_ERR_ARGUMENT;
    return status == KL_ERR_MEMORY ? 503 : theirs ? 400 : 500;
}

static void refuse_all(struct ks_generation *g, const struct ks_choice *c)
{
    struct ks_problem p;
    if (c->report.end == KL_JOB_CANCELLED)
        ks_refuse(&p, 503, NULL, "stopping", "the server is being stopped");
    else
        ks_refuse(&p, status_of(c->report.error.status), NULL, NULL, "%s", c->report.error.text);
    g->refused = true;
    ks_leave_session(g);
    if (g->stream) {
        ks_stream_json(g->x, g->x->anthropic ? "error" : NULL, ks_problem_json(&p, g->x->anthropic));
        ks_stream_close(g->x);
    } else
        ks_answer_problem(g->x, &p);
    if (g->x->cancel)
        g->x->cancel(g->x);
}

static void finish(struct ks_generation *g)
{
    struct ks_exchange *x = g->x;
    pthread_mutex_lock(&x->lock); /* a client that leaves now is logged by another thread */
    for (int i = 0; i < g->n_prompt * g->n; i++) {
        x->n_new += g->choice[i].report.n_new;
        x->n_cached += i % g->n ? 0 : g->choice[i].report.n_reused;
    }
    pthread_mutex_unlock(&x->lock);
    ks_grow_session(g);
    if (g->stream) {
        g->dialect->finish(g);
        ks_stream_close(x);
    } else
        ks_answer_json(x, 200, g->dialect->whole(g));
}

static void keep_embedding(struct ks_choice *c, const float *mean)
{
    size_t bytes = (size_t)kl_model_config(c->g->x->server->l->model)->n_embd * sizeof *mean;
    c->embedding = malloc(bytes);
    if (c->embedding)
        memcpy(c->embedding, mean, bytes);
}

static void take_end(struct ks_choice *c, const kl_job_event *event)
{
    struct ks_generation *g = c->g;
    char text[8];
    c->report = *event->report;
    c->ended = true;
    name_finish(c);
    if (strcmp(c->finish, "error") == 0) {
        refuse_all(g, c);
        return;
    }
    kl_answer_piece rest =
        g->raw ? (kl_answer_piece){.bytes = kl_decoder_end(&c->reader.decoder, text)} : kl_answer_end(&c->reader, text);
    rest.event = KL_ANSWER_GOES_ON;
    if (rest.bytes && c->stop_found < 0)
        take_piece(c, text, rest, NULL);
    flush(c);
    if (event->embedding)
        keep_embedding(c, event->embedding);
    ks_tell_trace(g, true);
    if (g->stream)
        g->dialect->end(c);
    if (++g->n_ended == g->n_prompt * g->n)
        finish(g);
}

/* The first sign of a choice: what was forced on it counts as its own. */
bool ks_begin_choice(struct ks_choice *c)
{
    if (c->g->stream)
        c->g->dialect->begin(c);
    for (int i = 0; i < c->g->n_forced; i++)
        if (!take_token(c, c->g->forced[i], NULL))
            return false;
    return true;
}

static bool take(struct ks_choice *c, const kl_job_event *event)
{
    if (event->kind == KL_JOB_TOKEN) {
        if (c->g->session && !ks_add(&c->ids, &event->sampled->id, sizeof event->sampled->id))
            return false;
        return take_sampled(c, event->sampled);
    }
    if (event->kind == KL_JOB_PROMPT_TOKEN)
        json_array_append_new(c->prompt_logprobs, ks_token_json(c->g->x->server, event->sampled, true));
    if (event->kind == KL_JOB_ENDS)
        take_end(c, event);
    return true;
}

bool ks_told(void *choice, const kl_job_event *event)
{
    struct ks_choice *c = choice;
    bool goes_on = !c->g->refused && take(c, event);
    if (!c->g->refused && event->kind != KL_JOB_ENDS)
        ks_tell_trace(c->g, false);
    if (event->kind == KL_JOB_ENDS)
        ks_let_go(c->g->x);
    return goes_on;
}
