/* kl_router: the choice and the weights against sorting in f64, groups, ties, NaN; the backward against the formula and
 * finite differences with the choice held. */
#include "support/kt.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { T = 61, E = 256, K = 8 };

static int32_t id[T * E], first_id[T * E];
static float weight[T * E], first_weight[T * E];

/* The released model's router. */
static kl_router_args released(float *logits, float *bias)
{
    return (kl_router_args){.id = kl_view2(id, KL_I32, T, K),
                            .weight = kl_view2(weight, KL_F32, T, K),
                            .logits = kl_view2(logits, KL_F32, T, E),
                            .bias = bias ? kl_view1(bias, KL_F32, E) : (kl_tensor){0},
                            .topk = K,
                            .renormalise = true,
                            .scale = 2.446f};
}

static void run(const kl_backend *be, kl_router_args a)
{
    a.work = kt_work(kl_router_workspace(be, &a));
    KT_OK(kl_router(be, &a, KT_ERR));
}

/* --------------------------------------------------------------------------------------- the same in another way -- */

static void scores64(double *s, const float *logit, kl_score score, int n)
{
    double sum = 0;
    for (int e = 0; e < n; e++) {
        s[e] = score == KL_SCORE_SIGMOID ? 1 / (1 + exp(-(double)logit[e])) : exp((double)logit[e]);
        sum += s[e];
    }
    for (int e = 0; score == KL_SCORE_SOFTMAX && e < n; e++)
        s[e] /= sum;
}

struct entry {
    double rank;
    int index;
};

static int by_rank(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    return x->rank != y->rank ? (x->rank < y->rank ? 1 : -1) : x->index - y->index;
}

/* Groups whose experts are not eligible get -infinity. */
static void close_groups(struct entry *expert, int n, int n_group, int topk_group)
{
    struct entry group[E], sorted[E];
    int size = n / n_group;
    for (int g = 0; g < n_group; g++) {
        memcpy(sorted, expert + g * size, (size_t)size * sizeof *sorted);
        qsort(sorted, (size_t)size, sizeof *sorted, by_rank);
        group[g] = (struct entry){sorted[0].rank + sorted[1].rank, g};
    }
    qsort(group, (size_t)n_group, sizeof *group, by_rank);
    for (int g = topk_group; g < n_group; g++)
        for (int e = 0; e < size; e++)
            expert[group[g].index * size + e].rank = -INFINITY;
}

static void check_row(const kl_router_args *a, int t)
{
    const float *logit = (const float *)a->logits.data + t * a->logits.dim[1], *bias = a->bias.data;
    int n = (int)a->logits.dim[1];
    double s[E], sum = 0;
    struct entry expert[E];
    scores64(s, logit, a->score, n);
    for (int e = 0; e < n; e++)
        expert[e] = (struct entry){s[e] + (bias ? bias[e] : 0), e};
    if (a->n_group > 1)
        close_groups(expert, n, a->n_group, a->topk_group);
    qsort(expert, (size_t)n, sizeof *expert, by_rank);
    for (int e = 0; e < n && a->weight_biased && bias; e++)
        s[e] += bias[e];
    for (int j = 0; j < a->topk; j++)
        sum += s[expert[j].index];
    for (int j = 0; j < a->topk; j++) {
        double want = s[expert[j].index] / (a->renormalise ? sum : 1) * (double)(a->scale != 0 ? a->scale : 1);
        assert_int_equal(id[t * a->topk + j], expert[j].index);
        if (!(fabs(weight[t * a->topk + j] - want) <= 2e-6 * want))
            fail_msg("weight[%d][%d] is %g, expected %g", t, j, (double)weight[t * a->topk + j], want);
    }
}

/* Logits whose scores in f32 and f64 are in the same order: a grid, each value once in a row. */
static float *distinct_logits(kt_rng *r, int n)
{
    float *x = kt_floats(T * n);
    for (int t = 0; t < T; t++)
        for (int e = 0; e < n; e++) {
            int other = (int)kt_below(r, e + 1);
            x[t * n + e] = x[t * n + other];
            x[t * n + other] = (float)(e - n / 2) * (6.0f / (float)n);
        }
    return x;
}

static void agrees_with_sorting(void **state)
{
    (void)state;
    static const struct {
        int n_group, topk_group;
    } groups[] = {{0, 0}, {1, 1}, {8, 4}, {8, 1}, {128, 77}, {2, 2}};
    kt_rng r = {1};
    for (int l = 0; kt_level(l); l++)
        for (int i = 0; i < 6; i++)
            for (int setting = 0; setting < 16; setting++) {
                float *bias = setting & 1 ? kt_normals(&r, E, setting & 2 ? 3 : 0.05f) : NULL;
                for (int e = 0; bias && setting & 8 && e < E; e++)
                    bias[e] = fabsf(bias[e]); /* sums of biased weights stay away from 0 */
                kl_router_args a = released(distinct_logits(&r, E), bias);
                a.n_group = groups[i].n_group;
                a.topk_group = groups[i].topk_group;
                a.score = setting & 2 ? KL_SCORE_SOFTMAX : KL_SCORE_SIGMOID;
                a.renormalise = setting & 4;
                a.weight_biased = setting & 8;
                a.scale = setting & 4 ? 2.446f : 0;
                run(kt_backend(kt_level(l), 1 + setting % 3), a);
                for (int t = 0; t < T; t++)
                    check_row(&a, t);
                kt_free_all();
            }
}

static void every_count_of_experts(void **state)
{
    (void)state;
    kt_rng r = {2};
    for (int n = 1; n <= 40; n += 3)
        for (int topk = 1; topk <= n; topk += 2) {
            kl_router_args a = {.id = kl_view2(id, KL_I32, T, topk),
                                .weight = kl_view2(weight, KL_F32, T, topk),
                                .logits = kl_view2(distinct_logits(&r, n), KL_F32, T, n),
                                .topk = topk};
            run(kt_backend("ref", 1), a);
            for (int t = 0; t < T; t++)
                check_row(&a, t);
            kt_free_all();
        }
}

static void same_bits_for_any_level_and_thread_count(void **state)
{
    (void)state;
    kt_rng r = {3};
    float *logits = kt_normals(&r, T * E, 2), *bias = kt_normals(&r, E, 0.1f);
    run(kt_backend("ref", 1), released(logits, bias));
    memcpy(first_id, id, sizeof id);
    memcpy(first_weight, weight, sizeof weight);
    for (int l = 0; kt_level(l); l++)
        for (int threads = 1; threads <= 3; threads++) {
            run(kt_backend(kt_level(l), threads), released(logits, bias));
            kt_assert_same_bits("id", id, first_id, sizeof id);
            kt_assert_same_bits("weight", weight, first_weight, sizeof weight);
        }
    kt_free_all();
}

/* Equal scores, saturated ones included: the lower id, in the choice, in its order and among groups. */
static void ties_go_to_the_lower_id(void **state)
{
    (void)state;
    float *logits = kt_zeros(T * E);
    for (int t = 1; t < T; t++)
        for (int e = 0; e < E; e++)
            logits[t * E + e] = e % 3 == t % 3 ? 40.0f + (float)e : -1.0f; /* sigmoid is 1 from 17 on */
    for (int groups = 0; groups <= 1; groups++) {
        kl_router_args a = released(logits, NULL);
        a.n_group = groups ? 4 : 0;
        a.topk_group = 2;
        run(kt_backend("ref", 1), a);
        for (int t = 0; t < T; t++)
            for (int j = 0; j < K; j++) {
                assert_int_equal(id[t * K + j], t == 0 ? j : 3 * j + t % 3);
                assert_true(fabsf(weight[t * K + j] - 2.446f / K) < 1e-6f);
            }
    }
    kt_free_all();
}

static void bias_moves_the_choice_only(void **state)
{
    (void)state;
    float *logits = kt_zeros(T * E), *bias = kt_zeros(E);
    for (int t = 0; t < T; t++)
        for (int j = 0; j < K; j++)
            logits[t * E + 100 + j] = (float)j;
    for (int j = 0; j < K; j++)
        bias[100 + j] = 10 - (float)j; /* worst score first */
    kl_router_args a = released(logits, bias);
    a.renormalise = false;
    a.scale = 1;
    run(kt_backend("ref", 1), a);
    for (int t = 0; t < T; t++)
        for (int j = 0; j < K; j++) {
            assert_int_equal(id[t * K + j], 100 + j);
            assert_true(fabsf(weight[t * K + j] - 1 / (1 + expf(-(float)j))) < 1e-6f);
        }
    kt_free_all();
}

static void nan_is_the_last_choice(void **state)
{
    (void)state;
    kt_rng r = {4};
    for (kl_score score = KL_SCORE_SIGMOID; score <= KL_SCORE_SOFTMAX; score++) {
        float *logits = kt_normals(&r, T * E, 1);
        for (int t = 0; t < T; t++)
            for (int e = 0; e < E; e++)
                if (t == 3 || (t % 2 == 1 && e >= K - 1 && e != 77))
                    logits[t * E + e] = NAN; /* row 3 has no number, other odd rows have exactly K */
        logits[4 * E + 9] = INFINITY;
        logits[6 * E + 9] = -INFINITY;
        kl_router_args a = released(logits, NULL);
        a.score = score;
        run(kt_backend("ref", 2), a);
        for (int t = 0; t < T; t++)
            for (int j = 0; j < K; j++) {
                int e = id[t * K + j];
                assert_in_range(e, 0, E - 1);
                if (t == 3)
                    assert_int_equal(e, j);
                else
                    assert_false(isnan(logits[t * E + e]));
                bool spoilt = t == 3 || (score == KL_SCORE_SOFTMAX && t % 2 == 1);
                assert_true(isnan(weight[t * K + j]) == spoilt);
            }
        assert_int_equal(id[4 * K], 9);
        /* With groups: those that have fewer than two numbers come last. */
        a.n_group = 32;
        a.topk_group = 1;
        run(kt_backend("ref", 1), a);
        for (int t = 5; t < T; t += 2)
            assert_int_equal(id[t * K] / (E / 32), 0);
        kt_free_all();
    }
}

static void no_score_at_all(void **state)
{
    (void)state;
    float *logits = kt_zeros(T * E);
    for (int i = 0; i < T * E; i++)
        logits[i] = -INFINITY;
    run(kt_backend("ref", 1), released(logits, NULL));
    for (int i = 0; i < T * K; i++)
        assert_true(id[i] == i % K && weight[i] == 0);
    kl_router_args a = released(logits, NULL);
    a.score = KL_SCORE_SOFTMAX;
    run(kt_backend("ref", 1), a);
    for (int i = 0; i < T * K; i++)
        assert_true(id[i] == i % K && fabsf(weight[i] - 2.446f / K) < 1e-6f);
    kt_free_all();
}

/* ------------------------------------------------------------------------------------------------------ backward -- */

static void run_bwd(const kl_backend *be, kl_router_bwd_args b)
{
    b.work = kt_work(kl_router_bwd_workspace(be, &b));
    KT_OK(kl_router_bwd(be, &b, KT_ERR));
}

/* The weights for a choice that is held. */
static void weights64(double *w, const kl_router_args *a, const float *logit, const int32_t *chosen)
{
    double s[E], sum = 0;
    scores64(s, logit, a->score, E);
    for (int e = 0; e < E && a->weight_biased; e++)
        s[e] += ((const float *)a->bias.data)[e];
    for (int j = 0; j < K; j++)
        sum += s[chosen[j]];
    for (int j = 0; j < K; j++)
        w[j] = s[chosen[j]] / (a->renormalise ? sum : 1) * (double)a->scale;
}

/* Central differences in f64 of each row's weights along its gradient and along single logits. */
static void check_gradient_row(const kl_router_args *a, int t, const float *dw, const float *dz)
{
    float *logit = (float *)a->logits.data + t * E, kept[E];
    memcpy(kept, logit, sizeof kept);
    double size = 0;
    for (int e = 0; e < E; e++)
        size += (double)dz[e] * dz[e];
    size = sqrt(size);
    for (int i = -1; i < K; i++) {
        int single = i < 0 ? -1 : i % 2 ? (t * 31 + i * 17) % E : id[t * K + i];
        double up[K], down[K], found = 0, expected = 0, h = 1e-3;
        for (int sign = -1; sign <= 1; sign += 2) {
            for (int e = 0; e < E; e++)
                logit[e] = kept[e] + (float)(sign * h * (single < 0 ? dz[e] / size : e == single));
            weights64(sign < 0 ? down : up, a, logit, id + t * K);
        }
        for (int j = 0; j < K; j++)
            found += dw[j] * (up[j] - down[j]) / (2 * h);
        for (int e = 0; e < E; e++)
            expected += dz[e] * (single < 0 ? dz[e] / size : e == single);
        memcpy(logit, kept, sizeof kept);
        if (!(fabs(found - expected) <= 2e-3 * (fabs(expected) + 0.1 * size)))
            fail_msg("row %d, logit %d: difference %g, gradient %g", t, single, found, expected);
    }
}

static void gradients(void **state)
{
    (void)state;
    kt_rng r = {5};
    for (int setting = 0; setting < 8; setting++) {
        float *logits = kt_normals(&r, T * E, 1.5f), *dw = kt_normals(&r, T * K, 1), *first = NULL;
        kl_router_args a = released(logits, kt_normals(&r, E, 0.1f));
        a.score = setting & 1 ? KL_SCORE_SOFTMAX : KL_SCORE_SIGMOID;
        a.renormalise = setting & 2;
        a.weight_biased = setting & 4;
        run(kt_backend("ref", 1), a);
        for (int l = 0; kt_level(l); l++)
            for (int threads = 1; threads <= 3; threads++) {
                float *dz = kt_floats(T * E);
                kl_router_bwd_args b = {
                    .fwd = a, .d_weight = kl_view2(dw, KL_F32, T, K), .d_logits = kl_view2(dz, KL_F32, T, E)};
                b.fwd.weight = (kl_tensor){0};
                if (!a.weight_biased)
                    b.fwd.bias = (kl_tensor){0};
                run_bwd(kt_backend(kt_level(l), threads), b);
                first = first ? first : dz;
                kt_assert_same_bits("d_logits", dz, first, T * E * sizeof *dz);
            }
        for (int t = 0; t < T; t++)
            check_gradient_row(&a, t, dw + t * K, first + t * E);
        kt_free_all();
    }
}

static void pitches_and_nothing(void **state)
{
    (void)state;
    enum { LP = E + 3, IP = K + 2 };
    kt_rng r = {6};
    float *logits = kt_normals(&r, T * LP, 1), *dense = kt_floats(T * E), *dw = kt_normals(&r, T * IP, 1);
    float *dz = kt_floats(T * LP), *want = kt_floats(T * E), *dense_dw = kt_floats(T * K);
    for (int t = 0; t < T; t++) {
        memcpy(dense + t * E, logits + t * LP, E * sizeof *dense);
        memcpy(dense_dw + t * K, dw + t * IP, K * sizeof *dw);
    }
    const kl_backend *be = kt_backend("ref", 2);
    kl_router_args a = released(dense, NULL);
    run(be, a);
    memcpy(first_id, id, sizeof id);
    memcpy(first_weight, weight, sizeof weight);
    run_bwd(be, (kl_router_bwd_args){
                    .fwd = a, .d_weight = kl_view2(dense_dw, KL_F32, T, K), .d_logits = kl_view2(want, KL_F32, T, E)});
    a.logits.data = logits;
    a.logits.pitch = LP;
    a.id.pitch = a.weight.pitch = IP;
    run(be, a);
    kl_router_bwd_args b = {.fwd = a, .d_weight = kl_view2(dw, KL_F32, T, K), .d_logits = kl_view2(dz, KL_F32, T, E)};
    b.d_weight.pitch = IP;
    b.d_logits.pitch = LP;
    run_bwd(be, b);
    for (int t = 0; t < T; t++) {
        kt_assert_same_bits("id", id + t * IP, first_id + t * K, K * sizeof *id);
        kt_assert_same_bits("weight", weight + t * IP, first_weight + t * K, K * sizeof *weight);
        kt_assert_same_bits("d_logits", dz + t * LP, want + t * E, E * sizeof *dz);
    }
    a.logits.dim[0] = a.id.dim[0] = a.weight.dim[0] = 0;
    run(be, a);
    kt_free_all();
}

static void refusals(void **state)
{
    (void)state;
    kl_error err;
    const kl_backend *be = kt_backend("ref", 1);
    float *logits = kt_zeros(T * E);
    kl_router_args good = released(logits, NULL), a = good;
    KT_ASSERT_FAILED(kl_router(be, &good, &err), KL_ERR_WORKSPACE, &err, "kl_router", "workspace");
    a.topk = 0;
    KT_ASSERT_FAILED(kl_router(be, &a, &err), KL_ERR_ARGUMENT, &err, "topk is 0", "1 .. 256");
    a.topk = E + 1;
    KT_ASSERT_FAILED(kl_router(be, &a, &err), KL_ERR_ARGUMENT, &err, "topk is 257", "1 .. 256");
    a = good;
    a.n_group = 7;
    KT_ASSERT_FAILED(kl_router(be, &a, &err), KL_ERR_ARGUMENT, &err, "n_group is 7", "256");
    a.n_group = E;
    KT_ASSERT_FAILED(kl_router(be, &a, &err), KL_ERR_ARGUMENT, &err, "n_group is 256", "2 a group");
    a.n_group = 64;
    a.topk_group = 65;
    KT_ASSERT_FAILED(kl_router(be, &a, &err), KL_ERR_ARGUMENT, &err, "topk_group is 65", "1 .. 64");
    a.topk_group = 1;
    KT_ASSERT_FAILED(kl_router(be, &a, &err), KL_ERR_ARGUMENT, &err, "topk is 8", "1 .. 4 eligible");
    a = good;
    a.n_group = -1;
    KT_ASSERT_FAILED(kl_router(be, &a, &err), KL_ERR_ARGUMENT, &err, "n_group is -1");
    a = good;
    a.score = (kl_score)2;
    KT_ASSERT_FAILED(kl_router(be, &a, &err), KL_ERR_ARGUMENT, &err, "score is 2", "sigmoid or softmax");
    a = good;
    a.scale = NAN;
    KT_ASSERT_FAILED(kl_router(be, &a, &err), KL_ERR_ARGUMENT, &err, "scale is", "finite");
    a = good;
    a.id.dtype = KL_F32;
    KT_ASSERT_FAILED(kl_router(be, &a, &err), KL_ERR_DTYPE, &err, "id is f32", "i32");
    a = good;
    a.weight.dim[1] = 7;
    KT_ASSERT_FAILED(kl_router(be, &a, &err), KL_ERR_SHAPE, &err, "weight is [61][7]", "[61][8]");
    a = good;
    a.weight.data = logits + 5;
    KT_ASSERT_FAILED(kl_router(be, &a, &err), KL_ERR_OVERLAP, &err, "weight overlaps logits");
    assert_int_equal(kl_router_workspace(be, &a), 0);

    float *dz = kt_zeros(T * E);
    memset(id, 0, sizeof id);
    kl_router_bwd_args b = {
        .fwd = good, .d_weight = kl_view2(weight, KL_F32, T, K), .d_logits = kl_view2(dz, KL_F32, T, E)};
    KT_ASSERT_FAILED(kl_router_bwd(be, &b, &err), KL_ERR_WORKSPACE, &err, "kl_router_bwd", "workspace");
    b.work = kt_work(kl_router_bwd_workspace(be, &b));
    id[3 * K + 5] = E;
    KT_ASSERT_FAILED(kl_router_bwd(be, &b, &err), KL_ERR_ARGUMENT, &err, "id[3][5] is 256", "0 .. 255");
    id[3 * K + 5] = -1;
    KT_ASSERT_FAILED(kl_router_bwd(be, &b, &err), KL_ERR_ARGUMENT, &err, "id[3][5] is -1");
    b.fwd.weight_biased = true;
    b.fwd.bias = kl_view1(kt_zeros(E), KL_F32, 1);
    KT_ASSERT_FAILED(kl_router_bwd(be, &b, &err), KL_ERR_SHAPE, &err, "bias is [1]", "[256]");
    b.fwd.bias = kl_view1(kt_zeros(E), KL_BF16, E);
    KT_ASSERT_FAILED(kl_router_bwd(be, &b, &err), KL_ERR_DTYPE, &err, "bias is bf16", "f32");
    b.fwd.bias = kl_view1(dz, KL_F32, E);
    KT_ASSERT_FAILED(kl_router_bwd(be, &b, &err), KL_ERR_OVERLAP, &err, "d_logits overlaps bias");
    b.fwd.weight_biased = false;
    b.d_logits = (kl_tensor){0};
    KT_ASSERT_FAILED(kl_router_bwd(be, &b, &err), KL_ERR_SHAPE, &err, "d_logits is absent");
    kt_free_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_sorting),
        cmocka_unit_test(every_count_of_experts),
        cmocka_unit_test(same_bits_for_any_level_and_thread_count),
        cmocka_unit_test(ties_go_to_the_lower_id),
        cmocka_unit_test(bias_moves_the_choice_only),
        cmocka_unit_test(nan_is_the_last_choice),
        cmocka_unit_test(no_score_at_all),
        cmocka_unit_test(gradients),
        cmocka_unit_test(pitches_and_nothing),
        cmocka_unit_test(refusals),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_free_backends();
    return failed;
}
