/* A scheduler's step: cancellations, the plan, the walk, and what it gave to each request. */
#include "engine/draft.h"

#include "base/error.h"

#include <math.h>
#include <string.h>
#include <time.h>

/* ------------------------------------------------------------------------------------------------------- telling -- */

/* The job's function says that it has enough: false. */
static bool tell(struct kl__job *job, kl_job_event event)
{
    event.report = &job->report;
    return job->tell(job->user, &event);
}

static void end(struct kl__job *job, kl_job_end how)
{
    if (job->ended)
        return;
    job->report.end = how;
    job->ended = true;
}

static void fail(struct kl__job *job, const kl_error *error)
{
    if (!job->ended)
        job->report.error = *error;
    end(job, KL_JOB_FAILED);
}

/* -------------------------------------------------------------------------------------------------- list and end -- */

static void leave_running(kl_scheduler *s, struct kl__job *job)
{
    int n = 0;
    for (int i = 0; i < s->n_running; i++)
        if (s->running[i] != job)
            s->running[n++] = s->running[i];
    s->n_running = n;
}

/* Takes the job out of everything; the lock is held. */
static void take_out(kl_scheduler *s, struct kl__job **link)
{
    struct kl__job *job = *link;
    bool waits = true;
    for (int i = 0; i < s->n_running; i++)
        waits &= s->running[i] != job;
    *link = job->next;
    if (s->last == &job->next)
        s->last = link;
    leave_running(s, job);
    struct kl__client *c = kl__client_of(s, job->client);
    c->n_waiting -= waits;
    s->total.n_waiting -= waits;
    if (--c->n_job == 0)
        *c = s->client[--s->n_client];
    s->total.n_ended[job->report.end]++;
}

/* Takes out what has ended, and what is to be cancelled; gives pages and memory back, and tells. */
static void finish(kl_scheduler *s)
{
    struct kl__job *done = NULL, **tail = &done;
    pthread_mutex_lock(&s->lock);
    for (struct kl__job **link = &s->first; *link;) {
        struct kl__job *job = *link;
        if (job->cancelled)
            end(job, KL_JOB_CANCELLED);
        if (!job->ended) {
            link = &job->next;
            continue;
        }
        take_out(s, link);
        job->next = NULL;
        *tail = job;
        tail = &job->next;
    }
    pthread_mutex_unlock(&s->lock);
    while (done) {
        struct kl__job *job = done;
        done = job->next;
        kl_session_close(job->session);
        job->session = NULL;
        if (job->wrote > 0)
            job->report.write_seconds = kl__now() - job->wrote;
        bool embeds = job->embed && job->report.end == KL_JOB_LENGTH;
        for (int i = 0; embeds && i < s->engine->model->net.c.n_embd; i++)
            s->mean[i] = (float)(job->sum[i] / (double)job->n_prompt);
        tell(job, (kl_job_event){.kind = KL_JOB_ENDS, .at = job->report.n_new, .embedding = embeds ? s->mean : NULL});
        kl__job_free(s, job);
    }
}

/* -------------------------------------------------------------------------------------------------------- tokens -- */

static bool append(kl_scheduler *s, struct kl__job *job, int32_t id)
{
    if (job->n_token == job->n_token_room) {
        int64_t room = 2 * job->n_token_room;
        int32_t *more = kl__alloc(s->alloc, (size_t)room * sizeof *more);
        if (!more)
            return false;
        memcpy(more, job->token, (size_t)job->n_token * sizeof *more);
        kl__release(s->alloc, job->token);
        job->token = more;
        job->n_token_room = room;
    }
    job->token[job->n_token++] = id;
    return true;
}

static bool is_stop(const struct kl__job *job, int32_t id)
{
    for (int i = 0; i < job->n_stop; i++)
        if (job->stop[i] == id)
            return true;
    return false;
}

/* The next token, out of the logits of the last, as far as the guide allows it. */
static kl_status sample(kl_scheduler *s, struct kl__job *job, kl_sampled *sampled, float *logits, kl_error *error)
{
    kl_history history = {job->token, (size_t)job->n_token, (size_t)job->n_prompt};
    if (job->guide)
        KL_TRY(kl_guide_mask(job->guide, logits, (int32_t)s->engine->model->net.c.n_vocab, job->stop, job->n_stop,
                             error));
    KL_TRY(kl_sampler_next(s->sampler, sampled, &job->state, logits, &job->sampling, &history, error));
    return job->guide ? kl_guide_take(job->guide, sampled->id, error) : KL_OK;
}

static void choose(kl_scheduler *s, struct kl__job *job, float *logits)
{
    kl_sampled sampled;
    kl_error error = {0};
    if (sample(s, job, &sampled, logits, &error) != KL_OK) {
        fail(job, &error);
        return;
    }
    if (!append(s, job, sampled.id)) {
        kl__fail(&error, KL_ERR_MEMORY, "no memory for %lld tokens", (long long)job->n_token);
        fail(job, &error);
        return;
    }
    if (job->report.n_new++ == 0) {
        job->wrote = kl__now();
        job->report.read_seconds = job->wrote - job->began;
    }
    job->report.write_seconds = kl__now() - job->wrote;
    bool goes_on = tell(job, (kl_job_event){.kind = KL_JOB_TOKEN, .at = job->report.n_new - 1, .sampled = &sampled});
    if (is_stop(job, sampled.id) || (job->guide && kl_guide_ended(job->guide)))
        end(job, KL_JOB_STOPPED);
    else if (!goes_on)
        end(job, KL_JOB_SATISFIED);
    else if (job->report.n_new == job->max_new)
        end(job, KL_JOB_LENGTH);
    else if (job->n_token > s->most_tokens)
        end(job, KL_JOB_FULL);
}

/* The next token; and as long as it is the one that was guessed to be, the one behind it, whose logits come next. */
static void choose_all(kl_scheduler *s, struct kl__job *job, float *logits)
{
    size_t n_vocab = (size_t)s->engine->model->net.c.n_vocab;
    int32_t guess[KL__DRAFT_MOST];
    int n = job->drafting.n, right = 0;
    if (n) /* where new tokens will be written */
        memcpy(guess, job->token + job->n_token, (size_t)n * sizeof *guess);
    for (;; right++) {
        choose(s, job, logits + (size_t)right * n_vocab);
        if (job->ended || right == n || job->token[job->n_token - 1] != guess[right])
            break;
    }
    if (n)
        kl__draft_judge(s, job, right);
    if (right < n)
        kl__session_rewind(job->session, job->drafting.before, job->first);
}

/* Log-probabilities of the tokens that follow those of a piece.  The sampler gives them for the token that it chooses:
 * a bias makes it choose the one that is there. */
static void tell_prompt(kl_scheduler *s, struct kl__job *job, int64_t first, int n, const float *logits)
{
    kl_logit_bias bias = {.bias = 1e6};
    kl_sampling greedy = {.bias = &bias, .n_bias = 1, .logprobs = true, .n_top = job->sampling.n_top};
    int64_t seen = job->furthest > first ? job->furthest - first : 0; /* told before its pages were taken away */
    for (int64_t i = seen; i < n && first + i + 1 < job->n_prompt && !job->ended; i++) {
        kl_sampler_state state = {0};
        kl_sampled sampled;
        kl_error error = {0};
        bias.id = job->token[first + i + 1];
        if (kl_sampler_next(s->sampler, &sampled, &state, logits + (size_t)i * (size_t)s->engine->model->net.c.n_vocab,
                            &greedy, NULL, &error) != KL_OK)
            fail(job, &error);
        else if (!tell(job, (kl_job_event){.kind = KL_JOB_PROMPT_TOKEN, .at = first + i + 1, .sampled = &sampled}))
            end(job, KL_JOB_SATISFIED);
    }
}

/* ------------------------------------------------------------------------------------------------------ outcomes -- */

/* Tokens count as read the first time, and as read again from then on. */
static void count(kl_scheduler *s, struct kl__job *job, int64_t first, int64_t n)
{
    int64_t again = job->furthest - first;
    again = again < 0 ? 0 : again < n ? again : n;
    job->report.n_again += again;
    s->total.again_tokens += again;
    if (first < job->n_prompt) {
        job->report.n_read += n - again;
        s->total.read_tokens += n - again;
    }
    if (first + n > job->furthest)
        job->furthest = first + n;
}

static void add_hidden(const kl_scheduler *s, struct kl__job *job, const kl_span *span, int64_t first)
{
    int64_t n_embd = s->engine->model->net.c.n_embd, seen = job->furthest > first ? job->furthest - first : 0;
    for (int64_t i = seen; i < span->n_token; i++)
        for (int64_t k = 0; k < n_embd; k++)
            job->sum[k] += (double)span->hidden[i * n_embd + k];
}

static void read_piece(kl_scheduler *s, struct kl__job *job, const kl_span *span, int64_t first)
{
    int64_t at = first + span->n_token;
    struct kl__visit v;
    if (at < job->n_prompt && kl__schedule_visit(&v, s, job) && kl__prefix_stop(&v, first) == at)
        kl__prefix_keep(&v);
    if (job->embed)
        add_hidden(s, job, span, first);
    if (!tell(job, (kl_job_event){.kind = KL_JOB_READS, .at = at}))
        end(job, KL_JOB_SATISFIED);
    if (job->prompt_logprobs)
        tell_prompt(s, job, first, span->n_token, span->logits);
    if (at == job->n_prompt && job->max_new == 0)
        end(job, KL_JOB_LENGTH);
}

static void take_outcome(kl_scheduler *s, struct kl__job *job, const kl_span *span)
{
    int64_t first = job->first;
    if (span->status != KL_OK && job->drafting.n) { /* perhaps because of the guess: once more without one */
        job->drafting.off = true;
        kl__session_rewind(job->session, job->drafting.before, first);
        return;
    }
    if (span->status != KL_OK) {
        kl_error error;
        kl__fail(&error, span->status, "the model's numbers are not finite at token %lld", (long long)first);
        fail(job, &error);
        return;
    }
    if (first < job->n_prompt)
        read_piece(s, job, span, first);
    int n_own = span->n_token - job->drafting.n;
    if (first + n_own == job->n_token && job->max_new > 0 && !job->ended) {
        size_t rows = span->want == KL_WANT_ALL ? (size_t)n_own - 1 : 0;
        choose_all(s, job, span->logits + rows * (size_t)s->engine->model->net.c.n_vocab);
    }
}

static void take_outcomes(kl_scheduler *s, int n_span)
{
    for (int i = 0; i < n_span; i++)
        take_outcome(s, s->owner[i], &s->span[i]);
    pthread_mutex_lock(&s->lock);
    for (int i = 0; i < n_span; i++) {
        struct kl__job *job = s->owner[i];
        int64_t at = kl_session_length(job->session), n_new = job->report.n_new - job->shown.n_new;
        count(s, job, job->first, at - job->first);
        s->total.new_tokens += n_new;
        kl__client_of(s, job->client)->served += n_new;
        job->shown.at = at;
        job->shown.n_new = job->report.n_new;
        job->shown.running = true;
    }
    pthread_mutex_unlock(&s->lock);
}

/* -------------------------------------------------------------------------------------------------------- memory -- */

/* Takes the pages of the job that came last; false: there is only one. */
static bool preempt(kl_scheduler *s)
{
    if (s->n_running < 2)
        return false;
    pthread_mutex_lock(&s->lock);
    struct kl__job *job = s->running[--s->n_running];
    kl_session_close(job->session);
    job->session = NULL;
    job->report.n_preempted += job->begun;
    s->total.n_preempted += job->begun;
    job->begun = false;
    job->shown.running = false;
    job->shown.at = 0;
    s->total.n_waiting++;
    kl__client_of(s, job->client)->n_waiting++;
    pthread_mutex_unlock(&s->lock);
    return true;
}

/* What cannot go on although it is alone. */
static void give_up(kl_scheduler *s, int n_span, const kl_error *error)
{
    for (int i = 0; i < n_span; i++)
        if (s->owner[i]->report.n_new > 0)
            end(s->owner[i], KL_JOB_FULL);
        else
            fail(s->owner[i], error);
}

/* Guesses take pages that somebody may need: false when there were none. */
static bool drop_drafts(kl_scheduler *s)
{
    bool had = s->draft_tokens && !s->without_drafts;
    s->without_drafts = true;
    return had;
}

/* ---------------------------------------------------------------------------------------------------------- step -- */

/* What guesses may spoil. */
static void keep_states(kl_scheduler *s, int n_span)
{
    for (int i = 0; i < n_span; i++) {
        const struct kl__job *job = s->owner[i];
        if (job->drafting.n)
            memcpy(job->drafting.before, job->session->line.fixed, job->session->line.fixed_bytes);
    }
}

/* Waits until there is a job, a cancellation or somebody who wakes. */
static void wait(kl_scheduler *s, double seconds)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    double whole = floor(seconds), nanoseconds = (double)until.tv_nsec + 1e9 * (seconds - whole);
    until.tv_sec += (time_t)whole + (nanoseconds >= 1e9);
    until.tv_nsec = (long)(nanoseconds >= 1e9 ? nanoseconds - 1e9 : nanoseconds);
    pthread_mutex_lock(&s->lock);
    while (!s->first && !s->awake && pthread_cond_timedwait(&s->wake, &s->lock, &until) == 0)
        ;
    s->awake = false;
    pthread_mutex_unlock(&s->lock);
}

static int plan(kl_scheduler *s, bool admission)
{
    pthread_mutex_lock(&s->lock);
    int n_span = kl__schedule_plan(s, admission);
    pthread_mutex_unlock(&s->lock);
    return n_span;
}

static void note(kl_scheduler *s, bool stepped, double seconds)
{
    kl_prefix_state prefix = s->prefix ? kl_prefix_state_of(s->prefix) : (kl_prefix_state){0};
    pthread_mutex_lock(&s->lock);
    s->total.n_step += stepped;
    s->total.step_seconds += seconds;
    s->total.n_running = s->n_running;
    s->total.memory = kl_engine_memory_of(s->engine);
    s->total.prefix = prefix;
    pthread_mutex_unlock(&s->lock);
}

kl_status kl_scheduler_step(kl_scheduler *s, double wait_seconds, bool *busy, kl_error *err)
{
    if (busy)
        *busy = false;
    if (wait_seconds > 0)
        wait(s, wait_seconds < 1e6 ? wait_seconds : 1e6);
    finish(s);
    double start = kl__now();
    kl_error error = {0};
    s->without_drafts = false;
    int n_span = plan(s, true);
    keep_states(s, n_span);
    kl_status status = kl_step(s->engine, s->span, n_span, &error);
    while (status == KL_ERR_MEMORY && (drop_drafts(s) || preempt(s))) {
        n_span = plan(s, false);
        status = kl_step(s->engine, s->span, n_span, &error);
    }
    if (status == KL_OK)
        take_outcomes(s, n_span);
    else if (status == KL_ERR_MEMORY)
        give_up(s, n_span, &error);
    else
        for (int i = 0; i < n_span; i++)
            fail(s->owner[i], &error);
    finish(s);
    note(s, n_span > 0, kl__now() - start);
    if (busy)
        *busy = n_span > 0;
    if (status == KL_OK || status == KL_ERR_MEMORY)
        return KL_OK;
    return kl__fail(err, status, "%s", error.text);
}
