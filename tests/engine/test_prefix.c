/* The prefix cache: a hit never changes the answer, whatever was read, forked, given up or taken away before. */
#include "support/tiny.h"

#include <string.h>

enum { N_TURN = 12, MOST = 600 };

struct bench {
    struct kt_engine cached, cold;
    kl_prefix *prefix;
};

static struct bench open_bench(int64_t bytes, int64_t cache_bytes)
{
    struct bench b;
    b.cached = kt_open_engine(kt_tiny("q8_0"), 2, &(kl_engine_options){.cache_bytes = cache_bytes});
    b.cold = kt_open_engine(kt_tiny("q8_0"), 2, NULL);
    KT_OK(kl_prefix_open(&b.prefix, b.cached.engine, &(kl_prefix_options){.bytes = bytes}, KT_ERR));
    return b;
}

static void close_bench(struct bench *b)
{
    kl_prefix_close(b->prefix);
    assert_int_equal(kl_engine_memory_of(b->cached.engine).pages_used, 0);
    kt_close_engine(&b->cached);
    kt_close_engine(&b->cold);
}

/* Logits of a prompt and of one token after it, through the cache or without it. */
static void read_prompt(struct bench *b, bool cached, uint64_t space, const int32_t *token, int64_t n,
                        const int64_t *mark, int n_mark, float *logits, kl_prefix_report *report)
{
    kl_session *s;
    struct kt_engine *e = cached ? &b->cached : &b->cold;
    KT_OK(kl_session_open(&s, e->engine, KT_ERR));
    if (cached)
        KT_OK(kl_prefix_prefill(b->prefix, s, space, token, n, mark, n_mark, logits, report, NULL, NULL, KT_ERR));
    else
        KT_OK(kl_prefill(s, token, n, logits, NULL, NULL, KT_ERR));
    assert_int_equal(kl_session_length(s), n);
    assert_memory_equal(kl_session_tokens(s), token, (size_t)n * sizeof *token);
    KT_OK(kl_decode(s, token[0], logits + e->n_vocab, KT_ERR));
    kl_session_close(s);
}

static kl_prefix_report compare(struct bench *b, uint64_t space, const int32_t *token, int64_t n, const int64_t *mark,
                                int n_mark)
{
    int64_t n_logit = 2 * (int64_t)b->cold.n_vocab;
    float *got = kt_floats(n_logit), *want = kt_floats(n_logit);
    kl_prefix_report report;
    read_prompt(b, true, space, token, n, mark, n_mark, got, &report);
    read_prompt(b, false, space, token, n, NULL, 0, want, NULL);
    kt_assert_same_bits("a prompt through the cache", got, want, (size_t)n_logit * sizeof *got);
    assert_int_equal(report.reused + report.read, n);
    assert_true(report.reused <= report.matched && report.matched <= n && report.reused % KL_PAGE_TOKENS == 0);
    return report;
}

static void a_conversation_is_read_once(void **state)
{
    (void)state;
    struct bench b = open_bench(0, 0);
    kt_rng r = {1};
    int32_t *token = kt_tokens(&r, MOST, b.cold.n_vocab);
    int64_t before = 0;
    for (int64_t n = 70; n <= MOST; n += 70) {
        kl_prefix_report report = compare(&b, 0, token, n, NULL, 0);
        assert_int_equal(report.reused, before);
        before = (n - 1) / KL_PAGE_TOKENS * KL_PAGE_TOKENS;
    }
    kl_prefix_report other = compare(&b, 1, token, MOST, NULL, 0); /* another user sees nothing of it */
    assert_int_equal(other.matched, 0);
    close_bench(&b);
    kt_free_all();
}

/* An edit in the middle goes back to the nearest checkpoint before it; a mark puts one where it is wanted. */
static void edits_and_marks(void **state)
{
    (void)state;
    struct bench b = open_bench(0, 0);
    kt_rng r = {2};
    int32_t *token = kt_tokens(&r, MOST, b.cold.n_vocab);
    const int64_t mark[] = {200, 400};
    compare(&b, 0, token, 590, mark, 2);
    token[450]++;
    token[450] %= b.cold.n_vocab;
    kl_prefix_report report = compare(&b, 0, token, 590, NULL, 0);
    assert_int_equal(report.matched, 448);
    assert_int_equal(report.reused, 384);
    token[210]++;
    token[210] %= b.cold.n_vocab;
    assert_int_equal(compare(&b, 0, token, 590, NULL, 0).reused, 192);
    close_bench(&b);
    kt_free_all();
}

/* Prompts that share beginnings at random, a budget that holds few of them, a pool that runs out. */
static void random_prompts(void **state)
{
    (void)state;
    kl_state_cost cost = {0};
    for (int round = 0; round < 3; round++) {
        struct bench b = open_bench(0, 0);
        cost = kl_config_state_cost(kl_model_config(b.cold.model), KL_CACHE_BF16);
        close_bench(&b);
        int64_t budget = round == 1 ? 6 * (cost.fixed_bytes + 2 * cost.page_bytes) : 0;
        int64_t pool = round == 2 ? 17 * cost.page_bytes : 0;
        b = open_bench(budget, pool);
        kt_rng r = {(uint64_t)round + 3};
        int32_t *token = kt_tokens(&r, MOST, b.cold.n_vocab);
        int64_t reused = 0;
        for (int i = 0; i < 30; i++) {
            int64_t n = 1 + kt_below(&r, MOST);
            if (i % 3 == 0) {
                int64_t at = kt_below(&r, MOST);
                token[at] = (token[at] + 1) % b.cold.n_vocab;
            }
            const int64_t mark[] = {n / 3, n / 2};
            reused += compare(&b, (uint64_t)kt_below(&r, 2), token, n, mark, (int)kt_below(&r, 3)).reused;
            kl_prefix_state s = kl_prefix_state_of(b.prefix);
            assert_true(s.bytes <= s.most_bytes);
            assert_int_equal(s.bytes, s.n_checkpoint * cost.fixed_bytes + s.n_block * cost.page_bytes);
        }
        assert_true(reused > 0);
        kl_prefix_clear(b.prefix);
        assert_int_equal(kl_prefix_state_of(b.prefix).n_block, 0);
        close_bench(&b);
        kt_free_all();
    }
}

static void refusals(void **state)
{
    (void)state;
    struct bench b = open_bench(0, 0);
    kl_error err = {0};
    kl_prefix *second = NULL;
    KT_ASSERT_FAILED(kl_prefix_open(&second, b.cached.engine, NULL, &err), KL_ERR_ARGUMENT, &err, "already");
    KT_ASSERT_FAILED(kl_prefix_open(&second, b.cold.engine, &(kl_prefix_options){.bytes = -1}, &err), KL_ERR_ARGUMENT,
                     &err, "bytes", "-1");
    kl_session *s;
    int32_t token[2] = {1, 2};
    KT_OK(kl_session_open(&s, b.cached.engine, KT_ERR));
    KT_OK(kl_decode(s, 1, NULL, KT_ERR));
    KT_ASSERT_FAILED(kl_prefix_prefill(b.prefix, s, 0, token, 2, NULL, 0, NULL, NULL, NULL, NULL, &err),
                     KL_ERR_ARGUMENT, &err, "1 tokens", "empty");
    kl_session_close(s);
    close_bench(&b);
    kt_free_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_conversation_is_read_once),
        cmocka_unit_test(edits_and_marks),
        cmocka_unit_test(random_prompts),
        cmocka_unit_test(refusals),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_free_backends();
    kt_remove_files();
    return failed;
}
