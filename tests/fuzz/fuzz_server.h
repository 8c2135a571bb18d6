/** A server over a small random model, in fuzz targets: everything but threads and HTTP. */
#ifndef FUZZ_SERVER_H
#define FUZZ_SERVER_H

#include "fuzz_model.h"
#include "serve/server.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct ka_loaded fuzz_loaded;

static void fuzz_must(kl_status status)
{
    if (status != KL_OK)
        abort();
}

static void fuzz_open_server(struct ks_server *s, const struct ks_options *options)
{
    char path[] = "/tmp/fuzz_server_XXXXXX";
    struct ka_loaded *l = &fuzz_loaded;
    kl_config config = fuzz_config();
    if (mkstemp(path) < 0)
        abort();
    *s = (struct ks_server){
        .o = options, .l = l, .name = "fuzz", .context = 200, .chats = true, .rendering = KL_TEMPLATE_KIMI};
    fuzz_must(kl_model_init(path, &config, 1, NULL, NULL));
    fuzz_must(kl_backend_open(&l->backend, NULL, NULL));
    fuzz_must(kl_model_open(&l->model, path, &(kl_model_options){.backend = l->backend}, NULL));
    fuzz_must(kl_engine_open(&l->engine, l->model,
                             &(kl_engine_options){.max_batch_tokens = 256, .max_batch_sequences = 4}, NULL));
    fuzz_must(kl_tokenizer_open(&l->tokenizer, path, NULL, NULL));
    fuzz_must(kl_scheduler_open(&s->scheduler, l->engine, NULL, NULL));
    pthread_mutex_init(&s->lock, NULL);
    pthread_mutex_init(&s->keys_lock, NULL);
    pthread_mutex_init(&s->sessions.lock, NULL);
    ks_errands_open(&s->errands);
    s->n_stop = kl_tokenizer_stops(s->stop, l->tokenizer);
    unlink(path);
}

#endif
