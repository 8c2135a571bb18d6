/* What the next step does: who gets a session, and which tokens are read. */
#include "engine/draft.h"

#include "base/error.h"

#include <string.h>

/* ----------------------------------------------------------------------------------------------------- admission -- */

static int64_t pages_of(const kl_scheduler *s, const struct kl__job *job)
{
    return s->engine->pages.page_bytes ? (job->n_token + KL_PAGE_TOKENS) / KL_PAGE_TOKENS : 0;
}

/* Are there pages for all of the job's tokens and one more, and for everybody who runs to take one more?  Pages that
 * are shared count as often as they are used: that only makes somebody wait. */
static bool has_room(const kl_scheduler *s, const struct kl__job *job)
{
    int64_t pages = pages_of(s, job) + s->n_running;
    for (int i = 0; i < s->n_running; i++)
        pages += pages_of(s, s->running[i]);
    return s->n_running == 0 || s->engine->pages.page_bytes == 0 || pages <= s->engine->pages.n_page;
}

/* The waiting job whose turn it is: of the client that was served least, the one that came first. */
static struct kl__job *next_waiting(const kl_scheduler *s)
{
    struct kl__job *best = NULL;
    int64_t least = 0;
    for (struct kl__job *job = s->first; job; job = job->next) {
        if (job->session || job->ended)
            continue;
        int64_t served = kl__client_of(s, job->client)->served;
        if (!best || served < least) {
            best = job;
            least = served;
        }
    }
    return best;
}

/* Running jobs stay in the order in which they came. */
static void insert(kl_scheduler *s, struct kl__job *job)
{
    int at = s->n_running++;
    for (; at > 0 && s->running[at - 1]->number > job->number; at--)
        s->running[at] = s->running[at - 1];
    s->running[at] = job;
}

static void admit(kl_scheduler *s)
{
    while (s->n_running < s->max_running) {
        struct kl__job *job = next_waiting(s);
        if (!job || !has_room(s, job))
            return;
        kl_status status = kl_session_open(&job->session, s->engine, &job->report.error);
        if (status != KL_OK && s->n_running > 0)
            return; /* somebody will end and give memory back */
        kl__client_of(s, job->client)->n_waiting--;
        s->total.n_waiting--;
        insert(s, job);
        if (status != KL_OK) {
            job->report.end = KL_JOB_FAILED;
            job->ended = true;
        } else
            kl_session_trace(job->session, job->trace);
    }
}

/* ------------------------------------------------------------------------------------------------------- prompts -- */

static bool uses_prefix(const kl_scheduler *s, const struct kl__job *job)
{
    return s->prefix && !job->prompt_logprobs && !job->embed && !job->afresh;
}

bool kl__schedule_visit(struct kl__visit *v, const kl_scheduler *s, const struct kl__job *job)
{
    *v = (struct kl__visit){s->prefix, job->session, job->space, job->token, job->n_prompt, job->mark, job->n_mark};
    return uses_prefix(s, job);
}

/* Tokens of the next piece, at most `room`, cut where the bits allow it and a checkpoint is wanted. */
static int64_t piece_of(const kl_scheduler *s, const struct kl__job *job, int64_t room)
{
    int64_t at = kl_session_length(job->session), stop = job->n_prompt;
    struct kl__visit v;
    if (kl__schedule_visit(&v, s, job))
        stop = kl__prefix_stop(&v, at);
    if (job->prompt_logprobs)
        room = room < KL_PAGE_TOKENS ? room : KL_PAGE_TOKENS;
    int64_t n = stop - at < room ? stop - at : room;
    return at + n < job->n_prompt ? n / KL_PAGE_TOKENS * KL_PAGE_TOKENS : n;
}

/* Tokens of whole blocks that both prompts begin with; `b` keeps at least one to read. */
static int64_t shared(const struct kl__job *a, const struct kl__job *b)
{
    int64_t most = a->n_prompt < b->n_prompt - 1 ? a->n_prompt : b->n_prompt - 1, n = 0;
    while (n + KL_PAGE_TOKENS <= most && memcmp(a->token + n, b->token + n, KL_PAGE_TOKENS * sizeof *a->token) == 0)
        n += KL_PAGE_TOKENS;
    return n;
}

/* A checkpoint is wanted at `n` as well; what was wanted before `at` can go. */
static void want_mark(struct kl__job *job, int64_t n, int64_t at)
{
    for (int i = 0; i < job->n_mark; i++)
        if (job->mark[i] == n)
            return;
    for (int i = job->n_request_mark; i < job->n_mark; i++)
        if (job->mark[i] <= at) {
            job->mark[i] = n;
            return;
        }
    if (job->n_mark < job->n_request_mark + KL__OWN_MARKS)
        job->mark[job->n_mark++] = n;
}

/* Is somebody reading what this prompt begins with, and more of it than the cache has?  Then a checkpoint is wanted
 * where the two part, and it is worth the wait. */
static bool waits_for_another(kl_scheduler *s, struct kl__job *job)
{
    struct kl__visit v;
    kl__schedule_visit(&v, s, job);
    int64_t reusable = kl__prefix_reusable(&v);
    for (int i = 0; i < s->n_running; i++) {
        struct kl__job *other = s->running[i];
        if (other == job || !other->begun || other->ended || other->space != job->space || !uses_prefix(s, other))
            continue;
        int64_t at = kl_session_length(other->session);
        if (at >= other->n_prompt)
            continue;
        int64_t n = shared(other, job);
        n = n < other->n_prompt ? n : (other->n_prompt - 1) / KL_PAGE_TOKENS * KL_PAGE_TOKENS;
        if (n <= reusable || n <= at)
            continue;
        want_mark(other, n, at);
        return true;
    }
    return false;
}

/* The job's session asks the prefix cache.  False: not in this step. */
static bool begin(kl_scheduler *s, struct kl__job *job)
{
    kl_prefix_report found = {0};
    struct kl__visit v;
    if (kl__schedule_visit(&v, s, job)) {
        if (waits_for_another(s, job))
            return false;
        if (kl__prefix_begin(&v, &found, NULL) != KL_OK)
            kl_session_reset(job->session); /* it reads the prompt whole */
        if (found.matched > found.reused)
            want_mark(job, found.matched, found.reused); /* where prompts part once, they part again */
    }
    job->begun = true;
    if (job->began > 0)
        return true; /* it had begun before its pages were taken away */
    kl_job_report *r = &job->report;
    job->began = kl__now();
    r->waited_seconds = job->began - job->came;
    r->n_matched = found.matched;
    r->n_loaded = found.loaded;
    r->n_reused = kl_session_length(job->session);
    r->reuse = !uses_prefix(s, job)           ? KL_REUSE_OFF
               : found.matched == 0           ? KL_REUSE_NOTHING
               : found.matched > found.reused ? KL_REUSE_CHECKPOINT
                                              : KL_REUSE_ALL;
    job->furthest = r->n_reused;
    s->total.prompt_tokens += r->n_prompt;
    s->total.reused_tokens += r->n_reused;
    return true;
}

/* --------------------------------------------------------------------------------------------------------- spans -- */

struct plan {
    int n_span, n_row;
    int n_extra;       /* tokens of those beyond one for each job that is written */
    int n_draft_row;   /* rows of draft_logits */
    bool logits_taken; /* the rows of prompt_logits */
    int n_hidden;      /* rows of `hidden` */
};

static void add(kl_scheduler *s, struct plan *p, struct kl__job *job, kl_span span)
{
    span.session = job->session;
    job->first = kl_session_length(job->session);
    s->owner[p->n_span] = job;
    s->span[p->n_span++] = span;
    p->n_row += span.n_token;
}

/* The next tokens of a job that is being written: one, and where guesses are made as many more as there is room for:
 * those that it has to read again, and then a guess. */
static void plan_writer(kl_scheduler *s, struct plan *p, struct kl__job *job, int extra)
{
    size_t n_vocab = (size_t)s->engine->model->net.c.n_vocab;
    int64_t at = kl_session_length(job->session), unread = job->n_token - at;
    int n = unread - 1 < extra ? (int)unread : 1 + extra;
    bool last = n == unread;
    kl_span span = {.token = job->token + at, .n_token = n, .decode = true};
    int guessed = last ? kl__draft_plan(s, job, extra - (n - 1)) : 0;
    if (guessed) {
        span.n_token += guessed;
        span.want = KL_WANT_ALL;
        span.logits = s->draft_logits + (size_t)p->n_draft_row * n_vocab;
        p->n_draft_row += span.n_token;
    } else if (last) {
        span.want = KL_WANT_LAST;
        span.logits = s->logits + (size_t)p->n_span * n_vocab;
    }
    p->n_extra += span.n_token - 1;
    add(s, p, job, span);
}

static void plan_generated(kl_scheduler *s, struct plan *p)
{
    int extra = s->engine->max_token - KL_PAGE_TOKENS - s->max_running; /* pieces of prompts keep their room */
    extra = !s->draft_tokens || extra < 0 ? 0 : extra < KL__DRAFT_ROWS ? extra : KL__DRAFT_ROWS;
    for (int i = 0; i < s->n_running; i++) {
        struct kl__job *job = s->running[i];
        bool written = job->begun && !job->ended && kl_session_length(job->session) >= job->n_prompt;
        job->drafting.n = 0;
        if (written)
            plan_writer(s, p, job, extra - p->n_extra);
    }
}

/* Rows for logits or hidden states of every token of a piece.  False: not in this step, or never. */
static bool lend_rows(kl_scheduler *s, struct plan *p, struct kl__job *job, kl_span *span)
{
    const kl_config *c = &s->engine->model->net.c;
    size_t n_vocab = (size_t)c->n_vocab, n_embd = (size_t)c->n_embd;
    if (job->prompt_logprobs && p->logits_taken)
        return false;
    if (job->prompt_logprobs && !s->prompt_logits)
        s->prompt_logits = kl__alloc(s->alloc, KL_PAGE_TOKENS * n_vocab * sizeof(float));
    if (job->embed && !s->hidden)
        s->hidden = kl__alloc(s->alloc, (size_t)s->engine->max_token * n_embd * sizeof(float));
    if (job->embed && !s->mean)
        s->mean = kl__alloc(s->alloc, n_embd * sizeof(float));
    if ((job->prompt_logprobs && !s->prompt_logits) || (job->embed && (!s->hidden || !s->mean))) {
        kl__fail(&job->report.error, KL_ERR_MEMORY, "no memory for what every token of the prompt gives");
        job->report.end = KL_JOB_FAILED;
        job->ended = true;
        return false;
    }
    span->want = KL_WANT_ALL;
    if (job->prompt_logprobs) {
        span->logits = s->prompt_logits;
        p->logits_taken = true;
    } else {
        span->hidden = s->hidden + (size_t)p->n_hidden * n_embd;
        p->n_hidden += span->n_token;
    }
    return true;
}

/* The next piece of the job's prompt; false: none in this step. */
static bool plan_piece(kl_scheduler *s, struct plan *p, struct kl__job *job, int64_t room)
{
    if (!job->begun && !begin(s, job))
        return false;
    int64_t at = kl_session_length(job->session), n = piece_of(s, job, room);
    if (n == 0)
        return false;
    kl_span span = {.token = job->token + at, .n_token = (int)n};
    if (job->prompt_logprobs || job->embed) {
        if (!lend_rows(s, p, job, &span))
            return false;
    } else if (at + n == job->n_token && job->max_new > 0) {
        span.want = KL_WANT_LAST;
        span.logits = s->logits + (size_t)p->n_span * (size_t)s->engine->model->net.c.n_vocab;
    }
    add(s, p, job, span);
    kl__client_of(s, job->client)->served += n;
    return true;
}

/* The job that reads its prompt and was not asked in this step, whose turn it is. */
static struct kl__job *next_reader(const kl_scheduler *s)
{
    struct kl__job *best = NULL;
    int64_t least = 0;
    for (int i = 0; i < s->n_running; i++) {
        struct kl__job *job = s->running[i];
        bool reads = !job->ended && (!job->begun || kl_session_length(job->session) < job->n_prompt);
        if (!reads || job->asked)
            continue;
        int64_t served = kl__client_of(s, job->client)->served;
        if (!best || served < least) {
            best = job;
            least = served;
        }
    }
    return best;
}

int kl__schedule_plan(kl_scheduler *s, bool admission)
{
    struct plan p = {0};
    if (admission)
        admit(s);
    for (int i = 0; i < s->n_running; i++)
        s->running[i]->asked = false;
    plan_generated(s, &p);
    int64_t room = s->engine->max_token - p.n_row;
    if (p.n_row > 0 && room > s->piece_tokens)
        room = s->piece_tokens;
    struct kl__job *job;
    while (room > 0 && p.n_span < s->max_running && (job = next_reader(s))) {
        int before = p.n_row;
        job->asked = true;
        if (plan_piece(s, &p, job, room))
            room -= p.n_row - before;
    }
    return p.n_span;
}
