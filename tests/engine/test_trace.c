/* Watching a session: it changes no bit, keeps no more than it said, and sees what was read, once. */
#include "support/tiny.h"

#include <math.h>
#include <string.h>

enum { N = 150, MORE = 6, KEPT = 64 };

static kl_trace *open_trace(const struct kt_engine *e, int64_t max_tokens)
{
    kl_trace *t;
    KT_OK(kl_trace_open(&t, e->model, &(kl_trace_options){.max_tokens = max_tokens}, KT_ERR));
    return t;
}

/* Reads the prompt and then MORE tokens one by one, watched by `t`; logits of the last one. */
static float *run(struct kt_engine *e, const int32_t *token, kl_trace *t)
{
    kl_session *s;
    float *logits = kt_floats(e->n_vocab);
    KT_OK(kl_session_open(&s, e->engine, KT_ERR));
    kl_session_trace(s, t);
    KT_OK(kl_prefill(s, token, N, logits, NULL, NULL, KT_ERR));
    for (int i = 0; i < MORE; i++)
        KT_OK(kl_decode(s, token[N + i], logits, KT_ERR));
    kl_session_close(s);
    return logits;
}

static void same_bits(void **state)
{
    (void)state;
    static const kl_cache_type types[] = {KL_CACHE_BF16, KL_CACHE_F32, KL_CACHE_Q8_0};
    for (int i = 0; i < 3; i++)
        for (int threads = 1; threads <= 2; threads++) {
            struct kt_engine e = kt_open_engine(kt_tiny("q8_0"), threads, &(kl_engine_options){.cache_type = types[i]});
            kt_rng r = {1};
            int32_t *token = kt_tokens(&r, N + MORE, e.n_vocab);
            kl_trace *t = open_trace(&e, 0);
            kt_assert_same_bits("watched", run(&e, token, t), run(&e, token, NULL), (size_t)e.n_vocab * sizeof(float));
            assert_int_equal(kl_trace_end(t), N + MORE);
            kl_trace_close(t);
            kt_close_engine(&e);
        }
    kt_free_all();
}

static double sum_of(const kl_trace_attention *a)
{
    double sum = a->before;
    for (int64_t i = 0; i < a->n; i++)
        sum += a->weight[i];
    return sum;
}

/* A trace that keeps the last 64 tokens counts the others as well, and says how much attention they got. */
static void window(void **state)
{
    (void)state;
    struct kt_engine e = kt_open_engine(kt_tiny("f32"), 1, &(kl_engine_options){.cache_type = KL_CACHE_F32});
    const kl_config *c = kl_model_config(e.model);
    kt_rng r = {2};
    int32_t *token = kt_tokens(&r, N + MORE, e.n_vocab);
    kl_trace *all = open_trace(&e, 0), *some = open_trace(&e, KEPT);
    run(&e, token, all);
    run(&e, token, some);
    assert_int_equal(kl_trace_first(all), 0);
    assert_int_equal(kl_trace_first(some), N + MORE - KEPT);
    assert_int_equal(kl_trace_token(some, N + MORE - KEPT - 1), -1);
    assert_int_equal(kl_trace_token(some, N + MORE), -1);
    assert_int_equal(kl_trace_token(some, -1), -1);
    int n_attention = 0, n_beta = 0;
    for (int l = 0; l < c->n_layer; l++) {
        kl_trace_attention whole, part;
        if (kl_trace_attention_of(&whole, all, l)) {
            assert_true(kl_trace_attention_of(&part, some, l));
            assert_int_equal(whole.n, N + MORE);
            assert_int_equal(part.n, KEPT);
            assert_true(fabs(sum_of(&whole) - 1) < 1e-5 && fabs(sum_of(&part) - 1) < 1e-5);
            assert_true(whole.before == 0 && part.before > 0);
            for (int64_t i = 0; i < KEPT; i++)
                assert_true(fabsf(part.weight[i] - whole.weight[part.first + i]) < 1e-6f);
            assert_null(kl_trace_top(all, l, 0));
            assert_non_null(kl_trace_top(all, l, N - 1));
            n_attention++;
        }
        kl_trace_decay d[2];
        if (kl_trace_decay_of(&d[0], all, l)) {
            assert_true(kl_trace_decay_of(&d[1], some, l));
            assert_int_equal(d[1].n_token, N + MORE);
            assert_memory_equal(d[0].bin, d[1].bin, (size_t)d[0].n_head * KL_TRACE_BINS * sizeof *d[0].bin);
            assert_true(kl_trace_half_life(&d[0], 0, 0.1) <= kl_trace_half_life(&d[0], 0, 0.9));
        }
        if (kl_trace_beta(all, l, 0)) {
            assert_null(kl_trace_beta(some, l, 0));
            int64_t last = N + MORE - 1;
            assert_memory_equal(kl_trace_beta(all, l, last), kl_trace_beta(some, l, last),
                                (size_t)c->n_kda_v_head * sizeof(float));
            n_beta++;
        }
    }
    assert_true(n_attention > 0 && n_beta > 0);
    kl_trace_reset(some);
    assert_int_equal(kl_trace_end(some), 0);
    kl_trace_close(all);
    kl_trace_close(some);
    kt_close_engine(&e);
    kt_free_all();
}

/* After a checkpoint the same positions are read again: they count once, and other tokens take their places. */
static void read_again(void **state)
{
    (void)state;
    struct kt_engine e = kt_open_engine(kt_tiny("f32"), 1, NULL);
    kt_rng r = {3};
    int32_t *token = kt_tokens(&r, N + MORE, e.n_vocab);
    kl_trace *t = open_trace(&e, 0);
    kl_session *s, *fork;
    kl_checkpoint *there;
    kl_trace_experts x;
    kl_trace_decay d;
    KT_OK(kl_session_open(&s, e.engine, KT_ERR));
    kl_session_trace(s, t);
    KT_OK(kl_prefill(s, token, 64, NULL, NULL, NULL, KT_ERR));
    KT_OK(kl_checkpoint_take(&there, s, KT_ERR));
    KT_OK(kl_prefill(s, token + 64, 20, NULL, NULL, NULL, KT_ERR));
    KT_OK(kl_session_resume(s, there, KT_ERR));
    KT_OK(kl_prefill(s, token + 100, 30, NULL, NULL, NULL, KT_ERR));
    assert_int_equal(kl_trace_end(t), 94);
    assert_int_equal(kl_trace_token(t, 64), token[100]);
    kl_trace_decay_of(&d, t, 0);
    assert_int_equal(d.n_token, 94);
    for (int l = 0; l < kl_model_config(e.model)->n_layer; l++)
        if (kl_trace_experts_of(&x, t, l)) {
            uint64_t n = 0;
            for (int i = 0; i < x.n_expert; i++)
                n += x.count[i];
            assert_int_equal(n, 94 * kl_model_config(e.model)->n_expert_used);
        }
    /* Nobody watches a fork, and a session is watched no longer than it should be. */
    KT_OK(kl_session_fork(&fork, s, KT_ERR));
    KT_OK(kl_decode(fork, token[0], kt_floats(e.n_vocab), KT_ERR));
    kl_session_trace(s, NULL);
    KT_OK(kl_decode(s, token[0], kt_floats(e.n_vocab), KT_ERR));
    assert_int_equal(kl_trace_end(t), 94);
    kl_session_close(s);
    kl_session_close(fork);
    kl_checkpoint_drop(there);
    kl_trace_close(t);
    kt_close_engine(&e);
    kt_free_all();
}

static void misuse(void **state)
{
    (void)state;
    kl_error err = {0};
    kl_trace *t;
    struct kt_engine e = kt_open_engine(kt_tiny("f32"), 1, NULL);
    KT_ASSERT_FAILED(kl_trace_open(&t, e.model, &(kl_trace_options){.max_tokens = -1}, &err), KL_ERR_ARGUMENT, &err,
                     "max_tokens of a trace is -1");
    t = open_trace(&e, 1);
    assert_null(kl_trace_beta(t, -1, 0));
    assert_null(kl_trace_beta(t, 999, 0));
    kl_trace_attention a;
    assert_false(kl_trace_attention_of(&a, t, 999));
    kl_trace_close(t);
    kl_trace_close(NULL);
    kt_close_engine(&e);
    kt_free_all();
}

/* What a full cache would take, by hand. */
static void memory_use(void **state)
{
    (void)state;
    kl_config c;
    KT_OK(kl_config_preset(&c, "48b", KT_ERR));
    kl_memory_use use = kl_config_memory_use(&c, KL_CACHE_BF16, 1000);
    assert_int_equal(use.recurrent_bytes, 43417600 + 1474560);
    assert_int_equal(use.latent_bytes, 16 * 64 * 8064);
    assert_int_equal(use.full_bytes, 1000LL * (20 * 2 * 32 * 128 * 2 + 8064));
    assert_int_equal(kl_config_memory_use(&c, KL_CACHE_F32, 1).full_bytes, 2 * (20 * 2 * 32 * 128 * 2 + 8064));
    assert_int_equal(kl_config_memory_use(&c, KL_CACHE_BF16, 0).full_bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bits), cmocka_unit_test(window),     cmocka_unit_test(read_again),
        cmocka_unit_test(misuse),    cmocka_unit_test(memory_use),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
