/* Session files: what a user saved is whole or absent, and what is not whole is refused by name. */
#include "format/store.h"
#include "support/tiny.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

enum { N = 100 };

static const char extra[] = "of the caller";

static const char *saved_session(struct kt_engine *e)
{
    kl_session *s;
    kt_rng r = {1};
    KT_OK(kl_session_open(&s, e->engine, KT_ERR));
    KT_OK(kl_prefill(s, kt_tokens(&r, N, e->n_vocab), N, NULL, NULL, NULL, KT_ERR));
    KT_OK(kl_session_save(s, kt_path("saved"), extra, sizeof extra, KT_ERR));
    kl_session_close(s);
    return kt_path("saved");
}

static void assert_refused(struct kt_engine *e, const char *path, const char *word)
{
    kl_session *s = NULL;
    kl_error err = {0};
    KT_ASSERT_FAILED(kl_session_load(&s, e->engine, path, NULL, 0, NULL, &err), KL_ERR_FORMAT, &err, path, word);
    assert_null(s);
    assert_int_equal(kl_engine_memory_of(e->engine).pages_used, 0);
}

static void bytes_of_the_caller(void **state)
{
    (void)state;
    struct kt_engine e = kt_open_engine(kt_tiny("q8_0"), 1, NULL);
    const char *path = saved_session(&e);
    kl_session *s = NULL;
    char got[sizeof extra];
    size_t n = 0;
    kl_error err = {0};
    KT_ASSERT_FAILED(kl_session_load(&s, e.engine, path, got, sizeof extra - 1, &n, &err), KL_ERR_WORKSPACE, &err, "14",
                     "13");
    assert_int_equal(n, sizeof extra);
    KT_OK(kl_session_load(&s, e.engine, path, got, n, &n, KT_ERR));
    assert_string_equal(got, extra);
    assert_int_equal(kl_session_length(s), N);
    kl_session_close(s);
    kt_close_engine(&e);
    kt_free_all();
}

static void truncated_and_longer(void **state)
{
    (void)state;
    struct kt_engine e = kt_open_engine(kt_tiny("q8_0"), 1, NULL);
    size_t bytes;
    unsigned char *file = kt_read_file(saved_session(&e), &bytes);
    for (size_t n = 0; n < bytes; n = n < 200 ? n + 1 : n + n / 7)
        assert_refused(&e, kt_write_file("cut", file, n), n < 128 ? "not a session" : "truncated");
    unsigned char *longer = kt_bytes(bytes + 1);
    memcpy(longer, file, bytes);
    longer[bytes] = 0;
    assert_refused(&e, kt_write_file("cut", longer, bytes + 1), "too long");
    kt_close_engine(&e);
    kt_free_all();
}

/* A flipped bit anywhere: every byte of the header, and a sample of the rest. */
static void flipped(void **state)
{
    (void)state;
    struct kt_engine e = kt_open_engine(kt_tiny("q8_0"), 1, NULL);
    size_t bytes;
    unsigned char *file = kt_read_file(saved_session(&e), &bytes);
    for (size_t at = 0; at < bytes; at += at < 128 ? 1 : 4999)
        for (int bit = 0; bit < 8; bit += 3) {
            file[at] ^= (unsigned char)(1 << bit);
            kl_session *s = NULL;
            kl_error err = {0};
            kl_status status = kl_session_load(&s, e.engine, kt_write_file("flip", file, bytes), NULL, 0, NULL, &err);
            assert_true(status == KL_ERR_FORMAT);
            assert_null(s);
            file[at] ^= (unsigned char)(1 << bit);
        }
    kt_close_engine(&e);
    kt_free_all();
}

static void of_another_model_or_cache(void **state)
{
    (void)state;
    struct kt_engine e = kt_open_engine(kt_tiny("q8_0"), 1, NULL);
    const char *path = saved_session(&e);
    struct kt_engine wide = kt_open_engine(kt_tiny("q8_0"), 1, &(kl_engine_options){.cache_type = KL_CACHE_F32});
    assert_refused(&wide, path, "cache is bf16");
    kt_close_engine(&wide);
    struct kt_engine other = kt_open_engine(kt_tiny("f32"), 1, NULL);
    assert_refused(&other, path, "another model");
    kt_close_engine(&other);
    kl_config c;
    KT_OK(kl_config_preset(&c, "tiny", KT_ERR));
    c.rms_eps *= 2;
    other = kt_open_engine(kt_made("other.gguf", &c, "q8_0"), 1, NULL);
    assert_refused(&other, path, "another model");
    kt_close_engine(&other);
    kt_close_engine(&e);
    kt_free_all();
}

/* The tiny model with other numbers in its matrices, and in nothing else: so differ a model and one that was trained on
 * from it with its norms frozen. */
static const char *altered(void)
{
    size_t bytes;
    unsigned char *file = kt_read_file(kt_tiny("q8_0"), &bytes);
    struct kl__store *store;
    KT_OK(kl__store_open_bytes(&store, "altered.gguf", file, bytes, NULL, KT_ERR));
    for (int64_t i = 0; i < store->n_tensor; i++) {
        const struct kl__stored *t = &store->tensor[i];
        size_t at = (size_t)((const unsigned char *)t->data - file);
        for (size_t b = 0; b < t->bytes && t->type == KL__TYPE_Q8_0; b++)
            file[at + b] ^= 1;
    }
    kl__store_close(store);
    return kt_write_file("altered.gguf", file, bytes);
}

static void of_a_model_with_other_matrices(void **state)
{
    (void)state;
    struct kt_engine e = kt_open_engine(kt_tiny("q8_0"), 1, NULL), other = kt_open_engine(altered(), 1, NULL);
    assert_refused(&other, saved_session(&e), "another model");
    kt_close_engine(&other);
    kt_close_engine(&e);
    kt_free_all();
}

static void of_another_version(void **state)
{
    (void)state;
    struct kt_engine e = kt_open_engine(kt_tiny("q8_0"), 1, NULL);
    size_t bytes;
    unsigned char *file = kt_read_file(saved_session(&e), &bytes);
    file[8] = 0;
    assert_refused(&e, kt_write_file("old", file, bytes), "version 0, expected 1");
    kt_close_engine(&e);
    kt_free_all();
}

/* The disk is full half-way: the file that was there stays, and nothing else does. */
static void disk_full(void **state)
{
    (void)state;
    struct kt_engine e = kt_open_engine(kt_tiny("q8_0"), 1, NULL);
    size_t bytes, after;
    unsigned char *before = kt_read_file(saved_session(&e), &bytes);
    const char *folder = kt_make_directory("full");
    char path[256];
    snprintf(path, sizeof path, "%s/session", folder);
    kt_write_file(path, before, bytes);
    kl_session *s;
    KT_OK(kl_session_load(&s, e.engine, path, NULL, 0, NULL, KT_ERR));
    KT_OK(kl_decode(s, 1, NULL, KT_ERR));
    struct rlimit limit, old;
    getrlimit(RLIMIT_FSIZE, &old);
    limit = old;
    limit.rlim_cur = bytes / 2;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &limit);
    kl_error err = {0};
    kl_status status = kl_session_save(s, path, NULL, 0, &err);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_int_equal(status, KL_ERR_IO);
    assert_memory_equal(kt_read_file(path, &after), before, bytes);
    assert_int_equal(after, bytes);
    assert_int_equal(kt_count_files(folder), 1);
    kl_session_close(s);
    kt_close_engine(&e);
    kt_free_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_of_the_caller),
        cmocka_unit_test(truncated_and_longer),
        cmocka_unit_test(flipped),
        cmocka_unit_test(of_another_model_or_cache),
        cmocka_unit_test(of_a_model_with_other_matrices),
        cmocka_unit_test(of_another_version),
        cmocka_unit_test(disk_full),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_free_backends();
    kt_remove_files();
    return failed;
}
