/* Walking a sequence backwards: every chunk once, last first, with the right state, whatever the spans and blocks. */
#include "support/kt.h"

#include "cpu/replay.h"

enum { CHUNK = 4, STATE = 3, HEADS = 3, T_MAX = 60 };

/* The state of a head is its number plus the sum of the numbers of the tokens so far, in each of its STATE places. */
struct log {
    struct kl__replay_plan plan;
    int64_t n_token, next_end[HEADS]; /* where a head's next backward chunk has to end */
    int n_head, n_load, n_forward, n_again;
    int owner;                          /* of the block */
    int64_t prepared[KL__REPLAY_BLOCK]; /* first token of the chunk in each place of the block */
    bool has_next;
    struct kl__replay_chunk next; /* what was said to come */
    struct kl__replay_chunk later[KL__REPLAY_BLOCK]; /* what was said to come in the block after this one */
    int n_later, n_told;
};

static float sum_before(int head, int64_t t)
{
    return (float)(1000 * head + t * (t - 1) / 2);
}

static void set_state(float *state, int head, int64_t t)
{
    for (int i = 0; i < STATE; i++)
        state[i] = sum_before(head, t);
}

static void assert_state(const float *state, int head, int64_t t)
{
    for (int i = 0; i < STATE; i++)
        assert_true(state[i] == sum_before(head, t));
}

static void load(void *ctx, int head, float *state, int64_t t)
{
    struct log *log = ctx;
    log->n_load++;
    assert_int_equal(log->plan.uses_given ? t % log->plan.span : t, 0);
    set_state(state, head, t);
}

static void run_again(struct log *log, float *state, const float *before, const struct kl__replay_chunk *c)
{
    log->n_again++;
    log->n_told += c->told;
    if (c->told)
        assert_true(log->later[c->i].head == c->head && log->later[c->i].t == c->t && log->later[c->i].n == c->n);
    assert_in_range(c->i, 0, log->plan.block - 1);
    assert_true(c->i == 0 || log->owner == c->head);
    log->owner = c->head;
    log->prepared[c->i] = c->t;
    assert_state(before, c->head, c->t);
    if (state)
        set_state(state, c->head, c->t + c->n);
}

static void run_backward(struct log *log, const float *before, const struct kl__replay_chunk *c)
{
    assert_int_equal(c->t % CHUNK, 0);
    assert_int_equal(c->t + c->n, log->next_end[c->head]);
    assert_true(c->n == CHUNK || c->t + c->n == log->n_token);
    assert_int_equal(log->owner, c->head);
    assert_int_equal(log->prepared[c->i], c->t);
    log->next_end[c->head] = c->t;
    assert_state(before, c->head, c->t);
}

static void chunk(void *ctx, float *state, const float *before, const struct kl__replay_chunk *c,
                  const struct kl__replay_chunk *next, const struct kl__replay_chunk *later)
{
    struct log *log = ctx;
    assert_in_range(c->head, 0, log->n_head - 1);
    if (log->has_next)
        assert_true(c->what == log->next.what && c->head == log->next.head && c->t == log->next.t &&
                    c->n == log->next.n && c->i == log->next.i);
    log->has_next = next != NULL;
    if (next)
        log->next = *next;
    if (later) {
        assert_true(c->what == KL__REPLAY_BACKWARD && later->what == KL__REPLAY_AGAIN && later->i == c->i);
        log->later[later->i] = *later;
        log->n_later++;
    }
    if (c->what == KL__REPLAY_FORWARD) {
        log->n_forward++;
        assert_state(state, c->head, c->t);
        set_state(state, c->head, c->t + c->n);
    } else if (c->what == KL__REPLAY_AGAIN) {
        run_again(log, state, before, c);
    } else {
        run_backward(log, before, c);
    }
}

static const struct kl__replay_steps steps = {load, chunk};

static struct log walk(struct kl__replay_plan plan, int n_head, int64_t n_token)
{
    struct kl__carver c = {0};
    struct kl__replay_memory m;
    kl__replay_carve(&c, &plan, &m);
    c = kl__carver(kt_work(kl__carver_need(&c)));
    kl__replay_carve(&c, &plan, &m);
    struct log log = {.plan = plan, .n_token = n_token, .n_head = n_head};
    for (int h = 0; h < HEADS; h++)
        log.next_end[h] = n_token;
    kl__replay(&plan, &m, &steps, &log, n_head, n_token);
    assert_false(log.has_next);
    assert_int_equal(log.n_later, log.n_told);
    for (int h = 0; h < n_head; h++)
        assert_int_equal(log.next_end[h], 0);
    kt_check_all();
    return log;
}

static int64_t divide_up(int64_t n, int64_t by)
{
    return (n + by - 1) / by;
}

/* Chunks of the span of n tokens that its blocks' starts are found with: all before its last block. */
static int64_t chunks_before_last_block(int64_t n, int block)
{
    return n ? (divide_up(n, block * CHUNK) - 1) * block : 0;
}

static void every_chunk_once(void **state)
{
    (void)state;
    for (int64_t n_token = 0; n_token <= T_MAX; n_token++)
        for (int64_t span = CHUNK; span <= 64; span += 3 * CHUNK)
            for (int block = 1; block <= KL__REPLAY_BLOCK; block++) {
                int n_head = 1 + (int)(n_token + block) % HEADS;
                struct kl__replay_plan plan = {.chunk = CHUNK, .block = block, .n_head = HEADS, .span = span,
                                               .n_span_start = T_MAX / span, .state_floats = STATE};
                struct log own = walk(plan, n_head, n_token);
                plan.uses_given = true;
                plan.n_span_start = 0;
                struct log given = walk(plan, n_head, n_token);
                int64_t last = n_token ? (n_token - 1) / span * span : 0; /* where the last span starts */
                int64_t in_spans = last / span * chunks_before_last_block(span, block) +
                                   chunks_before_last_block(n_token - last, block);
                assert_int_equal(own.n_again, n_head * divide_up(n_token, CHUNK));
                assert_int_equal(given.n_again, own.n_again);
                assert_int_equal(own.n_forward, n_head * (last / CHUNK + in_spans));
                assert_int_equal(given.n_forward, n_head * in_spans);
                assert_int_equal(given.n_load, n_head * divide_up(n_token, span));
                kt_free_all();
            }
}

/* States of 128 x 128. */
static struct kl__replay_plan plan_of(int64_t longest, int64_t given_every)
{
    return kl__replay_plan(longest, 16, 8, 128 * 128, given_every);
}

static void plans(void **state)
{
    (void)state;
    struct kl__replay_plan p = plan_of(1000, 0);
    assert_int_equal(p.span, 1024); /* one span holds it all */
    assert_int_equal(p.n_span_start, 0);
    assert_int_equal(p.block, 8);
    assert_int_equal(p.n_head, 8);
    p = plan_of(65536, 0); /* 512 states a head: fewer heads */
    assert_int_equal(p.span, 65536);
    assert_int_equal(p.n_head, 2);
    p = plan_of(1000000, 0);
    assert_true(p.span < 1000000 && p.span % 16 == 0);
    assert_int_equal(p.n_span_start, (1000000 - 1) / p.span);
    assert_int_equal(p.n_head, 1);
    p = kl__replay_plan(INT64_MAX, 8, 4, 4096 * 4096, 0);
    assert_int_equal(p.span, 8);
    assert_int_equal(p.block, 1);
    p = kl__replay_plan(0, 16, 1, 16, 0);
    assert_int_equal(p.n_span_start, 0);
}

static void plans_with_given_states(void **state)
{
    (void)state;
    static const struct {
        int64_t every, span;
        int block;
    } expected[] = {{16, 128, 8},  {48, 96, 6},   {64, 128, 8},   {80, 80, 5},
                    {128, 128, 8}, {144, 144, 8}, {4096, 4096, 8}};
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        struct kl__replay_plan p = plan_of(1000000, expected[i].every);
        assert_true(p.uses_given);
        assert_int_equal(p.span, expected[i].span);
        assert_int_equal(p.block, expected[i].block);
        assert_int_equal(p.n_head, 8);
        assert_int_equal(p.n_span_start, 0);
    }
    assert_false(plan_of(1000, 4096).uses_given); /* further apart than the sequence is long */
    assert_false(plan_of(1000, 0).uses_given);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_chunk_once),
        cmocka_unit_test(plans),
        cmocka_unit_test(plans_with_given_states),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
