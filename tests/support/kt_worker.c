#define _GNU_SOURCE
#include "support/kt_worker.h"

#include "base/hash.h"
#include "engine/session_file.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SILENT_SECONDS = 60 };
enum message { NEWS = 1, RESULT = 2 };

/* -------------------------------------------------------------------------------------------------------- pipes -- */

static bool put(int fd, const void *data, size_t bytes)
{
    for (size_t done = 0; done < bytes;) {
        ssize_t n = write(fd, (const char *)data + done, bytes - done);
        if (n < 0 && errno != EINTR)
            return false;
        done += n > 0 ? (size_t)n : 0;
    }
    return true;
}

/* False at the end of the pipe, or when nothing comes for a minute (`patient`: waits for ever).  Seconds are counted,
 * so that it does not matter when both processes are stopped for a while. */
static bool get(int fd, void *data, size_t bytes, bool patient)
{
    int silent = 0;
    for (size_t done = 0; done < bytes;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int ready = poll(&p, 1, 1000);
        silent = ready == 0 ? silent + 1 : 0;
        if ((silent == SILENT_SECONDS && !patient) || (ready < 0 && errno != EINTR))
            return false;
        ssize_t n = ready > 0 ? read(fd, (char *)data + done, bytes - done) : 0;
        if (ready > 0 && n <= 0)
            return false;
        done += (size_t)n;
    }
    return true;
}

/* ---------------------------------------------------------------------------------------------- who gives orders -- */

void kt_worker_start(struct kt_worker *w, const struct kt_life *life)
{
    int to[2], from[2];
    assert_int_equal(pipe2(to, O_CLOEXEC), 0);
    assert_int_equal(pipe2(from, O_CLOEXEC), 0);
    signal(SIGPIPE, SIG_IGN);
    w->pid = fork();
    assert_true(w->pid >= 0);
    if (w->pid == 0) {
        if (dup2(to[0], 0) < 0 || dup2(from[1], 1) < 0)
            _exit(1);
        execl("/proc/self/exe", "kt_worker", "worker", (char *)NULL);
        _exit(1);
    }
    close(to[0]);
    close(from[1]);
    w->to = to[1];
    w->from = from[0];
    assert_true(put(w->to, life, sizeof *life));
}

static void forget(struct kt_worker *w)
{
    close(w->to);
    close(w->from);
    *w = (struct kt_worker){0};
}

static bool send_order(const struct kt_worker *w, const struct kt_order *order, const int32_t *token)
{
    return put(w->to, order, sizeof *order) && put(w->to, token, (size_t)order->r.n_token * sizeof *token);
}

static void died(struct kt_worker *w)
{
    int status = 0;
    kill(w->pid, SIGKILL);
    waitpid(w->pid, &status, 0);
    fail_msg("the process ended or said nothing for a minute (wait status %d)", status);
}

struct kt_result kt_worker_do(struct kt_worker *w, const struct kt_order *order, const int32_t *token,
                              void (*told)(void *user, const struct kt_news *news), void *user)
{
    struct kt_result result = {0};
    struct kt_news news;
    char kind = 0;
    if (!send_order(w, order, token))
        died(w);
    while (kind != RESULT) {
        if (!get(w->from, &kind, 1, false) ||
            !(kind == NEWS ? get(w->from, &news, sizeof news, false) : get(w->from, &result, sizeof result, false)))
            died(w);
        if (kind == NEWS && told)
            told(user, &news);
    }
    return result;
}

void kt_worker_kill(struct kt_worker *w, const struct kt_order *order, unsigned microseconds)
{
    send_order(w, order, NULL);
    usleep(microseconds);
    kill(w->pid, SIGKILL);
    assert_int_equal(waitpid(w->pid, NULL, 0), w->pid);
    forget(w);
}

void kt_worker_end(struct kt_worker *w)
{
    int status = -1;
    kt_worker_do(w, &(struct kt_order){.kind = KT_LEAVE}, NULL, NULL, NULL);
    assert_int_equal(waitpid(w->pid, &status, 0), w->pid);
    assert_int_equal(status, 0);
    forget(w);
}

/* -------------------------------------------------------------------------------------------------------- twins -- */

/* Token i of twin k. */
static int32_t twin_token(const kl_engine *e, int k, int i)
{
    return (int32_t)((17 + 31 * k + 7 * i) % kl_model_config(kl_engine_model(e))->n_vocab);
}

/* Reads one token and adds its logits to the hash. */
static kl_status decode_into(struct kl__hash *h, kl_session *s, int32_t token, float *logits)
{
    kl_status status = kl_decode(s, token, logits, NULL);
    if (status == KL_OK)
        kl__hash_add(h, logits,
                     sizeof *logits * (size_t)kl_model_config(kl_engine_model(kl_session_engine(s)))->n_vocab);
    return status;
}

/* The fault of a fork that copies nothing: both write into the page that the first has begun. */
static void share_last_page(kl_session *copy, const kl_session *s)
{
    int64_t last = s->line.n_page - 1;
    if (s->line.length % KL_PAGE_TOKENS == 0 || last < 0)
        return;
    kl__pages_drop(copy->line.pages, copy->line.page[last]);
    copy->line.page[last] = s->line.page[last];
    kl__pages_share(s->line.pages, s->line.page[last]);
}

static kl_status fork_twins(struct kl__hash *h[3], kl_session *a, int n_decode, bool share_page, float *logits)
{
    kl_session *b = NULL;
    kl_checkpoint *before = NULL;
    kl_status status = kl_checkpoint_take(&before, a, NULL);
    if (status == KL_OK)
        status = kl_session_fork(&b, a, NULL);
    if (status == KL_OK && share_page)
        share_last_page(b, a);
    for (int i = 0; status == KL_OK && i < n_decode; i++) {
        status = decode_into(h[0], a, twin_token(kl_session_engine(a), 0, i), logits);
        if (status == KL_OK)
            status = decode_into(h[1], b, twin_token(kl_session_engine(a), 1, i), logits);
    }
    if (status == KL_OK)
        status = kl_session_resume(a, before, NULL);
    for (int i = 0; status == KL_OK && i < n_decode; i++)
        status = decode_into(h[2], a, twin_token(kl_session_engine(a), 1, i), logits);
    kl_session_close(b);
    kl_checkpoint_drop(before);
    return status;
}

/* Twin k, from its first token on. */
static kl_status read_alone(struct kl__hash *h, kl_engine *e, const int32_t *token, int64_t n, int k, int n_decode,
                            float *logits)
{
    kl_session *s = NULL;
    kl_status status = kl_session_open(&s, e, NULL);
    if (status == KL_OK)
        status = kl_prefill(s, token, n, NULL, NULL, NULL, NULL);
    for (int i = 0; status == KL_OK && i < n_decode; i++)
        status = decode_into(h, s, twin_token(e, k, i), logits);
    kl_session_close(s);
    return status;
}

kl_status kt_twins(struct kt_result *result, kl_engine *e, kl_prefix *prefix, uint64_t space, const int32_t *token,
                   int64_t n, int n_decode, bool share_page)
{
    struct kl__hash *h[3] = {kl__hash_open(), kl__hash_open(), kl__hash_open()};
    float *logits = malloc(sizeof *logits * (size_t)kl_model_config(kl_engine_model(e))->n_vocab);
    kl_session *s = NULL;
    kl_status status = h[0] && h[1] && h[2] && logits ? KL_OK : KL_ERR_MEMORY;
    for (int k = 0; status == KL_OK && !prefix && k < 3; k++)
        status = read_alone(h[k], e, token, n, k != 0, n_decode, logits);
    if (status == KL_OK && prefix) {
        status = kl_session_open(&s, e, NULL);
        if (status == KL_OK)
            status = kl_prefix_prefill(prefix, s, space, token, n, NULL, 0, NULL, &result->prefix, NULL, NULL, NULL);
        if (status == KL_OK)
            status = fork_twins(h, s, n_decode, share_page, logits);
    }
    kl_session_close(s);
    for (int k = 0; k < 3; k++) {
        if (h[k])
            kl__hash_value(h[k], result->hash[k]);
        kl__hash_close(h[k]);
    }
    free(logits);
    return status;
}

/* --------------------------------------------------------------------------------------------------- the process -- */

struct worker {
    struct kt_life life;
    struct kt_engine e;
    kl_prefix *prefix;
    kl_scheduler *s;
    uint64_t job[KT_SLOTS];
    int slot[KT_SLOTS]; /* what the events of a request are told with */
};

static bool tell(void *user, const kl_job_event *event)
{
    struct kt_news news = {.slot = *(int *)user, .ended = event->kind == KL_JOB_ENDS, .report = *event->report};
    if (event->kind != KL_JOB_ENDS && event->kind != KL_JOB_TOKEN)
        return true;
    if (event->kind == KL_JOB_TOKEN)
        news.sampled = *event->sampled;
    if (!put(1, &(char){NEWS}, 1) || !put(1, &news, sizeof news))
        exit(0); /* nobody is there any more */
    return true;
}

static void begin(struct worker *w)
{
    const struct kt_life *life = &w->life;
    kl_engine_options engine = {.max_batch_tokens = life->batch, .cache_bytes = life->pages_bytes};
    kl_prefix_options prefix = {
        .bytes = life->cache_bytes, .folder = life->folder[0] ? life->folder : NULL, .disk_bytes = life->disk_bytes};
    w->e = kt_open_engine(life->model, life->threads, &engine);
    KT_OK(kl_prefix_open(&w->prefix, w->e.engine, &prefix, KT_ERR));
    kl_scheduler_options scheduler = {.prefix = w->prefix, .max_running = life->running, .draft_tokens = life->draft};
    KT_OK(kl_scheduler_open(&w->s, w->e.engine, &scheduler, KT_ERR));
    for (int i = 0; i < KT_SLOTS; i++)
        w->slot[i] = i;
}

static void end(struct worker *w)
{
    kl_scheduler_close(w->s);
    kl_prefix_close(w->prefix);
    assert_int_equal(kl_engine_memory_of(w->e.engine).pages_used, 0);
    kt_close_engine(&w->e);
    kt_free_backends();
}

static kl_status ask(struct worker *w, struct kt_order *o, const int32_t *token, struct kt_result *result)
{
    assert_true(o->slot >= 0 && o->slot < KT_SLOTS);
    o->r.token = token;
    o->r.mark = &o->mark;
    o->r.sampling.bias = &o->bias;
    o->r.tell = tell;
    o->r.user = &w->slot[o->slot];
    kl_status status = kl_scheduler_submit(w->s, &w->job[o->slot], &o->r, &result->error);
    result->value = (int64_t)w->job[o->slot];
    return status;
}

static kl_status carry_out(struct worker *w, struct kt_order *o, const int32_t *token, struct kt_result *result)
{
    bool wrote = false;
    kl_status status = KL_OK;
    switch (o->kind) {
    case KT_ASK:
        return ask(w, o, token, result);
    case KT_CANCEL:
        kl_scheduler_cancel(w->s, w->job[o->slot]);
        return KL_OK;
    case KT_STEP:
        return kl_scheduler_step(w->s, 0, NULL, &result->error);
    case KT_SPILL:
        status = kl_prefix_spill(w->prefix, &wrote, &result->error);
        result->value = wrote;
        return status;
    case KT_CLEAR:
        kl_prefix_clear(w->prefix);
        return KL_OK;
    case KT_TWINS:
        return kt_twins(result, w->e.engine, w->prefix, o->r.space, token, o->r.n_token, o->n_decode, o->share_page);
    case KT_EXPORT:
        return kl_prefix_export(w->prefix, &result->value, o->r.space, token, o->r.n_token, o->path, &result->error);
    case KT_IMPORT:
        return kl_prefix_import(w->prefix, &result->value, o->r.space, o->path, &result->error);
    case KT_LEAVE:
        end(w);
        return KL_OK;
    }
    return KL_ERR_ARGUMENT;
}

int kt_worker_main(void)
{
    struct worker w = {0};
    struct kt_order o = {0};
    if (!get(0, &w.life, sizeof w.life, true))
        return 1;
    begin(&w);
    while (o.kind != KT_LEAVE && get(0, &o, sizeof o, true)) {
        struct kt_result result = {0};
        int32_t *token = malloc((size_t)(o.r.n_token + 1) * sizeof *token);
        if (!token || !get(0, token, (size_t)o.r.n_token * sizeof *token, true))
            return 1;
        result.status = carry_out(&w, &o, token, &result);
        if (o.kind != KT_LEAVE) {
            kl_prefix_state kept = kl_prefix_state_of(w.prefix);
            result.state = kl_scheduler_state_of(w.s);
            result.state.prefix = kept;
        }
        free(token);
        if (!put(1, &(char){RESULT}, 1) || !put(1, &result, sizeof result))
            return 0;
    }
    return 0;
}
