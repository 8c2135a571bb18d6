/* A scheduler's handle: taking requests in, cancelling, asking. */
#include "engine/draft.h"

#include "base/error.h"

#include <string.h>
#include <time.h>

enum {
    MOST_WAITING = 1 << 20,
    WAITING = 256,
    PIECE_TOKENS = 256,
    FIRST_CLIENTS = 16,
};

double kl__now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

const char *kl_reuse_name(kl_reuse reuse)
{
    static const char *const name[] = {
        [KL_REUSE_OFF] = "off",
        [KL_REUSE_NOTHING] = "nothing",
        [KL_REUSE_CHECKPOINT] = "checkpoint",
        [KL_REUSE_ALL] = "all",
    };
    return (unsigned)reuse <= KL_REUSE_ALL ? name[reuse] : "?";
}

const char *kl_job_end_name(kl_job_end end)
{
    static const char *const name[] = {
        [KL_JOB_RUNS] = "runs",           [KL_JOB_STOPPED] = "stopped", [KL_JOB_LENGTH] = "length",
        [KL_JOB_SATISFIED] = "satisfied", [KL_JOB_FULL] = "full",       [KL_JOB_CANCELLED] = "cancelled",
        [KL_JOB_FAILED] = "failed",
    };
    return (unsigned)end <= KL_JOB_FAILED ? name[end] : "?";
}

/* ------------------------------------------------------------------------------------------------------- opening -- */

static kl_status set_options(kl_scheduler *s, const kl_scheduler_options *o, kl_error *err)
{
    const kl_engine *e = s->engine;
    int most = e->max_token - KL_PAGE_TOKENS; /* a step has room for a piece of a prompt, whoever is being written */
    most = most < 1 ? 1 : most < e->max_span ? most : e->max_span;
    s->max_running = o && o->max_running ? o->max_running : most;
    s->max_waiting = o && o->max_waiting ? o->max_waiting : WAITING;
    s->max_waiting_user = o && o->max_waiting_user ? o->max_waiting_user : s->max_waiting;
    s->piece_tokens = o && o->piece_tokens ? o->piece_tokens : PIECE_TOKENS;
    s->prefix = o ? o->prefix : NULL;
    s->draft_tokens = o ? o->draft_tokens : 0;
    if (s->draft_tokens < 0 || s->draft_tokens > KL__DRAFT_MOST)
        return kl__fail(err, KL_ERR_ARGUMENT, "draft_tokens is %d, expected 0 .. %d", s->draft_tokens, KL__DRAFT_MOST);
    if (s->max_running < 1 || s->max_running > most)
        return kl__fail(err, KL_ERR_ARGUMENT, "max_running is %d, expected 1 .. %d, which a step of the engine takes",
                        s->max_running, most);
    if (s->max_waiting < 1 || s->max_waiting > MOST_WAITING || s->max_waiting_user < 1)
        return kl__fail(err, KL_ERR_ARGUMENT, "max_waiting is %d and max_waiting_user %d, expected 1 .. %d",
                        s->max_waiting, s->max_waiting_user, MOST_WAITING);
    if (s->piece_tokens < 1)
        return kl__fail(err, KL_ERR_ARGUMENT, "piece_tokens is %d, expected at least 1", s->piece_tokens);
    if (s->prefix && s->prefix->engine != e)
        return kl__fail(err, KL_ERR_ARGUMENT, "kl_scheduler_open: the prefix cache is of another engine");
    int pieces = s->piece_tokens / KL_PAGE_TOKENS + (s->piece_tokens % KL_PAGE_TOKENS != 0);
    s->piece_tokens = pieces > e->max_token / KL_PAGE_TOKENS ? e->max_token : pieces * KL_PAGE_TOKENS;
    s->most_tokens = e->pages.page_bytes ? (int64_t)e->pages.n_page * KL_PAGE_TOKENS : INT64_MAX;
    return KL_OK;
}

static kl_status take_memory(kl_scheduler *s, kl_error *err)
{
    size_t n = (size_t)s->max_running, n_vocab = (size_t)s->engine->model->net.c.n_vocab;
    s->running = kl__alloc(s->alloc, n * sizeof *s->running);
    s->span = kl__alloc(s->alloc, n * sizeof *s->span);
    s->owner = kl__alloc(s->alloc, n * sizeof *s->owner);
    s->logits = kl__alloc(s->alloc, n * n_vocab * sizeof *s->logits);
    s->client = kl__alloc(s->alloc, FIRST_CLIENTS * sizeof *s->client);
    s->n_client_room = FIRST_CLIENTS;
    if (s->draft_tokens)
        s->draft_logits = kl__alloc(s->alloc, (n + KL__DRAFT_ROWS) * n_vocab * sizeof *s->draft_logits);
    if ((s->draft_tokens && !s->draft_logits) || !s->running || !s->span || !s->owner || !s->logits || !s->client)
        return kl__fail(err, KL_ERR_MEMORY, "no memory for a scheduler of %d requests", s->max_running);
    return kl_sampler_open(&s->sampler, (int32_t)n_vocab, s->alloc, err);
}

static void release(kl_scheduler *s)
{
    kl_sampler_close(s->sampler);
    kl__release(s->alloc, s->running);
    kl__release(s->alloc, s->span);
    kl__release(s->alloc, s->owner);
    kl__release(s->alloc, s->logits);
    kl__release(s->alloc, s->client);
    kl__release(s->alloc, s->draft_logits);
    kl__release(s->alloc, s->prompt_logits);
    kl__release(s->alloc, s->hidden);
    kl__release(s->alloc, s->mean);
    kl__release(s->alloc, s);
}

kl_status kl_scheduler_open(kl_scheduler **scheduler, kl_engine *e, const kl_scheduler_options *options, kl_error *err)
{
    if (!scheduler || !e)
        return kl__fail(err, KL_ERR_ARGUMENT, "kl_scheduler_open: %s is NULL, expected a pointer",
                        scheduler ? "engine" : "scheduler");
    kl_scheduler *s = kl__alloc(e->alloc, sizeof *s);
    if (!s)
        return kl__fail(err, KL_ERR_MEMORY, "no memory for a scheduler");
    s->engine = e;
    s->alloc = e->alloc;
    s->last = &s->first;
    s->next_number = 1;
    kl_status status = set_options(s, options, err);
    if (status == KL_OK)
        status = take_memory(s, err);
    if (status != KL_OK) {
        release(s);
        return status;
    }
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&s->wake, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&s->lock, NULL);
    s->total.max_running = s->max_running;
    s->total.max_waiting = s->max_waiting;
    s->total.memory = kl_engine_memory_of(e);
    *scheduler = s;
    return KL_OK;
}

void kl_scheduler_close(kl_scheduler *s)
{
    if (!s)
        return;
    while (s->first) {
        kl_scheduler_cancel_all(s);
        kl_scheduler_step(s, 0, NULL, NULL);
    }
    pthread_cond_destroy(&s->wake);
    pthread_mutex_destroy(&s->lock);
    release(s);
}

/* ------------------------------------------------------------------------------------------------------- clients -- */

struct kl__client *kl__client_of(const kl_scheduler *s, uint64_t client)
{
    for (int i = 0; i < s->n_client; i++)
        if (s->client[i].client == client)
            return &s->client[i];
    return NULL;
}

/* The entry of `client`, made when there is none: whoever comes starts level with the least served. */
static struct kl__client *enter_client(kl_scheduler *s, uint64_t client)
{
    struct kl__client *c = kl__client_of(s, client);
    if (c)
        return c;
    if (s->n_client == s->n_client_room) {
        struct kl__client *more = kl__alloc(s->alloc, 2 * (size_t)s->n_client_room * sizeof *more);
        if (!more)
            return NULL;
        memcpy(more, s->client, (size_t)s->n_client * sizeof *more);
        kl__release(s->alloc, s->client);
        s->client = more;
        s->n_client_room *= 2;
    }
    int64_t least = s->n_client ? s->client[0].served : 0;
    for (int i = 1; i < s->n_client; i++)
        least = s->client[i].served < least ? s->client[i].served : least;
    s->client[s->n_client] = (struct kl__client){.client = client, .served = least};
    return &s->client[s->n_client++];
}

/* ------------------------------------------------------------------------------------------------------ requests -- */

static kl_status check_tokens(const kl_scheduler *s, const kl_request *r, kl_error *err)
{
    int32_t n_vocab = (int32_t)s->engine->model->net.c.n_vocab;
    if (r->n_token < 1 || !r->token)
        return kl__fail(err, KL_ERR_ARGUMENT, "the prompt has %lld tokens, expected at least one",
                        (long long)r->n_token);
    if (r->n_token > s->most_tokens - (r->max_new > 0))
        return kl__fail(err, KL_ERR_ARGUMENT,
                        "the prompt has %lld tokens, expected at most %lld, which the cache holds",
                        (long long)r->n_token, (long long)s->most_tokens - (r->max_new > 0));
    for (int64_t i = 0; i < r->n_token; i++)
        if (r->token[i] < 0 || r->token[i] >= n_vocab)
            return kl__fail(err, KL_ERR_ARGUMENT, "token %lld of the prompt is %d, expected 0 .. %d", (long long)i,
                            (int)r->token[i], (int)n_vocab - 1);
    return KL_OK;
}

static kl_status check(const kl_scheduler *s, const kl_request *r, kl_error *err)
{
    if (!r->tell)
        return kl__fail(err, KL_ERR_ARGUMENT, "kl_scheduler_submit: tell is NULL, expected a function");
    if (r->n_mark < 0 || r->n_mark > KL_JOB_MARKS || r->n_stop < 0 || r->n_stop > KL_JOB_STOPS)
        return kl__fail(err, KL_ERR_ARGUMENT, "there are %d marks and %d stop tokens, expected at most %d and %d",
                        r->n_mark, r->n_stop, KL_JOB_MARKS, KL_JOB_STOPS);
    if (r->max_new < 0 || (r->embed && (r->max_new || r->prompt_logprobs)))
        return kl__fail(err, KL_ERR_ARGUMENT, "max_new is %lld, expected %s", (long long)r->max_new,
                        r->max_new < 0 ? "at least 0" : "0 and no logprobs with an embedding");
    KL_TRY(check_tokens(s, r, err));
    return kl_sampling_check(&r->sampling, (int32_t)s->engine->model->net.c.n_vocab, err);
}

void kl__job_free(kl_scheduler *s, struct kl__job *job)
{
    kl_session_close(job->session);
    kl__release(s->alloc, job->drafting.before);
    kl__release(s->alloc, job->token);
    kl__release(s->alloc, job->bias);
    kl__release(s->alloc, job->sum);
    kl__release(s->alloc, job);
}

/* Settings of the request, without what takes memory. */
static void copy_settings(struct kl__job *job, const kl_request *r)
{
    job->client = r->client;
    job->space = r->space;
    job->n_token = job->n_prompt = r->n_token;
    job->n_mark = job->n_request_mark = r->n_mark;
    job->max_new = r->max_new;
    job->n_stop = r->n_stop;
    job->sampling = r->sampling;
    job->state = (kl_sampler_state){r->seed, 0};
    job->guide = r->guide;
    job->prompt_logprobs = r->prompt_logprobs;
    job->embed = r->embed;
    job->trace = r->trace;
    job->afresh = r->afresh;
    job->tell = r->tell;
    job->user = r->user;
    job->came = kl__now();
    job->report.n_prompt = r->n_token;
    for (int i = 0; i < r->n_mark; i++)
        job->mark[i] = r->mark[i];
    for (int i = 0; i < r->n_stop; i++)
        job->stop[i] = r->stop[i];
}

static struct kl__job *job_of(kl_scheduler *s, const kl_request *r)
{
    struct kl__job *job = kl__alloc(s->alloc, sizeof *job);
    if (!job)
        return NULL;
    copy_settings(job, r);
    int64_t some = r->max_new < 256 ? r->max_new : 256;
    job->n_token_room = r->n_token + some;
    job->token = kl__alloc(s->alloc, (size_t)job->n_token_room * sizeof *job->token);
    if (r->sampling.n_bias)
        job->bias = kl__alloc(s->alloc, r->sampling.n_bias * sizeof *job->bias);
    if (r->embed)
        job->sum = kl__alloc(s->alloc, (size_t)s->engine->model->net.c.n_embd * sizeof *job->sum);
    if (!job->token || (r->sampling.n_bias && !job->bias) || (r->embed && !job->sum)) {
        kl__job_free(s, job);
        return NULL;
    }
    memcpy(job->token, r->token, (size_t)r->n_token * sizeof *job->token);
    if (r->sampling.n_bias)
        memcpy(job->bias, r->sampling.bias, r->sampling.n_bias * sizeof *job->bias);
    job->sampling.bias = job->bias;
    return job;
}

/* Appends the job unless too much is waiting: false, and then *status may be an error. */
static bool enter(kl_scheduler *s, struct kl__job *job, kl_status *status, kl_error *err)
{
    struct kl__client *c = s->total.n_waiting < s->max_waiting ? enter_client(s, job->client) : NULL;
    if (!c && s->total.n_waiting < s->max_waiting)
        *status = kl__fail(err, KL_ERR_MEMORY, "no memory for a client");
    if (!c || c->n_waiting >= s->max_waiting_user) {
        s->total.n_refused++;
        return false;
    }
    c->n_job++;
    c->n_waiting++;
    s->total.n_waiting++;
    s->total.n_job++;
    job->number = s->next_number++;
    job->shown =
        (kl_job_info){.job = job->number, .client = job->client, .n_prompt = job->n_prompt, .max_new = job->max_new};
    *s->last = job;
    s->last = &job->next;
    pthread_cond_signal(&s->wake);
    return true;
}

kl_status kl_scheduler_submit(kl_scheduler *s, uint64_t *number, const kl_request *r, kl_error *err)
{
    *number = 0;
    KL_TRY(check(s, r, err));
    struct kl__job *job = job_of(s, r);
    if (!job)
        return kl__fail(err, KL_ERR_MEMORY, "no memory for a request of %lld tokens", (long long)r->n_token);
    kl_status status = KL_OK;
    pthread_mutex_lock(&s->lock);
    bool entered = enter(s, job, &status, err);
    if (entered)
        *number = job->number;
    pthread_mutex_unlock(&s->lock);
    if (!entered)
        kl__job_free(s, job);
    return status;
}

void kl_scheduler_cancel(kl_scheduler *s, uint64_t number)
{
    pthread_mutex_lock(&s->lock);
    for (struct kl__job *job = s->first; job; job = job->next)
        if (job->number == number)
            job->cancelled = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
}

void kl_scheduler_cancel_all(kl_scheduler *s)
{
    pthread_mutex_lock(&s->lock);
    for (struct kl__job *job = s->first; job; job = job->next)
        job->cancelled = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
}

void kl_scheduler_wake(kl_scheduler *s)
{
    pthread_mutex_lock(&s->lock);
    s->awake = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
}

/* -------------------------------------------------------------------------------------------------------- asking -- */

kl_scheduler_state kl_scheduler_state_of(kl_scheduler *s)
{
    pthread_mutex_lock(&s->lock);
    kl_scheduler_state state = s->total;
    pthread_mutex_unlock(&s->lock);
    return state;
}

int kl_scheduler_jobs(kl_scheduler *s, kl_job_info *info, int room)
{
    int n = 0;
    pthread_mutex_lock(&s->lock);
    for (const struct kl__job *job = s->first; job; job = job->next, n++)
        if (n < room)
            info[n] = job->shown;
    pthread_mutex_unlock(&s->lock);
    return n;
}
