/* A scheduler: batches, turns, cancelling, memory that runs out, beginnings that are shared. */
#include "support/kt_schedule.h"

#include "base/error.h"

#include <pthread.h>
#include <string.h>

struct bench {
    struct kt_engine hot, cold;
    kl_prefix *prefix;
    kl_scheduler *s;
    kt_rng r;
};

static struct bench open_bench(const kl_engine_options *engine, kl_scheduler_options options, bool cached)
{
    struct bench b = {.r = {7}};
    b.hot = kt_open_engine(kt_tiny("q8_0"), cached ? 2 : 1, engine);
    b.cold = kt_open_engine(kt_tiny("q8_0"), 1, NULL);
    if (cached)
        KT_OK(kl_prefix_open(&b.prefix, b.hot.engine, NULL, KT_ERR));
    options.prefix = b.prefix;
    KT_OK(kl_scheduler_open(&b.s, b.hot.engine, &options, KT_ERR));
    return b;
}

static void close_bench(struct bench *b)
{
    kl_scheduler_close(b->s);
    kl_prefix_close(b->prefix);
    assert_int_equal(kl_engine_memory_of(b->hot.engine).pages_used, 0);
    kt_close_engine(&b->hot);
    kt_close_engine(&b->cold);
    kt_free_all();
}

static struct kt_asked *request(struct bench *b, int64_t n_token, int64_t max_new)
{
    struct kt_asked *a = kt_bytes(sizeof *a);
    memset(a, 0, sizeof *a);
    a->r.token = kt_tokens(&b->r, n_token, b->cold.n_vocab);
    a->r.n_token = n_token;
    a->r.max_new = max_new;
    a->r.sampling = (kl_sampling){.temperature = 1, .logprobs = true, .n_top = KT_TOPS};
    a->r.seed = (uint64_t)n_token;
    return a;
}

static void many_at_once(void **state)
{
    (void)state;
    struct bench b = open_bench(NULL, (kl_scheduler_options){0}, false);
    struct kt_asked *a[20];
    for (int i = 0; i < 20; i++) {
        a[i] = request(&b, 1 + 37 * i, 3 + i);
        a[i]->r.client = (uint64_t)i % 3;
        assert_true(kt_ask(b.s, a[i]));
    }
    kt_finish(b.s);
    int64_t n_new = 0;
    for (int i = 0; i < 20; i++) {
        kt_assert_alone(a[i], &b.cold);
        assert_int_equal(a[i]->report.end, KL_JOB_LENGTH);
        assert_int_equal(a[i]->n_new, 3 + i);
        assert_int_equal(a[i]->report.n_read, a[i]->r.n_token);
        assert_int_equal(a[i]->report.reuse, KL_REUSE_OFF);
        n_new += a[i]->n_new;
    }
    kl_scheduler_state s = kl_scheduler_state_of(b.s);
    assert_int_equal(s.n_ended[KL_JOB_LENGTH], 20);
    assert_int_equal(s.new_tokens, n_new);
    assert_true(s.n_step < n_new); /* steps were shared */
    close_bench(&b);
}

/* While a long prompt is read, every step writes a token for those who are being written. */
static void long_prompts_delay_nobody(void **state)
{
    (void)state;
    struct bench b = open_bench(NULL, (kl_scheduler_options){.piece_tokens = 64}, true);
    struct kt_asked *writer = request(&b, 10, 40), *reader = request(&b, 640, 2);
    kt_ask(b.s, writer);
    KT_OK(kl_scheduler_step(b.s, 0, NULL, KT_ERR));
    assert_int_equal(writer->n_new, 1);
    kt_ask(b.s, reader);
    for (int i = 0; i < 10; i++) {
        KT_OK(kl_scheduler_step(b.s, 0, NULL, KT_ERR));
        assert_int_equal(writer->n_new, 2 + i);
        assert_int_equal(reader->n_read_event, 1 + i);
    }
    assert_int_equal(reader->n_new, 1);
    kt_finish(b.s);
    kt_assert_alone(writer, &b.cold);
    kt_assert_alone(reader, &b.cold);
    close_bench(&b);
}

/* One client asks for much, another for little: the second does not wait for all of the first. */
static void clients_take_turns(void **state)
{
    (void)state;
    struct bench b = open_bench(NULL, (kl_scheduler_options){.max_running = 2}, false);
    struct kt_asked *many[8], *one;
    for (int i = 0; i < 8; i++) {
        many[i] = request(&b, 300, 4);
        kt_ask(b.s, many[i]);
    }
    KT_OK(kl_scheduler_step(b.s, 0, NULL, KT_ERR));
    one = request(&b, 100, 4);
    one->r.client = 1;
    kt_ask(b.s, one);
    while (!one->ended)
        KT_OK(kl_scheduler_step(b.s, 0, NULL, KT_ERR));
    int ended = 0;
    for (int i = 0; i < 8; i++)
        ended += many[i]->ended;
    assert_true(ended <= 3);
    kt_finish(b.s);
    kt_assert_alone(one, &b.cold);
    close_bench(&b);
}

/* Fewer pages than the requests want together: some are read again, and none notices. */
static void pages_run_out(void **state)
{
    (void)state;
    for (int cached = 0; cached < 2; cached++) {
        struct bench b = open_bench(NULL, (kl_scheduler_options){0}, cached);
        int64_t page_bytes = kl_engine_memory_of(b.hot.engine).page_bytes;
        close_bench(&b);
        b = open_bench(&(kl_engine_options){.cache_bytes = 8 * page_bytes}, (kl_scheduler_options){0}, cached);
        struct kt_asked *a[4];
        for (int i = 0; i < 4; i++) {
            a[i] = request(&b, 100 + i, 60);
            a[i]->r.sampling.presence_penalty = 0.5;
            assert_true(kt_ask(b.s, a[i]));
        }
        kt_finish(b.s);
        int64_t again = 0;
        for (int i = 0; i < 4; i++) {
            kt_assert_alone(a[i], &b.cold);
            assert_int_equal(a[i]->n_new, 60);
            again += a[i]->report.n_again;
        }
        assert_int_equal(kl_scheduler_state_of(b.s).again_tokens, again);
        assert_true(kl_scheduler_state_of(b.s).n_preempted > 0 && again > 0);

        struct kt_asked *full = request(&b, 500, 60), *more = request(&b, 512, 1);
        assert_true(kt_ask(b.s, full));
        kt_finish(b.s);
        assert_int_equal(full->report.end, KL_JOB_FULL);
        assert_int_equal(full->n_new, 13);
        kl_error err;
        more->r.tell = kt_told;
        KT_ASSERT_FAILED(kl_scheduler_submit(b.s, &more->job, &more->r, &err), KL_ERR_ARGUMENT, &err, "512", "511");
        close_bench(&b);
    }
}

/* 32 prompts that begin alike and come at once: the beginning is read once, wherever it ends. */
static void beginnings_are_shared(void **state)
{
    (void)state;
    struct bench b = open_bench(&(kl_engine_options){.max_batch_sequences = 32}, (kl_scheduler_options){0}, true);
    int32_t *system = kt_tokens(&b.r, 450, b.cold.n_vocab);
    struct kt_asked *a[32];
    for (int i = 0; i < 32; i++) {
        a[i] = request(&b, 460 + i, 2);
        memcpy((int32_t *)a[i]->r.token, system, 450 * sizeof *system);
        a[i]->r.client = (uint64_t)i;
        assert_true(kt_ask(b.s, a[i]));
    }
    kt_finish(b.s);
    for (int i = 0; i < 32; i++) {
        if (i % 8 == 0)
            kt_assert_alone(a[i], &b.cold);
        assert_int_equal(a[i]->report.n_reused, i ? 448 : 0);
        assert_int_equal(a[i]->report.reuse, i ? KL_REUSE_ALL : KL_REUSE_NOTHING);
    }
    struct kt_asked *fork = request(&b, 450, 2);
    memcpy((int32_t *)fork->r.token, system, 400 * sizeof *system);
    kt_ask(b.s, fork);
    kt_finish(b.s);
    kt_assert_alone(fork, &b.cold);
    assert_int_equal(fork->report.n_matched, 384);
    assert_int_equal(fork->report.n_reused, 256);
    assert_int_equal(fork->report.reuse, KL_REUSE_CHECKPOINT);
    struct kt_asked *again = request(&b, 420, 2); /* where they parted there is a checkpoint now */
    memcpy((int32_t *)again->r.token, system, 400 * sizeof *system);
    kt_ask(b.s, again);
    kt_finish(b.s);
    assert_int_equal(again->report.n_reused, 384);
    kt_assert_alone(again, &b.cold);
    struct kt_asked *other = request(&b, 450, 1); /* of another space */
    memcpy((int32_t *)other->r.token, system, 450 * sizeof *system);
    other->r.space = 1;
    kt_ask(b.s, other);
    kt_finish(b.s);
    assert_int_equal(other->report.n_matched, 0);
    close_bench(&b);
}

static void ends(void **state)
{
    (void)state;
    struct bench b = open_bench(NULL, (kl_scheduler_options){.max_running = 1, .max_waiting = 2}, true);
    struct kt_asked *a = request(&b, 20, 30), *stop = request(&b, 20, 30), *waits = request(&b, 20, 30);
    a->enough = 5;
    kt_ask(b.s, a);
    kt_finish(b.s);
    assert_int_equal(a->report.end, KL_JOB_SATISFIED);
    assert_int_equal(a->n_new, 5);
    stop->r.token = a->r.token;
    stop->r.seed = a->r.seed;
    stop->r.stop = &a->id[3];
    stop->r.n_stop = 1;
    kt_ask(b.s, stop);
    kt_finish(b.s);
    assert_int_equal(stop->report.end, KL_JOB_STOPPED);
    assert_true(stop->n_new <= 4 && stop->id[stop->n_new - 1] == a->id[3]);

    struct kt_asked *runs = request(&b, 200, 30), *refused = request(&b, 2, 1), *third = request(&b, 20, 30);
    kt_ask(b.s, runs);
    KT_OK(kl_scheduler_step(b.s, 0, NULL, KT_ERR));
    assert_true(kt_ask(b.s, waits));
    assert_true(kt_ask(b.s, third));
    assert_false(kt_ask(b.s, refused));
    kl_job_info info[4];
    assert_int_equal(kl_scheduler_jobs(b.s, info, 4), 3);
    assert_true(info[0].running && info[0].job == runs->job && info[0].at > 0 && !info[1].running);
    kl_scheduler_cancel(b.s, waits->job);
    kl_scheduler_cancel(b.s, runs->job);
    kl_scheduler_cancel(b.s, 12345);
    KT_OK(kl_scheduler_step(b.s, 0, NULL, KT_ERR));
    assert_true(runs->ended && runs->report.end == KL_JOB_CANCELLED);
    assert_true(waits->ended && waits->report.end == KL_JOB_CANCELLED && waits->n_new == 0);
    close_bench(&b); /* cancels the third */
}

/* Log-probabilities of a prompt, and the mean of its hidden states, against a session that reads it alone. */
static void numbers_of_a_prompt(void **state)
{
    (void)state;
    struct bench b = open_bench(NULL, (kl_scheduler_options){0}, true);
    struct kt_asked *a = request(&b, 150, 3), *plain = request(&b, 150, 3), *mean = request(&b, 150, 0);
    plain->r.token = mean->r.token = a->r.token;
    a->r.prompt_logprobs = true;
    mean->r.embed = true;
    kt_ask(b.s, plain);
    kt_finish(b.s);
    kt_ask(b.s, a);
    kt_ask(b.s, mean);
    kt_finish(b.s);
    kt_assert_alone(a, &b.cold);
    assert_int_equal(a->report.end, KL_JOB_LENGTH);
    assert_int_equal(a->n_prompt_told, 149);
    assert_int_equal(a->report.reuse, KL_REUSE_OFF);
    assert_int_equal(mean->report.end, KL_JOB_LENGTH);

    kl_session *session;
    int n_embd = kl_model_config(b.cold.model)->n_embd;
    float *logits = kt_floats((int64_t)150 * b.cold.n_vocab), *hidden = kt_floats((int64_t)150 * n_embd);
    KT_OK(kl_session_open(&session, b.cold.engine, KT_ERR));
    kl_span span = {.session = session,
                    .token = a->r.token,
                    .n_token = 150,
                    .want = KL_WANT_ALL,
                    .logits = logits,
                    .hidden = hidden};
    KT_OK(kl_step(b.cold.engine, &span, 1, KT_ERR));
    double sum = 0;
    for (int i = 0; i < 150; i++)
        sum += (double)hidden[(int64_t)i * n_embd];
    float want = (float)(sum / 150);
    kt_assert_same_bits("mean", &mean->embedding[0], &want, sizeof want);
    kl_sampler *sampler;
    KT_OK(kl_sampler_open(&sampler, b.cold.n_vocab, NULL, KT_ERR));
    for (int i = 0; i < 149; i++) {
        kl_logit_bias bias = {a->r.token[i + 1], 1e6};
        kl_sampling how = {.bias = &bias, .n_bias = 1, .logprobs = true};
        kl_sampler_state at = {0};
        kl_sampled sampled;
        KT_OK(kl_sampler_next(sampler, &sampled, &at, logits + (int64_t)i * b.cold.n_vocab, &how, NULL, KT_ERR));
        kt_assert_same_bits("a prompt token's log-probability", &a->prompt_logprob[i + 1], &sampled.logprob,
                            sizeof(double));
    }
    kl_sampler_close(sampler);
    kl_session_close(session);
    close_bench(&b);
}

/* Other threads ask and cancel while this one steps. */
struct crowd {
    kl_scheduler *s;
    struct kt_asked *a[6];
};

static void *ask_all(void *user)
{
    struct crowd *c = user;
    for (int i = 0; i < 6; i++)
        kl_scheduler_submit(c->s, &c->a[i]->job, &c->a[i]->r, NULL);
    kl_scheduler_cancel(c->s, c->a[5]->job);
    kl_scheduler_state_of(c->s);
    kl_scheduler_wake(c->s);
    return NULL;
}

static void threads_ask(void **state)
{
    (void)state;
    struct bench b = open_bench(NULL, (kl_scheduler_options){0}, true);
    struct crowd crowd[3];
    pthread_t thread[3];
    for (int t = 0; t < 3; t++) {
        crowd[t].s = b.s;
        for (int i = 0; i < 6; i++) {
            crowd[t].a[i] = request(&b, 20 + 40 * i, 5);
            crowd[t].a[i]->r.tell = kt_told;
            crowd[t].a[i]->r.user = crowd[t].a[i];
        }
    }
    for (int t = 0; t < 3; t++)
        pthread_create(&thread[t], NULL, ask_all, &crowd[t]);
    for (int ended = 0; ended < 18;) {
        KT_OK(kl_scheduler_step(b.s, 0.1, NULL, KT_ERR));
        ended = 0;
        for (int i = 0; i < 18; i++)
            ended += crowd[i / 6].a[i % 6]->ended;
    }
    for (int t = 0; t < 3; t++)
        pthread_join(thread[t], NULL);
    for (int i = 0; i < 18; i++)
        kt_assert_alone(crowd[i / 6].a[i % 6], &b.cold);
    close_bench(&b);
}

static void refusals(void **state)
{
    (void)state;
    struct bench b = open_bench(NULL, (kl_scheduler_options){0}, false);
    kl_scheduler *none = NULL;
    kl_error err;
    uint64_t job;
    KT_ASSERT_FAILED(kl_scheduler_open(&none, b.hot.engine, &(kl_scheduler_options){.max_running = 17}, &err),
                     KL_ERR_ARGUMENT, &err, "max_running", "17", "16");
    KT_ASSERT_FAILED(kl_scheduler_open(&none, b.hot.engine, &(kl_scheduler_options){.max_waiting = -1}, &err),
                     KL_ERR_ARGUMENT, &err, "max_waiting", "-1");
    struct kt_asked *a = request(&b, 5, 5);
    a->r.tell = kt_told;
    kl_request bad = a->r;
    bad.n_token = 0;
    KT_ASSERT_FAILED(kl_scheduler_submit(b.s, &job, &bad, &err), KL_ERR_ARGUMENT, &err, "0 tokens");
    bad = a->r;
    bad.max_new = -1;
    KT_ASSERT_FAILED(kl_scheduler_submit(b.s, &job, &bad, &err), KL_ERR_ARGUMENT, &err, "max_new", "-1");
    bad = a->r;
    bad.sampling.top_p = 2;
    KT_ASSERT_FAILED(kl_scheduler_submit(b.s, &job, &bad, &err), KL_ERR_ARGUMENT, &err, "top_p");
    bad = a->r;
    int32_t token[2] = {1, b.cold.n_vocab};
    bad.token = token;
    bad.n_token = 2;
    KT_ASSERT_FAILED(kl_scheduler_submit(b.s, &job, &bad, &err), KL_ERR_ARGUMENT, &err, "token 1");
    assert_int_equal(job, 0);
    close_bench(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_at_once),
        cmocka_unit_test(long_prompts_delay_nobody),
        cmocka_unit_test(clients_take_turns),
        cmocka_unit_test(pages_run_out),
        cmocka_unit_test(beginnings_are_shared),
        cmocka_unit_test(ends),
        cmocka_unit_test(numbers_of_a_prompt),
        cmocka_unit_test(threads_ask),
        cmocka_unit_test(refusals),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_free_backends();
    kt_remove_files();
    return failed;
}
