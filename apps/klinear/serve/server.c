#include "server.h"

#include "../cli/interrupt.h"
#include "../cli/machine.h"
#include "../talk/rendering.h"
#include "base/error.h"
#include "base/str.h"
#include "http.h"
#include "log.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

/* ------------------------------------------------------------------------------------------------------- opening -- */

/* The name that the file gives itself, or that of the file. */
static void name_model(struct ks_server *s)
{
    kl_text own = kl_model_name(s->l->model);
    const char *slash = strrchr(s->l->path, '/'), *file = slash && slash[1] ? slash + 1 : s->l->path;
    if (s->o->name)
        snprintf(s->name, sizeof s->name, "%s", s->o->name);
    else if (own.bytes && own.bytes < sizeof s->name && kl__utf8_valid((struct kl__str){own.data, own.bytes}))
        snprintf(s->name, sizeof s->name, "%.*s", (int)own.bytes, own.data);
    else
        snprintf(s->name, sizeof s->name, "%.*s", (int)sizeof s->name - 1, file);
    char *dot = strrchr(s->name, '.');
    if (!s->o->name && dot && dot != s->name && strcmp(dot, ".gguf") == 0)
        *dot = 0;
}

static void know_model(struct ks_server *s)
{
    kl_engine_memory memory = kl_engine_memory_of(s->l->engine);
    int64_t made_for = kl_model_config(s->l->model)->n_context;
    int64_t fits = memory.page_bytes ? memory.pages_most * KL_PAGE_TOKENS : INT64_MAX;
    s->context = s->o->context ? s->o->context : made_for > 0 ? made_for : 32768;
    s->context = s->context < fits ? s->context : fits;
    s->n_stop = kl_tokenizer_stops(s->stop, s->l->tokenizer);
    s->chats = ka_rendering_of(&s->rendering, s->o->template, s->l->tokenizer, &s->no_chat) == KL_OK;
    s->started = (int64_t)time(NULL);
    name_model(s);
}

static kl_status open_scheduler(struct ks_server *s, kl_error *err)
{
    const struct ks_options *o = s->o;
    if (o->cache >= 0)
        KL_TRY(kl_prefix_open(&s->prefix, s->l->engine,
                              &(kl_prefix_options){.bytes = o->cache, .folder = o->folder, .disk_bytes = o->disk},
                              err));
    kl_scheduler_options options = {
        .max_running = (int)o->sequences,
        .max_waiting = (int)o->queue,
        .max_waiting_user = (int)o->queue_user,
        .piece_tokens = (int)o->piece,
        .draft_tokens = (int)o->draft,
        .prefix = s->prefix,
    };
    return kl_scheduler_open(&s->scheduler, s->l->engine, &options, err);
}

/* Idle connections take a descriptor each. */
static void raise_descriptors(const struct ks_options *o)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    rlim_t wanted = (rlim_t)o->connections + 256;
    if (limit.rlim_cur < wanted) {
        limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* ------------------------------------------------------------------------------------------------------- running -- */

/* One file of the prefix cache; false: there is nothing to write, or it cannot be written. */
static bool spill(struct ks_server *s)
{
    bool wrote = false;
    if (s->prefix && kl_prefix_spill(s->prefix, &wrote, NULL) != KL_OK)
        ks_log_event(s, "the prefix cache cannot be written to its folder", NULL, 0);
    return wrote;
}

static void *step(void *user)
{
    struct ks_server *s = user;
    while (!s->stopping) {
        bool busy;
        ks_errands_run(&s->errands);
        if (kl_scheduler_step(s->scheduler, 0.5, &busy, NULL) != KL_OK)
            ks_log_event(s, "a step failed", NULL, 0);
        if (!busy && !s->stopping && kl_scheduler_jobs(s->scheduler, NULL, 0) == 0)
            spill(s);
    }
    return NULL;
}

static void sleep_a_tick(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
}

/* No new requests; those that are there get their answers, as long as time is left. */
static void drain(struct ks_server *s)
{
    double until = ka_seconds() + (double)s->o->drain_seconds;
    s->draining = true;
    ks_http_quiesce(s);
    ks_log_event(s, "stopping", "requests", ks_http_open_exchanges(s));
    while (ks_http_open_exchanges(s) > 0 && ka_seconds() < until) {
        ks_http_tick(s);
        sleep_a_tick();
    }
    kl_scheduler_cancel_all(s->scheduler);
    while (kl_scheduler_jobs(s->scheduler, NULL, 0) > 0)
        sleep_a_tick();
    sleep_a_tick(); /* last answers leave */
}

/* Signals are for the thread that began everything. */
static kl_status start_stepping(struct ks_server *s, kl_error *err)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = pthread_create(&s->stepper, NULL, step, s) == 0;
    kl_status status = started ? ks_http_open(s, err) : kl__fail(err, KL_ERR_IO, "no thread can be started");
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (started && status != KL_OK) {
        s->stopping = true;
        kl_scheduler_wake(s->scheduler);
        pthread_join(s->stepper, NULL);
    }
    return status;
}

static kl_status run(struct ks_server *s, kl_error *err)
{
    KL_TRY(open_scheduler(s, err));
    KL_TRY(kl_lexicon_open(&s->lexicon, s->l->tokenizer, NULL, err));
    KL_TRY(start_stepping(s, err));
    printf("http%s://%s:%d\n", s->o->tls_cert ? "s" : "", strchr(s->o->host, ':') ? "[::1]" : s->o->host, s->port);
    fflush(stdout);
    ks_log_event(s, "serving", "port", s->port);
    if (!s->loopback && !s->keys.n)
        ks_log_event(s, "WARNING: whoever reaches this address may use the server: there are no keys", NULL, 0);
    while (!ka_interrupted()) {
        ks_http_tick(s);
        sleep_a_tick();
    }
    drain(s);
    s->stopping = true;
    kl_scheduler_wake(s->scheduler);
    pthread_join(s->stepper, NULL);
    ks_errands_stop(&s->errands); /* HTTP ends the process when it is closed while somebody is suspended */
    ks_http_close(s);
    ks_sessions_save_all(s);
    for (double until = ka_seconds() + (double)s->o->drain_seconds; ka_seconds() < until && spill(s);)
        ;
    ks_log_event(s, "stopped", NULL, 0);
    return KL_OK;
}

kl_status ks_serve(struct ka_loaded *l, const struct ks_options *o, kl_error *err)
{
    struct ks_server s = {.o = o, .l = l};
    if (o->keys)
        KL_TRY(ks_keys_read(&s.keys, o->keys, err));
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is an error like others */
    raise_descriptors(o);
    know_model(&s);
    ks_errands_open(&s.errands);
    pthread_mutex_init(&s.lock, NULL);
    pthread_mutex_init(&s.keys_lock, NULL);
    kl_status status = ks_sessions_open(&s, err);
    if (status == KL_OK)
        status = run(&s, err);
    kl_scheduler_close(s.scheduler);
    kl_prefix_close(s.prefix);
    kl_lexicon_close(s.lexicon);
    ks_errands_close(&s.errands);
    ks_sessions_close(&s);
    ks_keys_free(&s.keys);
    pthread_mutex_destroy(&s.lock);
    pthread_mutex_destroy(&s.keys_lock);
    return status;
}
