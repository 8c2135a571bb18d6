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

void kt_assert_alone(const struct kt_asked *a, struct kt_engine *cold)
{
    kl_session *session;
    kl_sampler *sampler;
    float *logits = kt_floats(cold->n_vocab);
    int64_t n_prompt = a->r.n_token;
    int32_t *all = kt_bytes((size_t)(n_prompt + KT_MOST_NEW) * sizeof *all);
    kl_sampler_state state = {a->r.seed, 0};
    memcpy(all, a->r.token, (size_t)n_prompt * sizeof *all);
    KT_OK(kl_session_open(&session, cold->engine, KT_ERR));
    KT_OK(kl_sampler_open(&sampler, cold->n_vocab, NULL, KT_ERR));
    if (a->n_new > 0)
        KT_OK(kl_prefill(session, all, n_prompt, logits, NULL, NULL, KT_ERR));
    for (int i = 0; i < a->n_new; i++) {
        kl_sampled want;
        kl_history history = {all, (size_t)(n_prompt + i), (size_t)n_prompt};
        KT_OK(kl_sampler_next(sampler, &want, &state, logits, &a->r.sampling, &history, KT_ERR));
        assert_int_equal(a->token[i].id, want.id);
        if (a->r.sampling.logprobs)
            kt_assert_same_bits("log-probability", &a->token[i].logprob, &want.logprob, sizeof want.logprob);
        for (int k = 0; k < a->r.sampling.n_top; k++) {
            assert_int_equal(a->token[i].top[k].id, want.top[k].id);
            kt_assert_same_bits("log-probability", &a->token[i].top[k].logprob, &want.top[k].logprob, sizeof(double));
        }
        all[n_prompt + i] = want.id;
        if (i + 1 < a->n_new)
            KT_OK(kl_decode(session, want.id, logits, KT_ERR));
    }
    kl_sampler_close(sampler);
    kl_session_close(session);
}
