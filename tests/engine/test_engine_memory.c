/* Memory: what a sequence takes is what the arithmetic says; a warm step allocates nothing; budgets are kept; each
 * allocation may fail. */
#include "support/tiny.h"

#include <stdio.h>

/* The released geometry, without its weights: bytes of model.md's table. */
static void released_geometry(void **state)
{
    (void)state;
    kl_config c, full;
    KT_OK(kl_config_preset(&c, "48b", KT_ERR));
    KT_OK(kl_config_preset(&full, "48b-mla", KT_ERR));
    kl_state_cost hybrid = kl_config_state_cost(&c, KL_CACHE_BF16), mla = kl_config_state_cost(&full, KL_CACHE_BF16);
    /* Tails of the convolutions are f32 here, twice the bf16 of the table. */
    assert_int_equal(hybrid.fixed_bytes, 43417600 + 1474560);
    assert_int_equal(hybrid.token_bytes, 8064);
    assert_int_equal(mla.fixed_bytes, 0);
    assert_int_equal(mla.token_bytes, 27 * 1152);
    const int64_t tokens[] = {4096, 131072, 1048576};
    const double saving[] = {0.40, 0.730, 0.739};
    for (int i = 0; i < 3; i++) {
        double with = (double)(hybrid.fixed_bytes + tokens[i] * hybrid.token_bytes);
        double got = 1 - with / (double)(tokens[i] * mla.token_bytes);
        assert_true(got > saving[i] - 0.015 && got < saving[i] + 0.005);
    }
    assert_int_equal(kl_config_state_cost(&c, KL_CACHE_F32).token_bytes, 2 * 8064);
    assert_int_equal(kl_config_state_cost(&c, KL_CACHE_Q8_0).token_bytes, 7 * 18 * 34);
}

static void pages_follow_the_tokens(void **state)
{
    (void)state;
    struct kt_engine e = kt_open_engine(kt_tiny("f32"), 1, NULL);
    kl_state_cost cost = kl_config_state_cost(kl_model_config(e.model), KL_CACHE_BF16);
    kl_session *s, *copy;
    kt_rng r = {1};
    KT_OK(kl_session_open(&s, e.engine, KT_ERR));
    for (int n = 1; n <= 200; n += 33) {
        KT_OK(kl_prefill(s, kt_tokens(&r, 33, e.n_vocab), 33, NULL, NULL, NULL, KT_ERR));
        kl_engine_memory m = kl_engine_memory_of(e.engine);
        assert_int_equal(m.page_bytes, cost.page_bytes);
        assert_int_equal(m.fixed_bytes, cost.fixed_bytes);
        assert_int_equal(m.pages_used, (kl_session_length(s) + 63) / 64);
    }
    int64_t used = kl_engine_memory_of(e.engine).pages_used;
    KT_OK(kl_session_fork(&copy, s, KT_ERR));
    assert_int_equal(kl_engine_memory_of(e.engine).pages_used, used + 1); /* all but the last are shared */
    kl_session_reset(s);
    assert_int_equal(kl_engine_memory_of(e.engine).pages_used, used);
    kl_session_close(s);
    kl_session_close(copy);
    assert_int_equal(kl_engine_memory_of(e.engine).pages_used, 0);
    kt_close_engine(&e);
    kt_free_all();
}

static struct kt_engine open_three_pages(void)
{
    struct kt_engine e = kt_open_engine(kt_tiny("f32"), 1, NULL);
    int64_t page = kl_engine_memory_of(e.engine).page_bytes;
    kt_close_engine(&e);
    return kt_open_engine(kt_tiny("f32"), 1, &(kl_engine_options){.cache_bytes = 3 * page});
}

static void budget(void **state)
{
    (void)state;
    kl_error err = {0};
    struct kt_engine e = open_three_pages();
    kl_session *s[2];
    kt_rng r = {2};
    int32_t *token = kt_tokens(&r, 200, e.n_vocab);
    for (int i = 0; i < 2; i++)
        KT_OK(kl_session_open(&s[i], e.engine, KT_ERR));
    KT_OK(kl_prefill(s[0], token, 128, NULL, NULL, NULL, KT_ERR));
    kl_span span[2] = {{.session = s[1], .token = token, .n_token = 64},
                       {.session = s[0], .token = token, .n_token = 1}};
    KT_ASSERT_FAILED(kl_step(e.engine, span, 2, &err), KL_ERR_MEMORY, &err, "3 pages");
    assert_int_equal(kl_session_length(s[0]), 128);
    assert_int_equal(kl_session_length(s[1]), 0);
    assert_int_equal(kl_engine_memory_of(e.engine).pages_used, 2);
    KT_OK(kl_step(e.engine, span, 1, KT_ERR)); /* what fits still runs */
    for (int i = 0; i < 2; i++)
        kl_session_close(s[i]);
    kt_close_engine(&e);
    kt_free_all();
}

/* All pages are in use, by the session that is to go back and by its checkpoint. */
static void going_back_takes_no_page(void **state)
{
    (void)state;
    kl_error err = {0};
    struct kt_engine e = open_three_pages();
    kl_session *s;
    kl_checkpoint *c;
    kt_rng r = {4};
    int32_t *token = kt_tokens(&r, 200, e.n_vocab);
    float *want = kt_floats(e.n_vocab), *got = kt_floats(e.n_vocab);
    KT_OK(kl_session_open(&s, e.engine, KT_ERR));
    KT_OK(kl_prefill(s, token, 31, NULL, NULL, NULL, KT_ERR));
    KT_OK(kl_decode(s, token[31], want, KT_ERR));
    kl_session_reset(s);
    KT_OK(kl_prefill(s, token, 31, NULL, NULL, NULL, KT_ERR));
    KT_OK(kl_checkpoint_take(&c, s, KT_ERR));
    for (int i = 0; i < 3; i++) { /* as often as one likes */
        KT_OK(kl_prefill(s, token + 50, 97, NULL, NULL, NULL, KT_ERR));
        KT_ASSERT_FAILED(kl_decode(s, token[31], NULL, &err), KL_ERR_MEMORY, &err, "3 pages");
        KT_OK(kl_session_resume(s, c, KT_ERR));
        assert_int_equal(kl_session_length(s), 31);
        assert_memory_equal(kl_session_tokens(s), token, 31 * sizeof *token);
        assert_int_equal(kl_engine_memory_of(e.engine).pages_used, 2);
    }
    KT_OK(kl_decode(s, token[31], got, KT_ERR));
    kt_assert_same_bits("behind the checkpoint", got, want, (size_t)e.n_vocab * sizeof *got);
    kl_checkpoint_drop(c);
    kl_session_close(s);
    kt_close_engine(&e);
    kt_free_all();
}

static void warm_steps_allocate_nothing(void **state)
{
    (void)state;
    struct kt_heap heap;
    kt_heap_init(&heap, 0);
    kl_model *model;
    kl_engine *engine;
    kl_session *s;
    KT_OK(
        kl_model_open(&model, kt_tiny("q4_k"), &(kl_model_options){.backend = kt_backend(kt_best_level(), 2)}, KT_ERR));
    KT_OK(kl_engine_open(&engine, model, &(kl_engine_options){.alloc = &heap.alloc}, KT_ERR));
    KT_OK(kl_session_open(&s, engine, KT_ERR));
    kt_rng r = {3};
    int n_vocab = kl_model_config(model)->n_vocab;
    int32_t *token = kt_tokens(&r, 300, n_vocab);
    float *logits = kt_floats(n_vocab);
    KT_OK(kl_decode(s, token[0], logits, KT_ERR));
    int64_t before = heap.n_call;
    KT_OK(kl_prefill(s, token, 300, logits, NULL, NULL, KT_ERR));
    for (int i = 0; i < 20; i++)
        KT_OK(kl_decode(s, token[i], logits, KT_ERR));
    assert_int_equal(heap.n_call, before);
    kl_session_close(s);
    kl_engine_close(engine);
    assert_int_equal(heap.n_out, 0);
    kl_model_close(model);
    kt_free_all();
}

/* Everything that allocates, in one walk. */
static kl_status everything(const kl_allocator *alloc, const char *path, kl_error *err)
{
    kl_model *model = NULL;
    kl_engine *engine = NULL;
    kl_session *s = NULL, *copy = NULL, *loaded = NULL;
    kl_checkpoint *c = NULL;
    const int32_t token[3] = {1, 2, 3};
    kl_model_options options = {.backend = kt_backend(kt_best_level(), 1), .alloc = alloc};
    kl_status status = kl_model_open(&model, path, &options, err);
    if (status == KL_OK)
        status = kl_engine_open(&engine, model, &(kl_engine_options){.alloc = alloc, .cache_bytes = 1 << 24}, err);
    if (status == KL_OK)
        status = kl_session_open(&s, engine, err);
    if (status == KL_OK)
        status = kl_prefill(s, token, 3, NULL, NULL, NULL, err);
    if (status == KL_OK)
        status = kl_session_fork(&copy, s, err);
    if (status == KL_OK)
        status = kl_checkpoint_take(&c, s, err);
    if (status == KL_OK)
        status = kl_session_resume(s, c, err);
    if (status == KL_OK)
        status = kl_session_save(s, kt_path("torture"), "x", 1, err);
    if (status == KL_OK)
        status = kl_session_load(&loaded, engine, kt_path("torture"), NULL, 0, NULL, err);
    kl_session_close(loaded);
    kl_checkpoint_drop(c);
    kl_session_close(copy);
    kl_session_close(s);
    kl_engine_close(engine);
    kl_model_close(model);
    return status;
}

static void each_allocation_fails(void **state)
{
    (void)state;
    char path[256];
    snprintf(path, sizeof path, "%s", kt_tiny("q8_0")); /* kt_path() keeps only the last few */
    for (int fail_at = 1;; fail_at++) {
        struct kt_heap heap;
        kl_error err = {0};
        kt_heap_init(&heap, fail_at);
        kl_status status = everything(&heap.alloc, path, &err);
        assert_int_equal(heap.n_out, 0);
        if (status == KL_OK) {
            assert_true(heap.n_call < fail_at);
            break;
        }
        if (status != KL_ERR_MEMORY || !err.text[0])
            fail_msg("allocation %d: %s (%s)", fail_at, kl_status_name(status), err.text);
    }
    kt_free_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(released_geometry),
        cmocka_unit_test(pages_follow_the_tokens),
        cmocka_unit_test(budget),
        cmocka_unit_test(going_back_takes_no_page),
        cmocka_unit_test(warm_steps_allocate_nothing),
        cmocka_unit_test(each_allocation_fails),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_free_backends();
    kt_remove_files();
    return failed;
}
