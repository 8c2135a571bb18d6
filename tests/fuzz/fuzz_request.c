/* Bytes as the bodies of requests: the first byte chooses the endpoint.  What is accepted is submitted to a scheduler
 * over a small model, takes a few steps and is cancelled.  Every answer has to be JSON, or a stream. */
#include "fuzz_serve.h"
#include "serve/routes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct ks_options options = {.context = 200, .body_bytes = 1 << 20, .queue = 64};
static struct ka_loaded loaded;
static struct ks_server server = {
    .o = &options, .l = &loaded, .name = "fuzz", .context = 200, .chats = true, .rendering = KL_TEMPLATE_KIMI};

static void must(kl_status status)
{
    if (status != KL_OK)
        abort();
}

static void open_server(void)
{
    char path[] = "/tmp/fuzz_request_XXXXXX";
    kl_config config;
    if (mkstemp(path) < 0)
        abort();
    must(kl_config_preset(&config, "tiny", NULL));
    must(kl_model_init(path, &config, 1, NULL, NULL));
    must(kl_backend_open(&loaded.backend, NULL, NULL));
    must(kl_model_open(&loaded.model, path, &(kl_model_options){.backend = loaded.backend}, NULL));
    must(kl_engine_open(&loaded.engine, loaded.model,
                        &(kl_engine_options){.max_batch_tokens = 256, .max_batch_sequences = 4}, NULL));
    must(kl_tokenizer_open(&loaded.tokenizer, path, NULL, NULL));
    must(kl_scheduler_open(&server.scheduler, loaded.engine, NULL, NULL));
    pthread_mutex_init(&server.sessions.lock, NULL);
    ks_errands_open(&server.errands);
    server.n_stop = kl_tokenizer_stops(server.stop, loaded.tokenizer);
    unlink(path);
}

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
    static const char *const path[] = {"/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses",
                                       "/v1/messages",         "/tokenize",       "/detokenize",
                                       "/v1/sessions",         "/v1/sessions/a/fork"};
    if (bytes == 0)
        return 0;
    if (!server.scheduler)
        open_server();
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
