/* Conversations that grow, fork, are edited, cancelled, batched, preempted and forgotten, in an order that is drawn:
 * every answer is that of an engine that reads nothing else.  KT_SCHEDULE_STEPS=N makes it longer. */
#include "support/kt_schedule.h"

#include <stdlib.h>
#include <string.h>

enum { N_TALK = 8, MOST_TOKENS = 700, MOST_ASKED = 16 };

struct talk {
    int32_t token[MOST_TOKENS + KT_MOST_NEW];
    int64_t n;
    uint64_t space;
};

struct world {
    struct kt_engine hot, cold;
    kl_prefix *prefix;
    kl_scheduler *s;
    kt_rng r;
    struct talk talk[N_TALK];
    struct kt_asked asked[MOST_ASKED];
    int32_t prompt[MOST_ASKED][MOST_TOKENS];
    int of[MOST_ASKED]; /* which talk; -1: free */
    int64_t most;       /* tokens of a talk */
    int64_t n_checked, n_reused, n_cancelled;
};

static void add_tokens(struct world *w, struct talk *t, int64_t n)
{
    for (int64_t i = 0; i < n && t->n < w->most - 1; i++)
        t->token[t->n++] = (int32_t)kt_below(&w->r, w->cold.n_vocab);
}

/* Grow, fork, edit in the middle, or begin again. */
static void change(struct world *w, int i)
{
    struct talk *t = &w->talk[i];
    switch (kt_below(&w->r, 6)) {
    case 0:
        *t = w->talk[kt_below(&w->r, N_TALK)];
        break;
    case 1:
        if (t->n > 1)
            t->n = 1 + kt_below(&w->r, t->n);
        break;
    case 2:
        if (t->n > w->most / 2)
            t->n = 0;
        break;
    default:
        break;
    }
    add_tokens(w, t, 1 + kt_below(&w->r, 90));
}

static void ask(struct world *w)
{
    int k = 0, i = (int)kt_below(&w->r, N_TALK);
    while (k < MOST_ASKED && w->of[k] >= 0)
        k++;
    if (k == MOST_ASKED)
        return;
    change(w, i);
    struct talk *t = &w->talk[i];
    struct kt_asked *a = &w->asked[k];
    int64_t mark = t->n / 2;
    memset(a, 0, sizeof *a);
    memcpy(w->prompt[k], t->token, (size_t)t->n * sizeof *t->token);
    a->r = (kl_request){.token = w->prompt[k],
                        .n_token = t->n,
                        .mark = &mark,
                        .n_mark = (int)kt_below(&w->r, 2),
                        .client = (uint64_t)i % 3,
                        .space = t->space,
                        .seed = (uint64_t)kt_below(&w->r, 1000),
                        .max_new = kt_below(&w->r, 6) ? kt_below(&w->r, 20) : KT_MOST_NEW};
    a->r.sampling = (kl_sampling){.temperature = (double)kt_below(&w->r, 2),
                                  .top_k = 20,
                                  .logprobs = true,
                                  .n_top = KT_TOPS,
                                  .frequency_penalty = 0.1};
    a->r.prompt_logprobs = kt_below(&w->r, 20) == 0;
    if (kt_ask(w->s, a))
        w->of[k] = i;
}

/* An answer that has ended is checked, and becomes part of its conversation. */
static void take(struct world *w, int k)
{
    struct kt_asked *a = &w->asked[k];
    struct talk *t = &w->talk[w->of[k]];
    kt_assert_alone(a, &w->cold);
    kl_job_end end = a->report.end;
    assert_true(end == KL_JOB_LENGTH || end == KL_JOB_CANCELLED);
    assert_true(end == KL_JOB_CANCELLED || a->n_new == a->r.max_new);
    if (end == KL_JOB_LENGTH)
        assert_int_equal(a->report.n_reused + a->report.n_read, a->r.n_token);
    w->n_cancelled += end == KL_JOB_CANCELLED;
    w->n_reused += a->report.n_reused;
    w->n_checked++;
    if (a->r.n_token == t->n && memcmp(a->r.token, t->token, (size_t)t->n * sizeof *t->token) == 0)
        for (int i = 0; i < a->n_new && t->n < w->most - 1; i++)
            t->token[t->n++] = a->id[i];
    w->of[k] = -1;
}

static void step(struct world *w)
{
    if (kt_below(&w->r, 3) == 0)
        ask(w);
    int k = (int)kt_below(&w->r, MOST_ASKED);
    if (w->of[k] >= 0 && kt_below(&w->r, 12) == 0)
        kl_scheduler_cancel(w->s, w->asked[k].job);
    if (kt_below(&w->r, 200) == 0)
        kl_prefix_clear(w->prefix);
    KT_OK(kl_scheduler_step(w->s, 0, NULL, KT_ERR));
    for (int i = 0; i < MOST_ASKED; i++)
        if (w->of[i] >= 0 && w->asked[i].ended)
            take(w, i);
}

static void random_world(void **state)
{
    (void)state;
    const char *wanted = getenv("KT_SCHEDULE_STEPS");
    long n_step = wanted ? strtol(wanted, NULL, 10) : 220;
    for (int round = 0; round < 3; round++) {
        struct world *w = kt_bytes(sizeof *w);
        memset(w, 0, sizeof *w);
        w->r = (kt_rng){(uint64_t)round + 1};
        w->cold = kt_open_engine(kt_tiny("q8_0"), 1, NULL);
        kl_state_cost cost = kl_config_state_cost(kl_model_config(w->cold.model), KL_CACHE_BF16);
        /* The second round has too few pages, the third too little cache. */
        w->most = round == 0 ? MOST_TOKENS : round == 1 ? 120 : 300;
        int64_t pages = round == 0 ? 1000 : round == 1 ? 8 : 20;
        w->hot = kt_open_engine(kt_tiny("q8_0"), 2,
                                &(kl_engine_options){.cache_bytes = pages * cost.page_bytes, .max_batch_tokens = 256});
        int64_t cache = round == 2 ? 5 * (cost.fixed_bytes + 4 * cost.page_bytes) : 0;
        KT_OK(kl_prefix_open(&w->prefix, w->hot.engine, &(kl_prefix_options){.bytes = cache}, KT_ERR));
        KT_OK(kl_scheduler_open(&w->s, w->hot.engine,
                                &(kl_scheduler_options){.prefix = w->prefix,
                                                        .max_running = 4 + 4 * (round % 2),
                                                        .draft_tokens = 6},
                                KT_ERR));
        for (int i = 0; i < N_TALK; i++)
            w->talk[i].space = (uint64_t)i % 4 == 0;
        for (int i = 0; i < MOST_ASKED; i++)
            w->of[i] = -1;
        for (long i = 0; i < n_step; i++)
            step(w);
        kl_scheduler_state s = kl_scheduler_state_of(w->s);
        print_message("%ld steps: %lld answers, %lld cancelled, %lld tokens reused of %lld, %lld preempted\n", n_step,
                      (long long)w->n_checked, (long long)w->n_cancelled, (long long)s.reused_tokens,
                      (long long)s.prompt_tokens, (long long)s.n_preempted);
        assert_true(w->n_checked > n_step / 20 && w->n_reused > 0 && w->n_cancelled > 0);
        assert_true(round != 1 || s.n_preempted > 0);
        kl_scheduler_close(w->s);
        kl_prefix_close(w->prefix);
        assert_int_equal(kl_engine_memory_of(w->hot.engine).pages_used, 0);
        kt_close_engine(&w->hot);
        kt_close_engine(&w->cold);
        kt_free_all();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(random_world)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_free_backends();
    kt_remove_files();
    return failed;
}
