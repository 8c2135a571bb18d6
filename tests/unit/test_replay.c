/* Walking a sequence backwards: every chunk once, last first, with the right state, whatever the spans and blocks. */
#include "support/kt.h"

#include "cpu/replay.h"

#include <string.h>

enum { CHUNK = 4, STATE = 3, ROW = 2, T_MAX = 60 };

/* A state is the sum of the numbers of the tokens so far, in each of its STATE places; a token writes its number. */
struct log {
    int64_t n_token, next_end; /* where the next backward chunk has to end */
    int block, n_load, n_forward, n_again;
    int64_t prepared[KL__REPLAY_BLOCK]; /* first token of the chunk in each place of the block */
};

static float sum_before(int64_t t)
{
    return (float)(t * (t - 1) / 2);
}

static void assert_state(const float *state, int64_t t)
{
    for (int i = 0; i < STATE; i++)
        assert_true(state[i] == sum_before(t));
}

static void load(void *ctx, float *state, int64_t t)
{
    ((struct log *)ctx)->n_load++;
    for (int i = 0; i < STATE; i++)
        state[i] = sum_before(t);
}

static void forward(void *ctx, float *state, const struct kl__replay_chunk *c)
{
    ((struct log *)ctx)->n_forward++;
    assert_state(state, c->t);
    for (int i = 0; i < STATE; i++)
        state[i] = sum_before(c->t + c->n);
    for (int i = 0; c->written && i < c->n * ROW; i++)
        c->written[i] = (float)c->t;
}

static void again(void *ctx, float *after, const float *before, const struct kl__replay_chunk *c)
{
    struct log *log = ctx;
    log->n_again++;
    assert_in_range(c->i, 0, log->block - 1);
    log->prepared[c->i] = c->t;
    assert_state(before, c->t);
    for (int i = 0; after && i < STATE; i++)
        after[i] = sum_before(c->t + c->n);
}

static void backward(void *ctx, const float *before, const struct kl__replay_chunk *c)
{
    struct log *log = ctx;
    assert_int_equal(c->t % CHUNK, 0);
    assert_int_equal(c->t + c->n, log->next_end);
    assert_true(c->n == CHUNK || log->next_end == log->n_token);
    assert_int_equal(log->prepared[c->i], c->t);
    log->next_end = c->t;
    assert_state(before, c->t);
    for (int i = 0; i < c->n * ROW; i++)
        assert_true(c->written[i] == (float)c->t);
}

static const struct kl__replay_steps steps = {load, forward, again, backward};

static struct log walk(struct kl__replay_plan plan, int64_t n_token, bool uses_given)
{
    struct kl__carver c = {0};
    struct kl__replay_memory m;
    kl__replay_carve(&c, &plan, &m);
    c = kl__carver(kt_work(kl__carver_need(&c)));
    kl__replay_carve(&c, &plan, &m);
    struct log log = {.n_token = n_token, .next_end = n_token, .block = plan.block};
    kl__replay(&plan, &m, &steps, &log, n_token, uses_given);
    assert_int_equal(log.next_end, 0);
    kt_check_all();
    return log;
}

static void every_chunk_once(void **state)
{
    (void)state;
    for (int64_t n_token = 0; n_token <= T_MAX; n_token++)
        for (int64_t span = CHUNK; span <= 64; span += 3 * CHUNK)
            for (int block = 1; block <= KL__REPLAY_BLOCK; block++) {
                struct kl__replay_plan plan = {.chunk = CHUNK, .state_floats = STATE, .row_floats = ROW};
                plan.span = span;
                plan.block = block;
                plan.n_span_start = T_MAX / span;
                int64_t n_chunk = (n_token + CHUNK - 1) / CHUNK;
                struct log own = walk(plan, n_token, false), given = walk(plan, n_token, true);
                int64_t last = n_token ? (n_token - 1) / span * span : 0; /* where the last span starts */
                assert_int_equal(own.n_forward, n_chunk + last / CHUNK);
                assert_int_equal(own.n_again, n_chunk);
                assert_int_equal(given.n_forward, n_chunk);
                assert_int_equal(given.n_load, (n_token + span - 1) / span);
                kt_free_all();
            }
}

static void plans(void **state)
{
    (void)state;
    struct kl__replay_plan p = kl__replay_plan(1000, 16, 128 * 128, 128 + 32, 0);
    assert_int_equal(p.span, 1008); /* one span holds it all */
    assert_int_equal(p.n_span_start, 0);
    assert_int_equal(p.block, 8);
    p = kl__replay_plan(1000000, 16, 128 * 128, 128 + 32, 0);
    assert_true(p.span < 1000000 && p.span % 16 == 0);
    assert_int_equal(p.n_span_start, (1000000 - 1) / p.span);
    p = kl__replay_plan(1000000, 16, 128 * 128, 128 + 32, 64);
    assert_int_equal(p.span, 64);
    assert_int_equal(p.n_span_start, 0);
    assert_true(kl__replay_uses_given(&p, 64));
    p = kl__replay_plan(1000, 16, 128 * 128, 128 + 32, 4096); /* further apart than a span is long */
    assert_false(kl__replay_uses_given(&p, 4096));
    p = kl__replay_plan(INT64_MAX, 8, 4096 * 4096, 4096, 0);
    assert_int_equal(p.span, 8);
    assert_int_equal(p.block, 1);
    p = kl__replay_plan(0, 16, 16, 16, 0);
    assert_int_equal(p.n_span_start, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_chunk_once), cmocka_unit_test(plans)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
