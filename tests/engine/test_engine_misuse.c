/* Wrong calls get a sentence; numbers that are not finite end the sequence that has them, and no other. */
#include "format/store.h"
#include "support/tiny.h"

#include <math.h>
#include <string.h>

static void wrong_calls(void **state)
{
    (void)state;
    struct kt_engine e =
        kt_open_engine(kt_tiny("f32"), 1, &(kl_engine_options){.max_batch_tokens = 64, .max_batch_sequences = 2});
    struct kt_engine other = kt_open_engine(kt_tiny("f32"), 1, NULL);
    kl_session *s[3], *foreign;
    for (int i = 0; i < 3; i++)
        KT_OK(kl_session_open(&s[i], e.engine, KT_ERR));
    KT_OK(kl_session_open(&foreign, other.engine, KT_ERR));
    kl_error err = {0};
    int32_t token[65] = {0};
    kl_span span[3] = {{.session = s[0], .token = token, .n_token = 1},
                       {.session = s[1], .token = token, .n_token = 1},
                       {.session = s[2], .token = token, .n_token = 1}};
    KT_ASSERT_FAILED(kl_step(e.engine, span, 3, &err), KL_ERR_ARGUMENT, &err, "3 spans", "at most 2");
    span[1].n_token = 64;
    KT_ASSERT_FAILED(kl_step(e.engine, span, 2, &err), KL_ERR_ARGUMENT, &err, "65 tokens", "at most 64");
    span[1].n_token = 0;
    KT_ASSERT_FAILED(kl_step(e.engine, span, 2, &err), KL_ERR_ARGUMENT, &err, "span 1", "0 tokens");
    span[1].n_token = 1;
    span[1].session = s[0];
    KT_ASSERT_FAILED(kl_step(e.engine, span, 2, &err), KL_ERR_ARGUMENT, &err, "spans 0 and 1", "same session");
    span[1].session = foreign;
    KT_ASSERT_FAILED(kl_step(e.engine, span, 2, &err), KL_ERR_ARGUMENT, &err, "span 1", "another engine");
    span[1].session = s[1];
    token[0] = e.n_vocab;
    KT_ASSERT_FAILED(kl_step(e.engine, span, 2, &err), KL_ERR_ARGUMENT, &err, "span 0", "1024", "0 .. 1023");
    token[0] = -1;
    KT_ASSERT_FAILED(kl_step(e.engine, span, 2, &err), KL_ERR_ARGUMENT, &err, "span 0", "-1");
    token[0] = 0;
    span[0].want = KL_WANT_LAST;
    KT_ASSERT_FAILED(kl_step(e.engine, span, 2, &err), KL_ERR_ARGUMENT, &err, "span 0", "room");
    kl_engine *none = NULL;
    KT_ASSERT_FAILED(kl_engine_open(&none, e.model, &(kl_engine_options){.max_batch_tokens = -1}, &err),
                     KL_ERR_ARGUMENT, &err, "max_batch_tokens", "-1");
    KT_ASSERT_FAILED(kl_engine_open(&none, e.model, &(kl_engine_options){.cache_bytes = 1}, &err), KL_ERR_ARGUMENT,
                     &err, "cache_bytes", "1");
    for (int i = 0; i < 3; i++) {
        assert_int_equal(kl_session_length(s[i]), 0);
        kl_session_close(s[i]);
    }
    kl_session_close(foreign);
    kt_close_engine(&e);
    kt_close_engine(&other);
    kt_free_all();
}

/* The tiny model with NaN in the embedding of one token. */
static const char *poisoned(int token)
{
    size_t bytes;
    unsigned char *file = kt_read_file(kt_tiny("f32"), &bytes);
    struct kl__store *store;
    KT_OK(kl__store_open_bytes(&store, "poisoned.gguf", file, bytes, NULL, KT_ERR));
    const struct kl__stored *t = kl__store_find(store, "token_embd.weight");
    assert_non_null(t);
    size_t at = (size_t)((const unsigned char *)t->data - file) + (size_t)token * t->bytes / (size_t)t->dim[0];
    kl__store_close(store);
    const float nan = NAN;
    memcpy(file + at, &nan, sizeof nan);
    return kt_write_file("poisoned.gguf", file, bytes);
}

static void numbers_that_are_not_finite(void **state)
{
    (void)state;
    struct kt_engine e = kt_open_engine(poisoned(7), 2, NULL), clean = kt_open_engine(kt_tiny("f32"), 2, NULL);
    kl_session *bad, *good, *alone;
    KT_OK(kl_session_open(&bad, e.engine, KT_ERR));
    KT_OK(kl_session_open(&good, e.engine, KT_ERR));
    KT_OK(kl_session_open(&alone, clean.engine, KT_ERR));
    int32_t with[3] = {1, 7, 2}, without[3] = {1, 6, 2};
    float *logits[3];
    for (int i = 0; i < 3; i++)
        logits[i] = kt_floats(e.n_vocab);
    kl_span span[2] = {{.session = bad, .token = with, .n_token = 3, .want = KL_WANT_LAST, .logits = logits[0]},
                       {.session = good, .token = without, .n_token = 3, .want = KL_WANT_LAST, .logits = logits[1]}};
    KT_OK(kl_step(e.engine, span, 2, KT_ERR));
    assert_int_equal(span[0].status, KL_ERR_NUMERIC);
    assert_int_equal(span[1].status, KL_OK);
    KT_OK(kl_prefill(alone, without, 3, logits[2], NULL, NULL, KT_ERR));
    kt_assert_same_bits("beside a broken sequence", logits[1], logits[2], (size_t)e.n_vocab * sizeof(float));
    kl_error err = {0};
    KT_ASSERT_FAILED(kl_decode(bad, 1, NULL, &err), KL_ERR_NUMERIC, &err, "not finite");
    KT_ASSERT_FAILED(kl_session_save(bad, kt_path("bad"), NULL, 0, &err), KL_ERR_NUMERIC, &err, "not finite");
    kl_session_reset(bad);
    KT_OK(kl_decode(bad, 1, logits[0], KT_ERR));
    kl_session_close(bad);
    kl_session_close(good);
    kl_session_close(alone);
    kt_close_engine(&e);
    kt_close_engine(&clean);
    kt_free_all();
}

static bool stop_at(void *user, int64_t done, int64_t total)
{
    assert_true(done <= total);
    return done < *(int64_t *)user;
}

static void cancelled(void **state)
{
    (void)state;
    struct kt_engine e = kt_open_engine(kt_tiny("f32"), 1, &(kl_engine_options){.max_batch_tokens = 64});
    kl_session *s;
    kt_rng r = {1};
    int32_t *token = kt_tokens(&r, 1000, e.n_vocab);
    KT_OK(kl_session_open(&s, e.engine, KT_ERR));
    kl_error err = {0};
    int64_t limit = 100;
    KT_ASSERT_FAILED(kl_prefill(s, token, 1000, NULL, stop_at, &limit, &err), KL_ERR_CANCELLED, &err, "128 of 1000");
    assert_int_equal(kl_session_length(s), 128);
    kl_session_close(s);
    kt_close_engine(&e);
    kt_free_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_calls),
        cmocka_unit_test(numbers_that_are_not_finite),
        cmocka_unit_test(cancelled),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_free_backends();
    kt_remove_files();
    return failed;
}
