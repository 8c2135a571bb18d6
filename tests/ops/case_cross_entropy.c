/* kl_cross_entropy: every level against the formula in f64, also over the vocabulary of the released model; its
 * gradient against the formula and finite differences; ignored labels, infinities, NaN, bf16, pitches, thread counts,
 * refusals. */
#include "support/kt.h"

#include <math.h>
#include <string.h>

enum { T = 21, N = 2 * 2048 + 77, BIG = 163840 };

static kl_tensor labels(int32_t *label, int64_t n)
{
    return kl_view1(label, KL_I32, n);
}

static int32_t *some_labels(kt_rng *r, int64_t n_token, int64_t n_column)
{
    int32_t *label = kt_bytes((size_t)n_token * sizeof *label);
    for (int64_t t = 0; t < n_token; t++)
        label[t] = t % 7 == 4 ? -100 : (int32_t)kt_below(r, n_column);
    label[0] = 0;
    label[n_token - 1] = (int32_t)n_column - 1;
    return label;
}

/* log sum exp of a row, with the largest element taken out. */
static double log_sum_exp(const float *x, int64_t n)
{
    double max = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++)
        max = x[i] > max ? x[i] : max;
    for (int64_t i = 0; i < n; i++)
        sum += exp(x[i] - max);
    return max + log(sum);
}

static void formula(double *loss, double *lse, const float *x, const int32_t *label, int64_t n_token, int64_t n)
{
    for (int64_t t = 0; t < n_token; t++, x += n) {
        lse[t] = log_sum_exp(x, n);
        loss[t] = label[t] < 0 ? 0 : lse[t] - x[label[t]];
    }
}

static void formula_bwd(double *dx, const float *x, const int32_t *label, const float *d, int64_t n_token, int64_t n)
{
    for (int64_t t = 0; t < n_token; t++, x += n, dx += n) {
        double lse = log_sum_exp(x, n);
        for (int64_t i = 0; i < n; i++)
            dx[i] = label[t] < 0 ? 0 : d[t] * (exp(x[i] - lse) - (i == label[t]));
    }
}

static void run(const kl_backend *be, kl_cross_entropy_args a)
{
    a.work = kt_work(kl_cross_entropy_workspace(be, &a));
    KT_OK(kl_cross_entropy(be, &a, KT_ERR));
}

static void run_bwd(const kl_backend *be, kl_cross_entropy_bwd_args b)
{
    b.work = kt_work(kl_cross_entropy_bwd_workspace(be, &b));
    KT_OK(kl_cross_entropy_bwd(be, &b, KT_ERR));
}

static kl_cross_entropy_args arguments(float *loss, float *lse, float *x, int32_t *label, int64_t n_token, int64_t n)
{
    return (kl_cross_entropy_args){.loss = kl_view1(loss, KL_F32, n_token),
                                   .lse = lse ? kl_view1(lse, KL_F32, n_token) : (kl_tensor){0},
                                   .logits = kl_view2(x, KL_F32, n_token, n),
                                   .label = labels(label, n_token)};
}

/* Offsets that a sum of plain exponentials would not survive; deviations from nearly uniform to nearly certain. */
static void agrees_with_formula(void **state)
{
    (void)state;
    static const struct {
        float scale, offset;
    } rows[] = {{1, 0}, {0.01f, 3}, {8, 500}, {3, -2000}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        kt_rng r = {i};
        double want[T], want_lse[T];
        float *x = kt_normals(&r, T * N, rows[i].scale);
        int32_t *label = some_labels(&r, T, N);
        for (int j = 0; j < T * N; j++)
            x[j] += rows[i].offset;
        formula(want, want_lse, x, label, T, N);
        for (int l = 0; kt_level(l); l++) {
            float *first = NULL;
            for (int threads = 1; threads <= 3; threads++) {
                float *both = kt_floats(2 * T);
                run(kt_backend(kt_level(l), threads), arguments(both, both + T, x, label, T, N));
                kt_assert_close64("loss", kt_level(l), both, want, T, 1e-6);
                kt_assert_close64("lse", kt_level(l), both + T, want_lse, T, 1e-6);
                first = first ? first : both;
                kt_assert_same_bits("thread counts", both, first, 2 * T * sizeof *both);
            }
        }
        kt_free_all();
    }
}

static void big_vocabulary(void **state)
{
    (void)state;
    enum { FEW = 3 };
    kt_rng r = {5};
    double want[FEW], want_lse[FEW];
    float *x = kt_normals(&r, FEW * BIG, 2), *dx = kt_floats(FEW * BIG), *loss = kt_floats(FEW), *lse = kt_floats(FEW);
    float ones[FEW] = {1, 1, 1};
    double *dx64 = kt_bytes(FEW * BIG * sizeof *dx64);
    int32_t *label = some_labels(&r, FEW, BIG);
    formula(want, want_lse, x, label, FEW, BIG);
    formula_bwd(dx64, x, label, ones, FEW, BIG);
    for (int l = 0; kt_level(l); l++) {
        kl_cross_entropy_args a = arguments(loss, lse, x, label, FEW, BIG);
        run(kt_backend(kt_level(l), 2), a);
        kt_assert_close64("loss", kt_level(l), loss, want, FEW, 1e-6);
        kt_assert_close64("lse", kt_level(l), lse, want_lse, FEW, 1e-6);
        run_bwd(kt_backend(kt_level(l), 2),
                (kl_cross_entropy_bwd_args){.fwd = a, .d_logits = kl_view2(dx, KL_F32, FEW, BIG)});
        kt_assert_close64("d_logits", kt_level(l), dx, dx64, FEW * BIG, 2e-6);
        for (int t = 0; t < FEW; t++) {
            double sum = 0;
            for (int i = 0; i < BIG; i++)
                sum += dx[t * BIG + i];
            assert_true(fabs(sum) < 2e-6); /* probabilities add up to one */
        }
    }
    kt_free_all();
}

static void bf16_and_pitches(void **state)
{
    (void)state;
    enum { ROW = N + 3 };
    for (int l = 0; kt_level(l); l++) {
        kt_rng r = {6};
        const kl_backend *be = kt_backend(kt_level(l), 2);
        float *x = kt_normals(&r, T * N, 3), *loss = kt_floats(T), *lse = kt_floats(T), *dx = kt_floats(T * N);
        uint16_t *x16 = kt_bf16_of(x, T * N), *wide = kt_bytes(T * ROW * 2);
        int32_t *label = some_labels(&r, T, N), *label2 = kt_bytes(2 * T * sizeof *label);
        for (int t = 0; t < T; t++) {
            memcpy(wide + t * ROW, x16 + t * N, N * 2);
            label2[2 * t] = label[t];
            label2[2 * t + 1] = 1 << 30;
        }
        kl_cross_entropy_args a = arguments(loss, lse, x, label, T, N), b = a;
        run(be, a);
        run_bwd(be, (kl_cross_entropy_bwd_args){.fwd = a, .d_logits = kl_view2(dx, KL_F32, T, N)});
        float *loss2 = kt_floats(3 * T), *lse2 = kt_floats(3 * T), *dx2 = kt_floats(T * ROW);
        b.logits = kl_view2(wide, KL_BF16, T, N);
        b.logits.pitch = ROW;
        b.loss = kl_view1(loss2, KL_F32, T);
        b.lse = kl_view1(lse2, KL_F32, T);
        b.label = labels(label2, T);
        b.loss.pitch = b.lse.pitch = 3;
        b.label.pitch = 2;
        run(be, b);
        kl_cross_entropy_bwd_args bb = {.fwd = b, .d_logits = kl_view2(dx2, KL_F32, T, N)};
        bb.d_logits.pitch = ROW;
        run_bwd(be, bb);
        for (int t = 0; t < T; t++) {
            assert_true(loss2[3 * t] == loss[t] && lse2[3 * t] == lse[t] && isnan(loss2[3 * t + 1]));
            kt_assert_same_bits("d_logits", dx2 + t * ROW, dx + t * N, N * sizeof *dx);
        }
        kt_free_all();
    }
}

static void gradient_agrees_with_formula(void **state)
{
    (void)state;
    kt_rng r = {7};
    float *x = kt_normals(&r, T * N, 3), *d = kt_normals(&r, T, 1);
    double *want = kt_bytes(T * N * sizeof *want);
    int32_t *label = some_labels(&r, T, N);
    formula_bwd(want, x, label, d, T, N);
    for (int l = 0; kt_level(l); l++) {
        float *first = NULL;
        for (int threads = 1; threads <= 3; threads++) {
            const kl_backend *be = kt_backend(kt_level(l), threads);
            float *loss = kt_floats(T), *lse = kt_floats(T), *dx = kt_floats(T * N), *in_place = kt_copy(x, T * N);
            kl_cross_entropy_bwd_args b = {.fwd = arguments(loss, lse, x, label, T, N),
                                           .d_loss = kl_view1(d, KL_F32, T),
                                           .d_logits = kl_view2(dx, KL_F32, T, N)};
            run(be, b.fwd);
            run_bwd(be, b);
            kt_assert_close64("d_logits", kt_level(l), dx, want, T * N, 2e-6);
            first = first ? first : dx;
            kt_assert_same_bits("thread counts", dx, first, T * N * sizeof *dx);
            b.fwd.logits = b.d_logits = kl_view2(in_place, KL_F32, T, N);
            run_bwd(be, b);
            kt_assert_same_bits("in place", in_place, first, T * N * sizeof *dx);
        }
    }
    kt_free_all();
}

struct gradient_case {
    const kl_backend *be;
    float *x, *loss, *weight;
    int32_t *label;
};

static double total(void *ctx)
{
    struct gradient_case *c = ctx;
    run(c->be, arguments(c->loss, NULL, c->x, c->label, T, N));
    return kt_dot(c->weight, c->loss, T);
}

static void finite_differences(void **state)
{
    (void)state;
    for (int l = 0; kt_level(l); l++) {
        kt_rng r = {8};
        struct gradient_case c = {kt_backend(kt_level(l), 2), kt_normals(&r, T * N, 1), kt_floats(T),
                                  kt_normals(&r, T, 1), some_labels(&r, T, N)};
        float *lse = kt_floats(T), *dx = kt_floats(T * N);
        kl_cross_entropy_bwd_args b = {.fwd = arguments(c.loss, lse, c.x, c.label, T, N),
                                       .d_loss = kl_view1(c.weight, KL_F32, T),
                                       .d_logits = kl_view2(dx, KL_F32, T, N)};
        run(c.be, b.fwd);
        run_bwd(c.be, b);
        kt_check_gradient("d_logits", total, &c, c.x, dx, T * N, 1e-2, 5e-3, &r);
        kt_free_all();
    }
}

static void edges(void **state)
{
    (void)state;
    const float inf = INFINITY;
    for (int l = 0; kt_level(l); l++) {
        const kl_backend *be = kt_backend(kt_level(l), 2);
        float x[6][3] = {{-inf, 1, 1}, {-inf, -inf, -inf}, {NAN, 1, 2}, {inf, 1, 2}, {-inf, 1, 1}, {3e38f, -3e38f, 0}};
        int32_t label[6] = {1, 0, 1, 1, 0, 0};
        float loss[6], lse[6], dx[18];
        kl_cross_entropy_args a = arguments(loss, lse, x[0], label, 6, 3);
        run(be, a);
        assert_true(fabsf(loss[0] - logf(2)) < 1e-6f && fabsf(lse[0] - (1 + logf(2))) < 1e-6f); /* masked logits */
        assert_true(lse[1] == -inf && isnan(loss[1]));
        assert_true(isnan(lse[2]) && isnan(loss[2]));
        assert_true(lse[3] == inf && loss[3] == inf);
        assert_true(loss[4] == inf);
        assert_true(loss[5] == 0 && lse[5] == 3e38f);
        run_bwd(be, (kl_cross_entropy_bwd_args){.fwd = a, .d_logits = kl_view2(dx, KL_F32, 6, 3)});
        assert_true(dx[0] == 0 && fabsf(dx[1] + 0.5f) < 1e-6f && fabsf(dx[2] - 0.5f) < 1e-6f);
        assert_true(isnan(dx[3]) && isnan(dx[6]) && isnan(dx[8]));

        a = arguments(NULL, NULL, NULL, NULL, 0, 3);
        run(be, a);
        int32_t ignored[2] = {-1, -1};
        a = arguments(loss, lse, NULL, ignored, 2, 0); /* no vocabulary: nothing but ignored tokens */
        run(be, a);
        assert_true(loss[0] == 0 && loss[1] == 0 && lse[0] == -inf);
        run_bwd(be, (kl_cross_entropy_bwd_args){.fwd = a, .d_logits = kl_view2(NULL, KL_F32, 2, 0)});
        kt_free_all();
    }
}

static void refusals(void **state)
{
    (void)state;
    kl_error err;
    const kl_backend *be = kt_backend("ref", 1);
    float *x = kt_zeros(6), *loss = kt_zeros(2), *lse = kt_zeros(2);
    int32_t label[2] = {0, 3};
    kl_cross_entropy_args good = arguments(loss, lse, x, label, 2, 3), a = good;
    KT_ASSERT_FAILED(kl_cross_entropy(NULL, &a, &err), KL_ERR_ARGUMENT, &err, "kl_cross_entropy", "backend");
    KT_ASSERT_FAILED(kl_cross_entropy(be, &a, &err), KL_ERR_ARGUMENT, &err, "label[1] is 3", "less than 3");
    kl_cross_entropy_bwd_args b = {.fwd = good};
    KT_ASSERT_FAILED(kl_cross_entropy_bwd(be, &b, &err), KL_ERR_ARGUMENT, &err, "kl_cross_entropy_bwd",
                     "label[1] is 3");
    label[1] = 2;
    a.label.dim[0] = 1;
    KT_ASSERT_FAILED(kl_cross_entropy(be, &a, &err), KL_ERR_SHAPE, &err, "label is [1]", "expected [2]");
    a = good;
    a.loss.dtype = KL_BF16;
    KT_ASSERT_FAILED(kl_cross_entropy(be, &a, &err), KL_ERR_DTYPE, &err, "loss is bf16");
    a = good;
    a.lse = a.loss;
    KT_ASSERT_FAILED(kl_cross_entropy(be, &a, &err), KL_ERR_OVERLAP, &err, "loss overlaps lse");
    a = good;
    KT_ASSERT_FAILED(kl_cross_entropy(be, &a, &err), KL_ERR_WORKSPACE, &err, "kl_cross_entropy: workspace");
    b.fwd.lse = (kl_tensor){0};
    KT_ASSERT_FAILED(kl_cross_entropy_bwd(be, &b, &err), KL_ERR_SHAPE, &err, "lse is absent");
    b.fwd = good;
    b.d_logits = kl_view2(x, KL_F32, 2, 3);
    b.d_logits.pitch = 4;
    KT_ASSERT_FAILED(kl_cross_entropy_bwd(be, &b, &err), KL_ERR_OVERLAP, &err, "d_logits overlaps logits");
    b.d_logits.pitch = 0;
    KT_ASSERT_FAILED(kl_cross_entropy_bwd(be, &b, &err), KL_ERR_WORKSPACE, &err, "kl_cross_entropy_bwd: workspace");
    kt_free_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_formula),
        cmocka_unit_test(big_vocabulary),
        cmocka_unit_test(bf16_and_pitches),
        cmocka_unit_test(gradient_agrees_with_formula),
        cmocka_unit_test(finite_differences),
        cmocka_unit_test(edges),
        cmocka_unit_test(refusals),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_free_backends();
    return failed;
}
