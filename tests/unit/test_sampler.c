/* Choosing tokens: against an independent implementation, by distribution, at edges, with faults. */
#include "klinear/kl.h"
#include "support/kt.h"

#include "text/fixed.h"
#include "text/philox.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---------------------------------------------------------------------------------------------------- the ground -- */

static void random_numbers(void **state)
{
    (void)state;
    /* The known answers that come with the authors' library. */
    static const uint32_t known[3][10] = {
        {0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
        {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0x408f276d, 0x41c83b0e, 0xa20bc7c6,
         0x6d5451fd},
        {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0, 0xd16cfe09, 0x94fdcceb, 0x5001e420,
         0x24126ea1},
    };
    for (int i = 0; i < 3; i++) {
        uint32_t x[4];
        memcpy(x, known[i], sizeof x);
        kl__philox(x, known[i][4], known[i][5]);
        assert_memory_equal(x, known[i] + 6, sizeof x);
    }
}

static void exp_and_log(void **state)
{
    (void)state;
    double worst_exp = 0, worst_log = 0;
    for (int i = 0; i <= 2000000; i++) {
        double x = -708 * pow(i / 2e6, 3), y = pow(2, 2000 * (i / 2e6) - 1000) * (1 + i % 7 / 9.0);
        long double e = expl(x), l = logl(y);
        worst_exp = fmax(worst_exp, (double)fabsl((kl__exp(x) - e) / e));
        worst_log = fmax(worst_log, (double)(fabsl(kl__log(y) - l) / fmaxl(1, fabsl(l))));
    }
    assert_true(worst_exp < 1e-15 && worst_log < 1e-15);
    assert_true(kl__exp(0) == 1 && kl__log(1) == 0 && kl__exp(-INFINITY) == 0 && kl__exp(-709) == 0);
}

/* ------------------------------------------------------------------------------------------------ golden choices -- */

enum { N_VOCAB = 300, N_TOKEN = 16 };

/* As in tools/make_sampler_golden.py. */
static float logit(int token, int step)
{
    uint32_t x = ((uint32_t)token * 7919u + (uint32_t)step * 104729u) * 2654435761u;
    return (float)(x >> 24) / 16 - 8;
}

static void golden(void **state)
{
    (void)state;
    FILE *file = fopen(KT_GOLDEN_DIR "/sampler.txt", "r");
    kl_sampler *s;
    int32_t history[40];
    float *logits = kt_floats(N_VOCAB);
    int n_line = 0;
    assert_non_null(file);
    for (int i = 0; i < 40; i++)
        history[i] = 3 * i % N_VOCAB;
    KT_OK(kl_sampler_open(&s, N_VOCAB, NULL, KT_ERR));
    for (;; n_line++) {
        kl_sampling g = {0};
        kl_sampler_state at = {0};
        unsigned long long seed;
        if (fscanf(file, "%lf %d %lf %lf %lf %lf %lf %lf %llu", &g.temperature, &g.top_k, &g.top_p, &g.min_p,
                   &g.typical_p, &g.repetition_penalty, &g.presence_penalty, &g.frequency_penalty, &seed) != 9)
            break;
        at.seed = seed;
        for (int step = 0; step < N_TOKEN; step++) {
            kl_sampled got;
            int wanted;
            assert_int_equal(fscanf(file, "%d", &wanted), 1);
            for (int t = 0; t < N_VOCAB; t++)
                logits[t] = logit(t, step);
            KT_OK(kl_sampler_next(s, &got, &at, logits, &g, &(kl_history){history, 40, 20}, KT_ERR));
            if (got.id != wanted)
                fail_msg("line %d, token %d: %d, expected %d", n_line + 1, step, got.id, wanted);
        }
        assert_int_equal(at.n_drawn, N_TOKEN);
    }
    assert_true(n_line >= 20);
    fclose(file);
    kl_sampler_close(s);
    kt_free_all();
}

/* -------------------------------------------------------------------------------------------------- distribution -- */

enum { FEW = 8, DRAWS = 20000 };

/* How often each of FEW tokens comes in DRAWS draws. */
static void count_draws(int *count, const float *logits, const kl_sampling *g)
{
    kl_sampler *s;
    kl_sampler_state at = {.seed = 5};
    kl_sampled got;
    memset(count, 0, FEW * sizeof *count);
    KT_OK(kl_sampler_open(&s, FEW, NULL, KT_ERR));
    for (int i = 0; i < DRAWS; i++) {
        KT_OK(kl_sampler_next(s, &got, &at, logits, g, NULL, KT_ERR));
        count[got.id]++;
    }
    kl_sampler_close(s);
}

static const double share[FEW] = {0.05, 0.3, 0, 0.2, 0.02, 0.25, 0.03, 0.15};

static void assert_shares(const kl_sampling *g, const double *wanted)
{
    float logits[FEW];
    int count[FEW];
    for (int i = 0; i < FEW; i++)
        logits[i] = share[i] > 0 ? (float)log(share[i]) : -INFINITY;
    count_draws(count, logits, g);
    for (int i = 0; i < FEW; i++) {
        double p = wanted[i], deviation = sqrt(DRAWS * p * (1 - p));
        if (fabs(count[i] - DRAWS * p) > 4 * deviation)
            fail_msg("token %d: %d draws, expected %g", i, count[i], DRAWS * p);
    }
}

static void distributions(void **state)
{
    (void)state;
    assert_shares(&(kl_sampling){.temperature = 1}, share);
    assert_shares(&(kl_sampling){.temperature = 1, .top_k = 3}, (double[FEW]){0, .4, 0, .2 / .75, 0, .25 / .75});
    /* 0.3 and 0.25 are 0.55: a third one is needed. */
    assert_shares(&(kl_sampling){.temperature = 1, .top_p = 0.6}, (double[FEW]){0, .4, 0, .2 / .75, 0, .25 / .75});
    assert_shares(&(kl_sampling){.temperature = 1, .top_p = 1e-9}, (double[FEW]){0, 1});
    assert_shares(&(kl_sampling){.temperature = 1, .min_p = 0.45}, /* of 0.3 */
                  (double[FEW]){0, .3 / .9, 0, .2 / .9, 0, .25 / .9, 0, .15 / .9});
    assert_shares(&(kl_sampling){.temperature = 1, .min_p = 1}, (double[FEW]){0, 1});
    /* Surprise -ln p: 1.2 1.4 1.6 1.9 3.0 3.5 3.9, expected 1.67: the nearest are 0.2, 0.15. */
    assert_shares(&(kl_sampling){.temperature = 1, .typical_p = 0.3},
                  (double[FEW]){0, 0, 0, .2 / .35, 0, 0, 0, .15 / .35});
    assert_shares(&(kl_sampling){.temperature = 1, .typical_p = 0.3, .top_p = 0.1}, (double[FEW]){0, 0, 0, 1});
    double warm[FEW], sum = 0;
    for (int i = 0; i < FEW; i++)
        sum += warm[i] = sqrt(share[i]);
    for (int i = 0; i < FEW; i++)
        warm[i] /= sum;
    assert_shares(&(kl_sampling){.temperature = 2}, warm);
    kl_logit_bias bias[] = {{1, -INFINITY}, {5, log(2)}};
    assert_shares(&(kl_sampling){.temperature = 1, .bias = bias, .n_bias = 2},
                  (double[FEW]){.05 / .95, 0, 0, .2 / .95, .02 / .95, .5 / .95, .03 / .95, .15 / .95});
}

/* ------------------------------------------------------------------------------------------------------ promises -- */

static kl_sampled next(kl_sampler *s, kl_sampler_state *at, const float *logits, const kl_sampling *g,
                       const kl_history *h)
{
    kl_sampled got;
    KT_OK(kl_sampler_next(s, &got, at, logits, g, h, KT_ERR));
    return got;
}

/* A copied state goes on alike; a sampler between sequences remembers nothing. */
static void states(void **state)
{
    (void)state;
    kl_sampler *s, *other;
    kt_rng r = {9};
    kl_sampling g = {.temperature = 1, .repetition_penalty = 1.5};
    kl_sampler_state a = {.seed = 3}, b;
    int32_t id[] = {1, 2, 3, -5, 100000};
    KT_OK(kl_sampler_open(&s, 1000, NULL, KT_ERR));
    KT_OK(kl_sampler_open(&other, 1000, NULL, KT_ERR));
    float *x = kt_normals(&r, 1000, 3), *y = kt_normals(&r, 1000, 3);
    int32_t first = next(s, &a, x, &g, &(kl_history){id, 5, 0}).id;
    b = a;
    int32_t second = next(s, &a, y, &g, NULL).id;
    assert_int_equal(next(other, &b, y, &g, NULL).id, second);
    assert_true(a.n_drawn == 2 && b.n_drawn == 2);
    assert_int_equal(next(s, &(kl_sampler_state){.seed = 3}, x, &g, &(kl_history){id, 5, 0}).id, first);
    kl_sampler_close(s);
    kl_sampler_close(other);
    kl_sampler_close(NULL);
    kt_free_all();
}

static void penalties(void **state)
{
    (void)state;
    kl_sampler *s;
    kl_sampler_state at = {0};
    float x[4] = {1, 2, 3, -1};
    int32_t id[] = {2, 2, 1};
    KT_OK(kl_sampler_open(&s, 4, NULL, KT_ERR));
    kl_history h = {id, 3, 1};
    assert_int_equal(next(s, &at, x, &(kl_sampling){0}, &h).id, 2);
    assert_int_equal(next(s, &at, x, &(kl_sampling){.presence_penalty = 2.5}, &h).id, 0);  /* 1 -0.5 0.5 */
    assert_int_equal(next(s, &at, x, &(kl_sampling){.frequency_penalty = 1.5}, &h).id, 2); /* 2: once generated */
    h.n_prompt = 0;
    assert_int_equal(next(s, &at, x, &(kl_sampling){.frequency_penalty = 1.2}, &h).id, 0); /* 1 0.8 0.6 */
    h.n_prompt = 3;
    assert_int_equal(next(s, &at, x, &(kl_sampling){.frequency_penalty = 9}, &h).id, 2);  /* all in the prompt */
    assert_int_equal(next(s, &at, x, &(kl_sampling){.repetition_penalty = 4}, &h).id, 0); /* 1 0.5 0.75 */
    assert_int_equal(next(s, &at, x, &(kl_sampling){.repetition_penalty = 4, .penalty_tokens = 1}, &h).id, 2);
    assert_int_equal(next(s, &at, x, &(kl_sampling){.repetition_penalty = 1.6, .penalty_tokens = 2}, &h).id, 2);
    kl_sampler_close(s);
}

static void logprobs(void **state)
{
    (void)state;
    kl_sampler *s;
    kl_sampler_state at = {0};
    float x[5] = {0, 3, -INFINITY, 3, 1};
    KT_OK(kl_sampler_open(&s, 5, NULL, KT_ERR));
    double log_sum = log(1 + 2 * exp(3) + exp(1));
    /* Of the model's distribution, whatever is done to it. */
    kl_logit_bias bias = {0, 50};
    kl_sampled got = next(s, &at, x, &(kl_sampling){.logprobs = true, .n_top = 4, .bias = &bias, .n_bias = 1}, NULL);
    assert_int_equal(got.id, 0);
    assert_true(fabs(got.logprob + log_sum) < 1e-14);
    assert_int_equal(got.n_top, 4);
    static const int32_t order[] = {1, 3, 4, 0};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(got.top[i].id, order[i]);
        assert_true(fabs(got.top[i].logprob - ((double)x[order[i]] - log_sum)) < 1e-14);
    }
    got = next(s, &at, x, &(kl_sampling){.logprobs = true, .n_top = KL_MAX_TOP}, NULL);
    assert_true(got.n_top == 5 && got.top[4].logprob == -INFINITY && got.top[4].id == 2);
    assert_int_equal(next(s, &at, x, &(kl_sampling){0}, NULL).n_top, 0);
    kl_sampler_close(s);
}

/* One token of many, equals, huge differences, one token at all. */
static void edges(void **state)
{
    (void)state;
    kl_sampler *s;
    kl_sampler_state at = {0};
    kl_sampling all = {.temperature = 100, .top_k = 3, .top_p = 0.5, .min_p = 0.5, .typical_p = 0.5};
    KT_OK(kl_sampler_open(&s, 1, NULL, KT_ERR));
    assert_int_equal(next(s, &at, &(float){-3e38f}, &all, NULL).id, 0);
    kl_sampler_close(s);
    KT_OK(kl_sampler_open(&s, 5000, NULL, KT_ERR));
    float *x = kt_zeros(5000);
    assert_int_equal(next(s, &at, x, &(kl_sampling){0}, NULL).id, 0); /* the lowest of equals */
    for (int i = 0; i < 50; i++) {
        assert_true(next(s, &at, x, &(kl_sampling){.temperature = 1, .top_k = 3}, NULL).id < 3);
        assert_true(next(s, &at, x, &(kl_sampling){.temperature = 1, .top_p = 0.001}, NULL).id < 5);
        assert_true(next(s, &at, x, &(kl_sampling){.temperature = 1, .typical_p = 0.001}, NULL).id < 5);
        next(s, &at, x, &(kl_sampling){.temperature = 1, .top_p = 1e-300, .min_p = 1, .typical_p = 1e-300}, NULL);
    }
    for (int i = 0; i < 5000; i++)
        x[i] = i % 2 ? -3e38f : 3e38f;
    x[17] = FLT_MAX;
    assert_int_equal(next(s, &at, x, &(kl_sampling){.temperature = 1}, NULL).id, 17);
    assert_int_equal(next(s, &at, x, &(kl_sampling){.temperature = 1e-300}, NULL).id, 17);
    kl_sampler_close(s);
    kt_free_all();
}

/* -------------------------------------------------------------------------------------------------------- faults -- */

static void assert_refused(const kl_sampling *g, const char *a, const char *b)
{
    kl_error err = {0};
    KT_ASSERT_FAILED(kl_sampling_check(g, 10, &err), KL_ERR_ARGUMENT, &err, a, b);
}

static void faults_of_settings(void **state)
{
    (void)state;
    KT_OK(kl_sampling_check(&(kl_sampling){0}, 10, KT_ERR));
    assert_refused(&(kl_sampling){.temperature = -0.1}, "temperature", "-0.1");
    assert_refused(&(kl_sampling){.temperature = NAN}, "temperature", "nan");
    assert_refused(&(kl_sampling){.temperature = INFINITY}, "temperature", "inf");
    assert_refused(&(kl_sampling){.top_k = -1}, "top_k", "-1");
    assert_refused(&(kl_sampling){.top_p = 1.1}, "top_p", "1.1");
    assert_refused(&(kl_sampling){.min_p = -1}, "min_p", "-1");
    assert_refused(&(kl_sampling){.typical_p = 2}, "typical_p", "2");
    assert_refused(&(kl_sampling){.repetition_penalty = -1}, "repetition_penalty", "-1");
    assert_refused(&(kl_sampling){.presence_penalty = 101}, "presence_penalty", "101");
    assert_refused(&(kl_sampling){.frequency_penalty = -101}, "frequency_penalty", "-101");
    assert_refused(&(kl_sampling){.penalty_tokens = -1}, "penalty_tokens", "-1");
    assert_refused(&(kl_sampling){.n_top = KL_MAX_TOP + 1}, "n_top", "65");
    assert_refused(&(kl_sampling){.n_bias = 1}, "bias", "missing");
    kl_logit_bias bias = {10, 0};
    assert_refused(&(kl_sampling){.bias = &bias, .n_bias = 1}, "bias[0].id is 10", "0 to 9");
    bias = (kl_logit_bias){-1, 0};
    assert_refused(&(kl_sampling){.bias = &bias, .n_bias = 1}, "bias[0].id is -1", "0 to 9");
    bias = (kl_logit_bias){1, NAN};
    assert_refused(&(kl_sampling){.bias = &bias, .n_bias = 1}, "bias[0].bias", "nan");
    bias = (kl_logit_bias){1, INFINITY};
    assert_refused(&(kl_sampling){.bias = &bias, .n_bias = 1}, "bias[0].bias", "inf");
    kl_sampler *s;
    kl_error err;
    KT_ASSERT_FAILED(kl_sampler_open(&s, 0, NULL, &err), KL_ERR_ARGUMENT, &err, "n_vocab is 0");
}

static void faults_of_logits(void **state)
{
    (void)state;
    kl_sampler *s;
    kl_error err;
    kl_sampler_state at = {.seed = 1, .n_drawn = 4};
    kl_sampled got = {.id = -9};
    KT_OK(kl_sampler_open(&s, 3, NULL, KT_ERR));
    for (int i = 0; i < 3; i++)
        for (int kind = 0; kind < 2; kind++) {
            float x[3] = {0, 0, 0};
            x[i] = kind ? NAN : INFINITY;
            char token[20];
            snprintf(token, sizeof token, "token %d", i);
            KT_ASSERT_FAILED(kl_sampler_next(s, &got, &at, x, &(kl_sampling){0}, NULL, &err), KL_ERR_NUMERIC, &err,
                             token, kind ? "nan" : "inf");
        }
    float x[3] = {-INFINITY, -INFINITY, -INFINITY};
    KT_ASSERT_FAILED(kl_sampler_next(s, &got, &at, x, &(kl_sampling){0}, NULL, &err), KL_ERR_NUMERIC, &err,
                     "all 3 logits are -inf");
    x[1] = 0;
    kl_logit_bias bias = {1, -INFINITY};
    KT_ASSERT_FAILED(kl_sampler_next(s, &got, &at, x, &(kl_sampling){.bias = &bias, .n_bias = 1}, NULL, &err),
                     KL_ERR_ARGUMENT, &err, "bias forbids");
    assert_true(got.id == -9 && at.n_drawn == 4);
    kl_sampler_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_numbers),   cmocka_unit_test(exp_and_log), cmocka_unit_test(golden),
        cmocka_unit_test(distributions),    cmocka_unit_test(states),      cmocka_unit_test(penalties),
        cmocka_unit_test(logprobs),         cmocka_unit_test(edges),       cmocka_unit_test(faults_of_settings),
        cmocka_unit_test(faults_of_logits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
