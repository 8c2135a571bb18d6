/* Experts that are read on demand: the same bits in any amount of memory, and a sentence when the file goes away. */
#include "support/tiny.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PROMPT = 150, WRITTEN = 5, ROWS = 1 + WRITTEN };

/* Logits behind a prompt and behind each of a few generated tokens, [ROWS][n_vocab]. */
static float *run(kl_session *s, int n_vocab, const int32_t *token)
{
    float *logits = kt_floats((int64_t)ROWS * n_vocab);
    KT_OK(kl_prefill(s, token, PROMPT, logits, NULL, NULL, KT_ERR));
    for (int i = 0; i < WRITTEN; i++)
        KT_OK(kl_decode(s, token[PROMPT + i], logits + (int64_t)(i + 1) * n_vocab, KT_ERR));
    return logits;
}

/* A model that may keep so many experts more than the least. */
static struct kt_engine open_lean(const char *path, int n_thread, int64_t more_experts)
{
    struct kt_engine e = {0};
    KT_OK(kl_model_open(&e.model, path, &(kl_model_options){.backend = kt_backend(kt_best_level(), n_thread)}, KT_ERR));
    kl_model_split s = kl_model_split_of(e.model);
    KT_OK(kl_model_limit(e.model, s.least_bytes + more_experts * s.expert_bytes, KT_ERR));
    KT_OK(kl_engine_open(&e.engine, e.model, &(kl_engine_options){.max_batch_tokens = 64}, KT_ERR));
    e.n_vocab = kl_model_config(e.model)->n_vocab;
    return e;
}

static void same_bits_of(const char *type)
{
    kt_rng r = {11};
    struct kt_engine whole = kt_open_engine(kt_tiny(type), 1, &(kl_engine_options){.max_batch_tokens = 64});
    int32_t *token = kt_tokens(&r, PROMPT + WRITTEN, whole.n_vocab);
    kl_session *s;
    KT_OK(kl_session_open(&s, whole.engine, KT_ERR));
    float *want = run(s, whole.n_vocab, token);
    kl_session_close(s);
    const int64_t more[] = {0, 1, 5, 1000};
    for (int i = 0; i < 4; i++)
        for (int n_thread = 1; n_thread <= 2; n_thread++) {
            struct kt_engine e = open_lean(kt_tiny(type), n_thread, more[i]);
            KT_OK(kl_session_open(&s, e.engine, KT_ERR));
            float *got = run(s, e.n_vocab, token);
            kt_assert_same_bits(type, got, want, (size_t)ROWS * (size_t)e.n_vocab * sizeof *got);
            kl_expert_traffic t = kl_model_traffic(e.model);
            kl_model_split split = kl_model_split_of(e.model);
            assert_true(t.n_slot >= kl_model_config(e.model)->n_expert_used && t.n_slot <= split.n_expert);
            assert_true(t.read_bytes > 0 && t.n_asked > 0 && t.n_found < t.n_asked);
            assert_int_equal(t.n_slot == split.n_expert, more[i] == 1000);
            if (more[i] == 1000) /* everything fits: nothing is read twice */
                assert_true(t.n_asked - t.n_found <= split.n_expert);
            kl_session_close(s);
            kt_close_engine(&e);
        }
    kt_close_engine(&whole);
    kt_free_all();
}

static void same_bits(void **state)
{
    (void)state;
    same_bits_of("f32");
    same_bits_of("bf16");
    same_bits_of("q8_0");
    same_bits_of("q4_0");
}

static void wrong_limits(void **state)
{
    (void)state;
    kl_error err = {0};
    kl_model *m;
    KT_OK(kl_model_open(&m, kt_tiny("q8_0"), &(kl_model_options){.backend = kt_backend("ref", 1)}, KT_ERR));
    kl_model_split s = kl_model_split_of(m);
    KT_ASSERT_FAILED(kl_model_limit(m, s.least_bytes - 1, &err), KL_ERR_MEMORY, &err, "expected at least");
    KT_OK(kl_model_limit(m, s.least_bytes, KT_ERR));
    KT_ASSERT_FAILED(kl_model_limit(m, s.least_bytes, &err), KL_ERR_ARGUMENT, &err, "limited already");
    kl_model_close(m);
}

/* The file is cut short under a running model: no signal, a sentence; when its bytes are back, so are the numbers. */
static void file_cut_short(void **state)
{
    (void)state;
    size_t bytes;
    unsigned char *file = kt_read_file(kt_tiny("q8_0"), &bytes);
    const char *path = kt_write_file("cut.gguf", file, bytes);
    kt_rng r = {3};
    struct kt_engine e = open_lean(path, 2, 0);
    int32_t *token = kt_tokens(&r, PROMPT + WRITTEN, e.n_vocab);
    kl_session *s;
    kl_checkpoint *start;
    kl_error err = {0};
    KT_OK(kl_session_open(&s, e.engine, KT_ERR));
    KT_OK(kl_checkpoint_take(&start, s, KT_ERR));
    float *want = run(s, e.n_vocab, token), *got = kt_floats(e.n_vocab);
    KT_OK(kl_session_resume(s, start, KT_ERR));
    assert_int_equal(truncate(path, (off_t)bytes / 8), 0);
    kl_status status = kl_prefill(s, token, PROMPT, got, NULL, NULL, &err);
    assert_int_equal(status, KL_ERR_IO);
    assert_non_null(strstr(err.text, "cut.gguf"));
    assert_non_null(strstr(err.text, "ends before byte"));
    KT_ASSERT_FAILED(kl_decode(s, token[0], got, &err), KL_ERR_NUMERIC, &err, "span 0");
    FILE *again = fopen(path, "r+b");
    assert_non_null(again);
    assert_int_equal(fwrite(file, 1, bytes, again), bytes);
    assert_int_equal(fclose(again), 0);
    KT_OK(kl_session_resume(s, start, KT_ERR));
    kt_assert_same_bits("after the file is back", run(s, e.n_vocab, token), want,
                        (size_t)ROWS * (size_t)e.n_vocab * sizeof *want);
    kl_checkpoint_drop(start);
    kl_session_close(s);
    kt_close_engine(&e);
    kt_free_all();
}

static void file_replaced(void **state)
{
    (void)state;
    size_t bytes;
    unsigned char *file = kt_read_file(kt_tiny("q8_0"), &bytes);
    char *path = strdup(kt_write_file("one.gguf", file, bytes));
    char *other = strdup(kt_write_file("two.gguf", file, bytes));
    kl_error err = {0};
    kl_model *m;
    KT_OK(kl_model_open(&m, path, &(kl_model_options){.backend = kt_backend("ref", 1)}, KT_ERR));
    assert_int_equal(rename(other, path), 0);
    KT_ASSERT_FAILED(kl_model_limit(m, kl_model_split_of(m).least_bytes, &err), KL_ERR_IO, &err, "one.gguf",
                     "another file");
    kl_model_close(m);
    free(path);
    free(other);
    kt_free_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bits),
        cmocka_unit_test(wrong_limits),
        cmocka_unit_test(file_cut_short),
        cmocka_unit_test(file_replaced),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_free_backends();
    kt_remove_files();
    return failed;
}
