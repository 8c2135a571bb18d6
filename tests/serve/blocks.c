/* The blocks of a stream of /v1/messages, where what the model writes is chosen: a text behind calls has a block of its
 * own.  Models with random weights hardly ever write one there. */
#include "serve/generation.h"
#include "serve/routes.h"

#include "support/kt.h"

#include <stdlib.h>
#include <string.h>

/* What is behind the last "index": of the event that has `what` the first time. */
static int index_of(const char *events, const char *what)
{
    const char *at = strstr(events, what), *line = at, *index;
    assert_non_null(at);
    while (line > events && line[-1] != '\n')
        line--;
    index = strstr(line, "\"index\":");
    assert_non_null(index);
    const char *digits = index + strlen("\"index\":");
    char *end;
    long found = strtol(digits, &end, 10);
    assert_true(end > digits);
    return (int)found;
}

static void text_behind_a_call(void **state)
{
    (void)state;
    struct ks_options options = {0};
    struct ks_server server = {.o = &options, .name = "m"};
    struct ks_exchange *x = calloc(1, sizeof *x);
    pthread_mutex_init(&x->lock, NULL);
    x->server = &server;
    x->references = 1;
    assert_true(ks_add_text(&x->body, "{\"unknown\":0}"));
    ks_ep_messages(x); /* is refused, and leaves the generation with its dialect */
    assert_int_equal(x->state, KS_ANSWERED);
    struct ks_generation *g = x->generation;
    struct ks_prompt prompt = {.n = 1};
    struct ks_call call = {0};
    struct ks_choice c = {.g = g, .prompt = &prompt, .call = &call, .n_call = 1, .stop_found = -1, .finish = "stop"};
    assert_true(ks_add_text(&call.id, "functions.f:0"));
    x->out.n = 0;
    x->state = KS_STREAMING;
    g->dialect->text(&c, kl_text_of("first"), NULL);
    g->dialect->call(&c, 0);
    g->dialect->arguments(&c, 0, kl_text_of("{}"));
    g->dialect->text(&c, kl_text_of("second"), NULL);
    g->dialect->text(&c, kl_text_of("third"), NULL);
    g->dialect->end(&c);
    assert_true(ks_add(&x->out, "", 1));
    const char *events = x->out.data;
    assert_int_equal(index_of(events, "first"), 0);
    assert_int_equal(index_of(events, "input_json_delta"), 1);
    assert_int_equal(index_of(events, "second"), 2);
    assert_int_equal(index_of(events, "third"), 2);
    int n_start = 0, n_stop = 0;
    for (const char *at = events; (at = strstr(at, "event: content_block_start")); at++)
        n_start++;
    for (const char *at = events; (at = strstr(at, "event: content_block_stop")); at++)
        n_stop++;
    assert_int_equal(n_start, 3);
    assert_int_equal(n_stop, 3);
    ks_free(&call.id);
    ks_let_go(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(text_behind_a_call)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
