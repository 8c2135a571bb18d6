/* Guessing ahead: the same bits as without, and it stops where it does not pay. */
#include "engine/draft.h"
#include "support/kt_schedule.h"

#include <string.h>

static void lookups(void **state)
{
    (void)state;
    int32_t draft[8] = {0};
    const int32_t text[] = {1, 2, 3, 4, 5, 9, 2, 3, 4, 7, 8, 2, 3, 4};
    assert_int_equal(kl_guess_tokens(draft, 3, text, 14), 3); /* the last time, not the first */
    assert_memory_equal(draft, ((int32_t[]){7, 8, 2}), 3 * sizeof *draft);
    const int32_t longer[] = {9, 2, 3, 4, 5, 6, 2, 3, 4, 7, 9, 2, 3, 4};
    assert_int_equal(kl_guess_tokens(draft, 2, longer, 14), 2); /* the one with more in front of it */
    assert_memory_equal(draft, ((int32_t[]){5, 6}), 2 * sizeof *draft);
    const int32_t same[] = {5, 5, 5, 5, 5};
    assert_int_equal(kl_guess_tokens(draft, 8, same, 5), 8);
    assert_memory_equal(draft, ((int32_t[]){5, 5, 5, 5, 5, 5, 5, 5}), 8 * sizeof *draft);
    for (int n = 0; n < 4; n++)
        assert_int_equal(kl_guess_tokens(draft, 8, same, n), 0);
    assert_int_equal(kl_guess_tokens(draft, 8, text, 11), 0);
}

/* Several generated tokens in one span are read as one by one. */
static void spans(void **state)
{
    (void)state;
    enum { PROMPT = 123, N = 9 };
    kt_rng r = {1};
    for (int threads = 1; threads <= 2; threads++) {
        struct kt_engine e = kt_open_engine(kt_tiny("q8_0"), threads, NULL);
        int32_t *token = kt_tokens(&r, PROMPT + N, e.n_vocab);
        float *one = kt_floats((int64_t)N * e.n_vocab), *all = kt_floats((int64_t)N * e.n_vocab);
        kl_session *a, *b;
        KT_OK(kl_session_open(&a, e.engine, KT_ERR));
        KT_OK(kl_prefill(a, token, PROMPT, NULL, NULL, NULL, KT_ERR));
        KT_OK(kl_session_fork(&b, a, KT_ERR));
        for (int i = 0; i < N; i++)
            KT_OK(kl_decode(a, token[PROMPT + i], one + (size_t)i * (size_t)e.n_vocab, KT_ERR));
        char *fixed = kt_bytes(b->line.fixed_bytes);
        for (int round = 0; round < 2; round++) { /* and once more, after the first time was taken back */
            kl_span span = {b, token + PROMPT, N, true, KL_WANT_ALL, all, NULL, KL_OK};
            memcpy(fixed, b->line.fixed, b->line.fixed_bytes);
            KT_OK(kl_step(e.engine, &span, 1, KT_ERR));
            kt_assert_same_bits("tokens of one span", all, one, (size_t)N * (size_t)e.n_vocab * sizeof *one);
            if (round == 0)
                kl__session_rewind(b, fixed, PROMPT);
        }
        kl_session_close(a);
        kl_session_close(b);
        kt_close_engine(&e);
    }
    kt_free_all();
}

/* A request that a bias makes repeat itself, and one that chance writes. */
static void answers(void **state)
{
    (void)state;
    kt_rng r = {2};
    struct kt_engine hot = kt_open_engine(kt_tiny("q8_0"), 2, NULL), cold = kt_open_engine(kt_tiny("q8_0"), 1, NULL);
    kl_scheduler *s;
    KT_OK(kl_scheduler_open(&s, hot.engine, &(kl_scheduler_options){.draft_tokens = 8}, KT_ERR));
    int32_t *token = kt_tokens(&r, 200, cold.n_vocab);
    for (int i = 100; i < 200; i++)
        token[i] = token[i - 20]; /* a prompt that repeats itself */
    kl_logit_bias bias[5];
    for (int i = 0; i < 5; i++)
        bias[i] = (kl_logit_bias){token[180 + i], 40};
    struct kt_asked *asked = kt_bytes(4 * sizeof *asked);
    memset(asked, 0, 4 * sizeof *asked);
    for (int i = 0; i < 4; i++) {
        asked[i].r = (kl_request){.token = token, .n_token = 200 - 7 * i, .max_new = 140, .seed = (uint64_t)i};
        asked[i].r.sampling = (kl_sampling){.temperature = i == 3, .bias = bias, .n_bias = i < 2 ? 2 - (size_t)i : 0,
                                            .logprobs = true, .n_top = KT_TOPS};
        assert_true(kt_ask(s, &asked[i]));
    }
    kt_finish(s);
    for (int i = 0; i < 4; i++) {
        kt_assert_alone(&asked[i], &cold);
        assert_int_equal(asked[i].report.n_new, 140);
        assert_int_equal(asked[i].report.n_again, 0);
    }
    assert_true(asked[1].report.n_accepted > 100); /* one token for ever */
    assert_true(asked[3].report.n_drafted < 70);   /* by chance: it was given up */
    kl_scheduler_state state_of = kl_scheduler_state_of(s);
    assert_true(state_of.accepted_tokens >= asked[1].report.n_accepted);
    assert_true(state_of.drafted_tokens >= state_of.accepted_tokens);
    kl_scheduler_close(s);
    kt_close_engine(&hot);
    kt_close_engine(&cold);
    kt_free_all();
}

/* Pages for guesses are nobody's reason to give pages back. */
static void short_of_pages(void **state)
{
    (void)state;
    kt_rng r = {3};
    struct kt_engine cold = kt_open_engine(kt_tiny("q8_0"), 1, NULL);
    kl_state_cost cost = kl_config_state_cost(kl_model_config(cold.model), KL_CACHE_BF16);
    struct kt_engine hot =
        kt_open_engine(kt_tiny("q8_0"), 1, &(kl_engine_options){.cache_bytes = 4 * cost.page_bytes});
    kl_scheduler *s;
    KT_OK(kl_scheduler_open(&s, hot.engine, &(kl_scheduler_options){.draft_tokens = 16}, KT_ERR));
    int32_t *token = kt_tokens(&r, 2, cold.n_vocab);
    kl_logit_bias bias = {token[0], 90};
    struct kt_asked *asked = kt_bytes(2 * sizeof *asked);
    memset(asked, 0, 2 * sizeof *asked);
    for (int i = 0; i < 2; i++) {
        asked[i].r = (kl_request){.token = token, .n_token = 2, .max_new = 120};
        asked[i].r.sampling = (kl_sampling){.bias = &bias, .n_bias = 1, .logprobs = true, .n_top = KT_TOPS};
        assert_true(kt_ask(s, &asked[i]));
    }
    kt_finish(s);
    for (int i = 0; i < 2; i++) {
        kt_assert_alone(&asked[i], &cold);
        assert_int_equal(asked[i].report.n_new, 120);
        assert_int_equal(asked[i].report.n_preempted, 0);
        assert_true(asked[i].report.n_accepted > 80);
    }
    kl_error err = {0};
    KT_ASSERT_FAILED(kl_scheduler_open(&s, cold.engine, &(kl_scheduler_options){.draft_tokens = 17}, &err),
                     KL_ERR_ARGUMENT, &err, "draft_tokens is 17");
    kl_scheduler_close(s);
    kt_close_engine(&hot);
    kt_close_engine(&cold);
    kt_free_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lookups),
        cmocka_unit_test(spans),
        cmocka_unit_test(answers),
        cmocka_unit_test(short_of_pages),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_free_backends();
    kt_remove_files();
    return failed;
}
