/* A session far out, saved, loaded and gone on with: the same bits, and pages that add up.  FAR_TOKENS says how far. */
#include "support/tiny.h"

#include <stdlib.h>
#include <string.h>

static int64_t depth(void)
{
    const char *text = getenv("FAR_TOKENS");
    return text ? strtoll(text, NULL, 10) : 20000;
}

/* Logits behind a few tokens of a prompt and a few generated ones. */
static float *go_on(struct kt_engine *e, kl_session *s)
{
    static const int32_t token[5] = {5, 4, 3, 2, 1};
    float *logits = kt_floats(3 * (int64_t)e->n_vocab);
    KT_OK(kl_prefill(s, token, 5, logits, NULL, NULL, KT_ERR));
    for (int i = 1; i < 3; i++)
        KT_OK(kl_decode(s, token[i], logits + (int64_t)i * e->n_vocab, KT_ERR));
    return logits;
}

static void a_far_session_goes_on(void **state)
{
    (void)state;
    const int64_t n = depth();
    struct kt_engine e = kt_open_engine(kt_tiny("q8_0"), 2, &(kl_engine_options){.max_batch_tokens = 64});
    kl_session *s, *loaded;
    const char *path = kt_path("far");
    KT_OK(kl_session_open(&s, e.engine, KT_ERR));
    KT_OK(kl_session_fill_random(s, n, 1, KT_ERR));
    KT_OK(kl_session_save(s, path, NULL, 0, KT_ERR));
    KT_OK(kl_session_load(&loaded, e.engine, path, NULL, 0, NULL, KT_ERR));
    assert_int_equal(kl_session_length(loaded), n);
    assert_int_equal(kl_engine_memory_of(e.engine).pages_used, 2 * ((n + 63) / 64));
    float *one = go_on(&e, s), *other = go_on(&e, loaded);
    kt_assert_same_bits("logits behind a loaded session", other, one, 3 * (size_t)e.n_vocab * sizeof *one);
    assert_int_equal(kl_session_length(loaded), n + 7);
    kl_session_close(s);
    kl_session_close(loaded);
    kt_close_engine(&e);
    kt_free_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_far_session_goes_on),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_free_backends();
    kt_remove_files();
    return failed;
}
