#include "log.h"

#include "../cli/machine.h"
#include "routes.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static json_t *now_json(void)
{
    struct timespec now;
    struct tm tm;
    char text[40];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    size_t n = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(text + n, sizeof text - n, ".%03dZ", (int)(now.tv_nsec / 1000000));
    return json_string(text);
}

static void write_line(json_t *line)
{
    char *text = line ? json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(15)) : NULL;
    if (text)
        fprintf(stderr, "%s\n", text);
    free(text);
    json_decref(line);
}

void ks_log_event(const struct ks_server *s, const char *event, const char *name, int64_t number)
{
    if (s->o->log == KS_LOG_OFF)
        return;
    json_t *line = json_pack("{s:o,s:s}", "time", now_json(), "event", event);
    if (line && name)
        json_object_set_new(line, name, json_integer(number));
    write_line(line);
}

void ks_log_prompt(const struct ks_exchange *x, kl_text body)
{
    if (x->server->o->log != KS_LOG_PROMPTS)
        return;
    write_line(json_pack("{s:o,s:s,s:s%}", "time", now_json(), "event", "body", "body", body.data, body.bytes));
}

void ks_log_exchange(struct ks_exchange *x, bool left)
{
    if (x->server->o->log == KS_LOG_OFF)
        return;
    pthread_mutex_lock(&x->lock);
    int status = x->status;
    int64_t n_prompt = x->n_prompt, n_cached = x->n_cached, n_new = x->n_new;
    pthread_mutex_unlock(&x->lock);
    json_t *line = json_pack("{s:o,s:s,s:s,s:s,s:i,s:f}", "time", now_json(), "event", "request", "method",
                             x->route ? x->route->method : "?", "path", x->route ? x->route->path : "?", "status",
                             status, "ms", floor(1e4 * (ka_seconds() - x->began)) / 10);
    if (line && x->key >= 0)
        json_object_set_new(line, "key", json_string(x->server->keys.key[x->key].name));
    if (line && n_prompt) {
        json_object_set_new(line, "prompt_tokens", json_integer(n_prompt));
        json_object_set_new(line, "cached_tokens", json_integer(n_cached));
        json_object_set_new(line, "completion_tokens", json_integer(n_new));
    }
    if (line && left)
        json_object_set_new(line, "left", json_true());
    write_line(line);
}
