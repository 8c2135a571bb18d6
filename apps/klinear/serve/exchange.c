#include "exchange.h"

#include "../cli/machine.h"
#include "http.h"
#include "routes.h"

#include <stdlib.h>
#include <string.h>

enum { STREAM_LIMIT = 4 << 20 }; /* bytes that wait for a client that does not read */

void ks_hold(struct ks_exchange *x)
{
    pthread_mutex_lock(&x->lock);
    x->references++;
    pthread_mutex_unlock(&x->lock);
}

void ks_let_go(struct ks_exchange *x)
{
    pthread_mutex_lock(&x->lock);
    bool last = --x->references == 0;
    pthread_mutex_unlock(&x->lock);
    if (!last)
        return;
    pthread_mutex_destroy(&x->lock);
    if (x->close_generation)
        x->close_generation(x->generation);
    ks_free(&x->body);
    ks_free(&x->out);
    free(x);
}

/* ------------------------------------------------------------------------------------------------- whole answers -- */

void ks_answer_text(struct ks_exchange *x, int status, const char *type, const char *text, size_t bytes)
{
    pthread_mutex_lock(&x->lock);
    x->out.n = 0;
    x->status = ks_add(&x->out, text, bytes) ? status : 500;
    x->type = type;
    x->state = KS_ANSWERED;
    ks_http_wake(x);
    pthread_mutex_unlock(&x->lock);
}

void ks_answer_json(struct ks_exchange *x, int status, json_t *json)
{
    static const char no_memory[] = "{\"error\": {\"message\": \"out of memory\", \"type\": \"server_error\"}}";
    char *text = json ? json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(15)) : NULL;
    if (text)
        ks_answer_text(x, status, "application/json", text, strlen(text));
    else
        ks_answer_text(x, 500, "application/json", no_memory, sizeof no_memory - 1);
    free(text);
    json_decref(json);
}

void ks_answer_problem(struct ks_exchange *x, const struct ks_problem *p)
{
    x->retry_seconds = p->retry_seconds;
    ks_answer_json(x, p->status, ks_problem_json(p, x->anthropic));
}

/* ------------------------------------------------------------------------------------------------------- streams -- */

void ks_wait(struct ks_exchange *x)
{
    pthread_mutex_lock(&x->lock);
    x->state = KS_WAITING;
    pthread_mutex_unlock(&x->lock);
}

void ks_stream_open(struct ks_exchange *x)
{
    pthread_mutex_lock(&x->lock);
    x->state = KS_STREAMING;
    x->status = 200;
    x->type = "text/event-stream";
    x->spoke = ka_seconds();
    pthread_mutex_unlock(&x->lock);
}

static void put(struct ks_exchange *x, const char *name, const char *data, const char *raw)
{
    pthread_mutex_lock(&x->lock);
    if (x->state != KS_STREAMING) { /* refused after all */
        pthread_mutex_unlock(&x->lock);
        return;
    }
    bool fits = x->out.n < STREAM_LIMIT;
    if (fits && name)
        fits = ks_add_text(&x->out, "event: ") && ks_add_text(&x->out, name) && ks_add_text(&x->out, "\n");
    if (fits && data)
        fits = ks_add_text(&x->out, "data: ") && ks_add_text(&x->out, data) && ks_add_text(&x->out, "\n\n");
    if (fits && raw)
        fits = ks_add_text(&x->out, raw);
    bool drop = !fits && !x->gone;
    x->gone |= !fits;
    x->spoke = ka_seconds();
    ks_http_wake(x);
    pthread_mutex_unlock(&x->lock);
    if (drop && x->cancel)
        x->cancel(x);
}

void ks_stream_json(struct ks_exchange *x, const char *name, json_t *json)
{
    char *text = json ? json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(15)) : NULL;
    if (text)
        put(x, name, text, NULL);
    free(text);
    json_decref(json);
}

void ks_stream_text(struct ks_exchange *x, const char *text)
{
    put(x, NULL, NULL, text);
}

void ks_stream_close(struct ks_exchange *x)
{
    pthread_mutex_lock(&x->lock);
    x->state = KS_STREAMED;
    ks_http_wake(x);
    pthread_mutex_unlock(&x->lock);
}
