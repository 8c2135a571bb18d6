#include "engine/draft.h"

#include <string.h>

enum {
    WINDOW = 32768,
    LEAST_MATCH = 3, /* tokens that have to be the same */
    MOST_MATCH = 8,  /* more make no better guess */
    FIRST = 4,       /* tokens of the first guess */
    CREDIT = 8,      /* wrong tokens beyond right ones until guessing pauses */
    PAUSE = 32, MOST_PAUSE = 4096, /* tokens, doubled each time that guessing has not paid */
};

/* How many tokens in front of `at` are those in front of `n`. */
static int match(const int32_t *token, int64_t at, int64_t n)
{
    int same = 0;
    while (same < MOST_MATCH && same < at && token[at - 1 - same] == token[n - 1 - same])
        same++;
    return same;
}

int kl_guess_tokens(int32_t *guess, int most, const int32_t *token, int64_t n)
{
    int64_t best = 0, last = n > WINDOW ? n - WINDOW : 0;
    int longest = LEAST_MATCH - 1;
    for (int64_t at = n - 1; at > last && longest < MOST_MATCH; at--) {
        if (token[at - 1] != token[n - 1])
            continue;
        int same = match(token, at, n);
        if (same > longest) {
            longest = same;
            best = at;
        }
    }
    if (!best)
        return 0;
    for (int i = 0; i < most; i++) /* at the end of the text what repeats goes on to do so */
        guess[i] = best + i < n ? token[best + i] : guess[i - (n - best)];
    return most;
}

static int least(int64_t a, int64_t b)
{
    return (int)(a < b ? a : b);
}

int kl__draft_plan(kl_scheduler *s, struct kl__job *job, int room)
{
    struct kl__drafting *d = &job->drafting;
    d->n = 0;
    if (!s->draft_tokens || s->without_drafts || job->trace || d->off || job->report.n_new < d->pause_until)
        return 0;
    d->length = d->length ? d->length : FIRST;
    room = least(room, least(d->length, s->draft_tokens));
    room = least(room, job->n_token_room - job->n_token);
    room = least(room, job->max_new - job->report.n_new - 1);
    room = least(room, s->most_tokens - job->n_token);
    if (room <= 0)
        return 0;
    if (!d->before)
        d->before = kl__alloc(s->alloc, job->session->line.fixed_bytes);
    if (d->before)
        d->n = kl_guess_tokens(job->token + job->n_token, room, job->token, job->n_token);
    return d->n;
}

void kl__draft_judge(kl_scheduler *s, struct kl__job *job, int right)
{
    struct kl__drafting *d = &job->drafting;
    job->report.n_drafted += d->n;
    job->report.n_accepted += right;
    pthread_mutex_lock(&s->lock);
    s->total.drafted_tokens += d->n;
    s->total.accepted_tokens += right;
    pthread_mutex_unlock(&s->lock);
    d->credit += 2 * right - d->n; /* reading a token more is taken for half a step */
    d->credit = d->credit < CREDIT ? d->credit : CREDIT;
    if (right == d->n) {
        d->length = d->length < KL__DRAFT_MOST / 2 ? 2 * d->length : KL__DRAFT_MOST;
        d->pause = 0;
    } else if (2 * right < d->n)
        d->length = d->length > 2 ? d->length / 2 : 1;
    if (d->credit <= -CREDIT) {
        d->pause = d->pause ? least(2 * (int64_t)d->pause, MOST_PAUSE) : PAUSE;
        d->pause_until = job->report.n_new + d->pause;
        d->credit = 0;
        d->length = FIRST;
    }
}
