/* A step that is stopped ends between two tasks; its session is of no use until it is taken back, and others never
 * notice. */
#include "support/tiny.h"

#include <stdatomic.h>
#include <string.h>

/* True from the n-th time on that it is asked. */
struct patience {
    atomic_long left;
};

static bool lose_patience(void *user)
{
    struct patience *p = user;
    return atomic_fetch_sub(&p->left, 1) <= 0;
}

enum { N = 128 };

static void read_prompt(kl_session *s, const int32_t *token, float *logits)
{
    KT_OK(kl_prefill(s, token, N, logits, NULL, NULL, KT_ERR));
}

static void stopped_everywhere(int n_thread)
{
    struct kt_engine e = kt_open_engine(kt_tiny("f32"), n_thread, &(kl_engine_options){.max_batch_tokens = N});
    kt_rng r = {7};
    int32_t *token = kt_tokens(&r, N, e.n_vocab);
    float *want = kt_floats(e.n_vocab), *got = kt_floats(e.n_vocab);
    kl_session *s, *other;
    kl_checkpoint *start;
    kl_error err = {0};
    KT_OK(kl_session_open(&s, e.engine, KT_ERR));
    KT_OK(kl_session_open(&other, e.engine, KT_ERR));
    KT_OK(kl_checkpoint_take(&start, s, KT_ERR));
    read_prompt(other, token, want);
    int n_stopped = 0;
    bool finished = false;
    for (long n = 0; !finished; n = n * 3 / 2 + 1) {
        struct patience p = {n};
        kl_engine_stop_when(e.engine, lose_patience, &p);
        kl_status status = kl_prefill(s, token, N, got, NULL, NULL, &err);
        kl_engine_stop_when(e.engine, NULL, NULL);
        finished = status == KL_OK;
        if (!finished) {
            n_stopped++;
            assert_int_equal(status, KL_ERR_CANCELLED);
            assert_non_null(strstr(err.text, "stopped"));
            assert_int_equal(kl_session_length(s), 0);
            KT_ASSERT_FAILED(kl_decode(s, 1, got, &err), KL_ERR_NUMERIC, &err, "span 0");
            KT_OK(kl_session_resume(s, start, KT_ERR));
        }
    }
    kt_assert_same_bits("after stops", got, want, (size_t)e.n_vocab * sizeof *got);
    assert_true(n_stopped > 5);
    read_prompt(other, token, want); /* goes on from position N: never stopped, never broken */
    kl_checkpoint_drop(start);
    kl_session_close(s);
    kl_session_close(other);
    kt_close_engine(&e);
    kt_free_all();
}

static void stops_at_any_task(void **state)
{
    (void)state;
    stopped_everywhere(1);
    stopped_everywhere(3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(stops_at_any_task)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_free_backends();
    kt_remove_files();
    return failed;
}
