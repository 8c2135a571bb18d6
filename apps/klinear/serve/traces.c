#define _GNU_SOURCE
#include "traces.h"

#include "../cli/machine.h"
#include "../talk/tracing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TRACE_TOKENS = 4096 };                     /* told one by one */
static const double SECONDS_BETWEEN_CHUNKS = 0.2; /* more would only be looked past */

bool ks_read_trace(struct ks_generation *g, const struct ks_fields *f)
{
    kl_text how = {0};
    if (!ks_string(f, "trace", &how))
        return false;
    if (!how.data)
        return true;
    if (strcmp(how.data, "new") != 0 && strcmp(how.data, "all") != 0)
        return ks_refuse(f->p, 400, "trace", NULL, "trace is \"%.40s\", expected new or all", how.data);
    if (!g->stream)
        return ks_refuse(f->p, 400, "trace", NULL, "trace is \"%s\" without a stream, expected stream to be true",
                         how.data);
    g->traced = true;
    g->afresh = strcmp(how.data, "all") == 0;
    return true;
}

bool ks_open_trace(struct ks_generation *g, struct ks_problem *p)
{
    kl_error err = {0};
    if (!g->traced)
        return true;
    if (g->n_prompt * g->n != 1)
        return ks_refuse(p, 400, "trace", NULL, "there are %d answers, expected one with trace", g->n_prompt * g->n);
    kl_trace_options options = {.max_tokens = TRACE_TOKENS};
    kl_status status = kl_trace_open(&g->trace, g->x->server->l->model, &options, &err);
    return status == KL_OK || ks_refuse_error(p, "trace", status, &err);
}

/* One line of an event stream; empty without memory. */
static void write_chunk(FILE *out, const struct ks_generation *g, bool done)
{
    struct ka_json j = {.out = out, .compact = true, .digits = 4};
    fputs("data: ", out);
    ka_json_open(&j, NULL, '{');
    ka_json_text(&j, "id", g->id.text);
    ka_json_text(&j, "object", "klinear.trace");
    ka_json_flag(&j, "done", done);
    ka_json_open(&j, "choices", '['); /* clients look for it in every chunk */
    ka_json_close(&j, ']');
    ka_json_open(&j, "trace", '{');
    ka_trace_json(&j, g->trace, g->x->server->l,
                  (struct ka_trace_view){g->trace_first, done, g->prompt->token, g->prompt->n});
    ka_json_close(&j, '}');
    ka_json_close(&j, '}');
    fputs("\n\n", out);
}

void ks_tell_trace(struct ks_generation *g, bool done)
{
    double now = ka_seconds();
    if (!g->trace || kl_trace_end(g->trace) == 0 || (!done && now - g->trace_told < SECONDS_BETWEEN_CHUNKS))
        return;
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    if (!out)
        return;
    write_chunk(out, g, done);
    if (fclose(out) == 0) {
        ks_stream_text(g->x, text);
        g->trace_first = kl_trace_end(g->trace);
        g->trace_told = now;
    }
    free(text);
}
