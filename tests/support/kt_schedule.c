#include "support/kt_schedule.h"

#include <string.h>

bool kt_told(void *user, const kl_job_event *event)
{
    struct kt_asked *a = user;
    assert_false(a->ended);
    if (event->kind == KL_JOB_READS)
        a->n_read_event++;
    if (event->kind == KL_JOB_PROMPT_TOKEN) {
        assert_int_equal(event->at, ++a->n_prompt_told);
        a->prompt_logprob[event->at] = event->sampled->logprob;
    }
    if (event->kind == KL_JOB_TOKEN) {
        assert_int_equal(event->at, a->n_new);
        assert_true(a->n_new < KT_MOST_NEW);
        a->token[a->n_new] = *event->sampled;
        a->id[a->n_new++] = event->sampled->id;
    }
    if (event->kind == KL_JOB_ENDS) {
        a->ended = true;
        a->report = *event->report;
        if (event->embedding)
            memcpy(a->embedding, event->embedding, sizeof(float)); /* the rest is up to those who know n_embd */
    }
    return !a->enough || a->n_new < a->enough;
}

bool kt_ask(kl_scheduler *s, struct kt_asked *a)
{
    a->r.tell = a->r.tell ? a->r.tell : kt_told;
    a->r.user = a;
    KT_OK(kl_scheduler_submit(s, &a->job, &a->r, KT_ERR));
    return a->job != 0;
}

void kt_finish(kl_scheduler *s)
{
    for (int i = 0; kl_scheduler_jobs(s, NULL, 0) > 0; i++) {
        assert_true(i < 100000);
        KT_OK(kl_scheduler_step(s, 0, NULL, KT_ERR));
    }
}

static bool same_bits(double a, double b)
{
    return memcmp(&a, &b, sizeof a) == 0;
}

static bool same(const kl_sampled *a, const kl_sampled *b, const kl_sampling *wanted)
{
    bool is = a->id == b->id && (!wanted->logprobs || same_bits(a->logprob, b->logprob));
    for (int k = 0; k < wanted->n_top; k++)
        is = is && a->top[k].id == b->top[k].id && same_bits(a->top[k].logprob, b->top[k].logprob);
    return is;
}

int kt_differs(const struct kt_asked *a, struct kt_engine *cold)
{
    kl_session *session;
    kl_sampler *sampler;
    float *logits = kt_floats(cold->n_vocab);
    int64_t n_prompt = a->r.n_token;
    int32_t *all = kt_bytes((size_t)(n_prompt + KT_MOST_NEW) * sizeof *all);
    kl_sampler_state state = {a->r.seed, 0};
    int differs = -1;
    memcpy(all, a->r.token, (size_t)n_prompt * sizeof *all);
    KT_OK(kl_session_open(&session, cold->engine, KT_ERR));
    KT_OK(kl_sampler_open(&sampler, cold->n_vocab, NULL, KT_ERR));
    if (a->n_new > 0)
        KT_OK(kl_prefill(session, all, n_prompt, logits, NULL, NULL, KT_ERR));
    for (int i = 0; i < a->n_new && differs < 0; i++) {
        kl_sampled want;
        kl_history history = {all, (size_t)(n_prompt + i), (size_t)n_prompt};
        KT_OK(kl_sampler_next(sampler, &want, &state, logits, &a->r.sampling, &history, KT_ERR));
        differs = same(&a->token[i], &want, &a->r.sampling) ? -1 : i;
        all[n_prompt + i] = want.id;
        if (i + 1 < a->n_new)
            KT_OK(kl_decode(session, want.id, logits, KT_ERR));
    }
    kl_sampler_close(sampler);
    kl_session_close(session);
    return differs;
}

void kt_assert_alone(const struct kt_asked *a, struct kt_engine *cold)
{
    int at = kt_differs(a, cold);
    if (at >= 0)
        fail_msg("new token %d of %d (behind %lld of the prompt) is not what it is alone: %d, log-probability %.17g",
                 at, a->n_new, (long long)a->r.n_token, (int)a->token[at].id, a->token[at].logprob);
}
