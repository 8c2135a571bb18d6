/* Walking a sequence backwards: every chunk once, last first, with the right state, whatever the segments. */
#include "support/kt.h"

#include "cpu/replay.h"

#include <string.h>

enum { CHUNK = 4, STATE = 3, ROW = 2, T_MAX = 60 };

/* A state is the sum of the numbers of the tokens so far, in each of its STATE places; a token writes its number. */
struct log {
    int64_t next_end; /* where the next backward chunk has to end */
    int64_t n_token;
    int n_load, n_forward;
};

static float sum_before(int64_t t)
{
    return (float)(t * (t - 1) / 2);
}

static void load(void *ctx, float *state, int64_t t)
{
    ((struct log *)ctx)->n_load++;
    for (int i = 0; i < STATE; i++)
        state[i] = sum_before(t);
}

static void forward(void *ctx, float *state, float *written, int64_t t, int n)
{
    ((struct log *)ctx)->n_forward++;
    for (int r = 0; r < n; r++) {
        for (int i = 0; i < STATE; i++)
            state[i] += (float)(t + r);
        for (int i = 0; written && i < ROW; i++)
            written[r * ROW + i] = (float)(t + r);
    }
}

static void backward(void *ctx, const float *state, const float *written, int64_t t, int n)
{
    struct log *log = ctx;
    assert_int_equal(t % CHUNK, 0);
    assert_int_equal(t + n, log->next_end);
    assert_true(n == CHUNK || log->next_end == log->n_token);
    log->next_end = t;
    for (int i = 0; i < STATE; i++)
        assert_true(state[i] == sum_before(t));
    for (int r = 0; r < n; r++)
        for (int i = 0; i < ROW; i++)
            assert_true(written[r * ROW + i] == (float)(t + r));
}

static const struct kl__replay_steps steps = {load, forward, backward};

static struct log walk(struct kl__replay_plan plan, int64_t n_token, bool uses_given)
{
    struct kl__carver c = {0};
    struct kl__replay_memory m;
    kl__replay_carve(&c, &plan, &m);
    c = kl__carver(kt_work(kl__carver_need(&c)));
    kl__replay_carve(&c, &plan, &m);
    struct log log = {.next_end = n_token, .n_token = n_token};
    kl__replay(&plan, &m, &steps, &log, n_token, uses_given);
    assert_int_equal(log.next_end, 0);
    kt_check_all();
    return log;
}

static void every_chunk_once(void **state)
{
    (void)state;
    for (int64_t n_token = 0; n_token <= T_MAX; n_token++)
        for (int64_t segment = CHUNK; segment <= 64; segment *= 2) {
            struct kl__replay_plan plan = {
                .chunk = CHUNK, .state_floats = STATE, .row_floats = ROW, .segment = segment};
            int64_t n_chunk = (n_token + CHUNK - 1) / CHUNK;
            plan.n_checkpoint = T_MAX / segment;
            struct log own = walk(plan, n_token, false), given = walk(plan, n_token, true);
            int64_t last = n_token ? (n_token - 1) / segment * segment : 0; /* where the last segment starts */
            assert_int_equal(own.n_forward, n_chunk + last / CHUNK);
            assert_int_equal(given.n_forward, n_chunk);
            assert_int_equal(given.n_load, (n_token + segment - 1) / segment);
        }
    kt_free_all();
}

static void plans(void **state)
{
    (void)state;
    struct kl__replay_plan p = kl__replay_plan(1000, 16, 128 * 128, 128, 0);
    assert_int_equal(p.segment, 1008); /* one segment holds it all */
    assert_int_equal(p.n_checkpoint, 0);
    p = kl__replay_plan(100000, 16, 128 * 128, 128, 0);
    assert_true(p.segment < 100000 && p.segment % 16 == 0);
    assert_int_equal(p.n_checkpoint, (100000 - 1) / p.segment);
    p = kl__replay_plan(100000, 16, 128 * 128, 128, 64);
    assert_int_equal(p.segment, 64);
    assert_int_equal(p.n_checkpoint, 0);
    assert_true(kl__replay_uses_given(&p, 64));
    p = kl__replay_plan(1000, 16, 128 * 128, 128, 4096); /* further apart than a segment is long */
    assert_false(kl__replay_uses_given(&p, 4096));
    p = kl__replay_plan(INT64_MAX, 8, 4096 * 4096, 4096, 0);
    assert_int_equal(p.segment, 8);
    p = kl__replay_plan(0, 16, 16, 16, 0);
    assert_int_equal(p.n_checkpoint, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_chunk_once), cmocka_unit_test(plans)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
