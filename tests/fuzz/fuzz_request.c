/* Bytes as the bodies of requests: the first byte chooses the endpoint.  What is accepted is submitted to a scheduler
 * over a small model, takes a few steps and is cancelled.  Every answer has to be JSON, or a stream. */
#include "fuzz_serve.h"
#include "fuzz_server.h"
#include "serve/routes.h"

static struct ks_options options = {.context = 200, .body_bytes = 1 << 20, .queue = 64};
static struct ks_server server;

static void check_answer(struct ks_exchange *x)
{
    if (x->state == KS_READING || x->state == KS_WAITING || x->state == KS_STREAMING)
        abort(); /* every job has ended */
    if (x->state != KS_ANSWERED)
        return;
    json_t *answer = json_loadb(x->out.data, x->out.n, JSON_ALLOW_NUL, NULL); /* models write such characters */
    if (!answer || (x->status != 200 && !json_object_get(answer, "error")))
        abort();
    json_decref(answer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static const char *const path[] = {"/v1/chat/completions", "/v1/completions", "/v1/embeddings",
                                       "/v1/responses",        "/v1/messages",    "/tokenize",
                                       "/detokenize",          "/v1/sessions",    "/v1/sessions/a/fork"};
    if (bytes == 0)
        return 0;
    if (!server.scheduler)
        fuzz_open_server(&server, &options);
    struct ks_exchange *x = calloc(1, sizeof *x);
    bool known;
    if (!x)
        abort();
    pthread_mutex_init(&x->lock, NULL);
    x->server = &server;
    x->references = 1;
    x->key = -1;
    x->route = ks_route_of("POST", path[*data % 9], &x->argument, &known);
    x->anthropic = x->route->anthropic;
    ks_add(&x->body, data + 1, bytes - 1);
    x->route->answer(x);
    ks_errands_run(&server.errands);
    for (int i = 0; i < 4; i++)
        kl_scheduler_step(server.scheduler, 0, NULL, NULL);
    kl_scheduler_cancel_all(server.scheduler);
    while (kl_scheduler_jobs(server.scheduler, NULL, 0) > 0)
        kl_scheduler_step(server.scheduler, 0, NULL, NULL);
    check_answer(x);
    ks_let_go(x);
    return 0;
}
