/* kl_adamw against its formula in f64 over several steps, thread counts, refusals; kl_sum_squares. */
#include "support/kt.h"

#include "klinear/kl_train.h"

#include <math.h>
#include <string.h>

enum { N = (1 << 14) * 2 + 77 }; /* two whole blocks and a bit */

struct setting {
    double lr, beta1, beta2, eps, decay, grad_scale;
};
static const struct setting settings[] = {
    {1e-3, 0.9, 0.95, 1e-8, 0.1, 1}, {3e-4, 0, 0.999, 1e-6, 0, 0.25}, {0.5, 0.5, 0, 1, 0.01, -2}};
enum { N_SETTING = sizeof settings / sizeof *settings };

static void formula(double *p, double *m, double *v, const float *gradient, const struct setting *s, int64_t step)
{
    for (int i = 0; i < N; i++) {
        double d = s->grad_scale * gradient[i];
        m[i] = s->beta1 * m[i] + (1 - s->beta1) * d;
        v[i] = s->beta2 * v[i] + (1 - s->beta2) * d * d;
        double m_hat = m[i] / (1 - pow(s->beta1, (double)step)), v_hat = v[i] / (1 - pow(s->beta2, (double)step));
        p[i] -= s->lr * (m_hat / (sqrt(v_hat) + s->eps) + s->decay * p[i]);
    }
}

static kl_adamw_args arguments(float *p, float *m, float *v, const float *gradient, const struct setting *s,
                               int64_t step)
{
    return (kl_adamw_args){.p = p,
                           .m = m,
                           .v = v,
                           .gradient = gradient,
                           .n = N,
                           .step = step,
                           .lr = (float)s->lr,
                           .beta1 = (float)s->beta1,
                           .beta2 = (float)s->beta2,
                           .eps = (float)s->eps,
                           .weight_decay = (float)s->decay,
                           .grad_scale = (float)s->grad_scale};
}

/* The settings as the call gets them: f32. */
static struct setting rounded(struct setting s)
{
    return (struct setting){(float)s.lr,  (float)s.beta1, (float)s.beta2,
                            (float)s.eps, (float)s.decay, (float)s.grad_scale};
}

/* Parameters start at zero, so that it is the updates that are compared; then anywhere. */
static void agrees_with_formula(void **state)
{
    (void)state;
    static double p64[N], m64[N], v64[N];
    for (int k = 0; k < 2 * N_SETTING; k++) {
        struct setting s = rounded(settings[k % N_SETTING]);
        kt_rng r = {(uint64_t)k};
        float *start = k < N_SETTING ? kt_zeros(N) : kt_normals(&r, N, 1), *gradient[5], *first = NULL;
        for (int step = 1; step <= 5; step++)
            gradient[step - 1] = kt_normals(&r, N, step == 3 ? 1e-6f : 0.3f);
        for (int threads = 1; threads <= 4; threads++) {
            float *all = kt_zeros(3 * N), *p = all, *m = all + N, *v = all + 2 * N;
            memcpy(p, start, N * sizeof *p);
            memset(m64, 0, sizeof m64);
            memset(v64, 0, sizeof v64);
            for (int i = 0; i < N; i++)
                p64[i] = start[i];
            for (int step = 1; step <= 5; step++) {
                kl_adamw_args a = arguments(p, m, v, gradient[step - 1], &s, step);
                if (k == 0)
                    a.grad_scale = 0; /* the default, 1 */
                KT_OK(kl_adamw(kt_backend("ref", threads), &a, KT_ERR));
                formula(p64, m64, v64, gradient[step - 1], &s, step);
            }
            kt_assert_close64("p", "ref", p, p64, N, 1e-6);
            kt_assert_close64("m", "ref", m, m64, N, 1e-6);
            kt_assert_close64("v", "ref", v, v64, N, 1e-6);
            first = first ? first : all;
            kt_assert_same_bits("thread counts", all, first, 3 * N * sizeof *all);
        }
        kt_free_all();
    }
}

/* The sign of the gradient is the first step's direction, whatever its size; a late step has no correction left. */
static void first_and_late_steps(void **state)
{
    (void)state;
    const kl_backend *be = kt_backend("ref", 1);
    float p[3] = {0, 0, 0}, m[3] = {0}, v[3] = {0}, gradient[3] = {1e-4f, -1, 1e4f};
    kl_adamw_args a = {.p = p,
                       .m = m,
                       .v = v,
                       .gradient = gradient,
                       .n = 3,
                       .step = 1,
                       .lr = 0.01f,
                       .beta1 = 0.9f,
                       .beta2 = 0.95f,
                       .eps = 1e-12f};
    KT_OK(kl_adamw(be, &a, KT_ERR));
    for (int i = 0; i < 3; i++)
        assert_true(fabsf(p[i] - (gradient[i] > 0 ? -0.01f : 0.01f)) < 1e-7f);
    float q = 0, one = 1, four = 4, none = 0;
    kl_adamw_args late = {.p = &q,
                          .m = &one,
                          .v = &four,
                          .gradient = &none,
                          .n = 1,
                          .step = (int64_t)1 << 40,
                          .lr = 1,
                          .beta1 = 0.5f,
                          .beta2 = 0.25f,
                          .eps = 1e-12f};
    KT_OK(kl_adamw(be, &late, KT_ERR));
    assert_true(one == 0.5f && four == 1.0f && q == -0.5f);
}

static void not_a_number_stays_where_it_is(void **state)
{
    (void)state;
    float p[3] = {1, 1, 1}, m[3] = {0}, v[3] = {0}, gradient[3] = {1, NAN, 1};
    kl_adamw_args a = {.p = p,
                       .m = m,
                       .v = v,
                       .gradient = gradient,
                       .n = 3,
                       .step = 1,
                       .lr = 0.1f,
                       .beta1 = 0.9f,
                       .beta2 = 0.9f,
                       .eps = 1e-8f};
    KT_OK(kl_adamw(kt_backend("ref", 1), &a, KT_ERR));
    assert_true(isfinite(p[0]) && isnan(p[1]) && isfinite(p[2]));
}

static void refusals(void **state)
{
    (void)state;
    kl_error err;
    const kl_backend *be = kt_backend("ref", 1);
    float p = 1, m = 2, v = 3, gradient = 4;
    kl_adamw_args good = {.p = &p,
                          .m = &m,
                          .v = &v,
                          .gradient = &gradient,
                          .n = 1,
                          .step = 1,
                          .lr = 1,
                          .beta1 = 0.9f,
                          .beta2 = 0.9f,
                          .eps = 1e-8f},
                  a = good;
    KT_ASSERT_FAILED(kl_adamw(NULL, &a, &err), KL_ERR_ARGUMENT, &err, "kl_adamw", "backend is NULL");
    KT_ASSERT_FAILED(kl_adamw(be, NULL, &err), KL_ERR_ARGUMENT, &err, "args is NULL");
    a.n = -1;
    KT_ASSERT_FAILED(kl_adamw(be, &a, &err), KL_ERR_ARGUMENT, &err, "n is -1");
    a = good;
    a.v = NULL;
    KT_ASSERT_FAILED(kl_adamw(be, &a, &err), KL_ERR_ARGUMENT, &err, "is NULL", "arrays of 1");
    a = good;
    a.step = 0;
    KT_ASSERT_FAILED(kl_adamw(be, &a, &err), KL_ERR_ARGUMENT, &err, "step is 0");
    static const float not_a_beta[] = {1, -0.1f, NAN};
    for (int i = 0; i < 3; i++) {
        a = good;
        a.beta1 = not_a_beta[i];
        KT_ASSERT_FAILED(kl_adamw(be, &a, &err), KL_ERR_ARGUMENT, &err, "beta1 is", "[0, 1)");
        a = good;
        a.beta2 = not_a_beta[i];
        KT_ASSERT_FAILED(kl_adamw(be, &a, &err), KL_ERR_ARGUMENT, &err, "beta2 is", "[0, 1)");
    }
    a = good;
    a.eps = 0;
    KT_ASSERT_FAILED(kl_adamw(be, &a, &err), KL_ERR_ARGUMENT, &err, "eps is 0");
    a.eps = NAN;
    KT_ASSERT_FAILED(kl_adamw(be, &a, &err), KL_ERR_ARGUMENT, &err, "eps is nan");
    assert_true(p == 1 && m == 2 && v == 3);
    a = (kl_adamw_args){.step = 1, .eps = 1e-8f};
    KT_OK(kl_adamw(be, &a, KT_ERR)); /* nothing to do is fine without arrays */
}

static void sum_of_squares(void **state)
{
    (void)state;
    kt_rng r = {9};
    float *x = kt_normals(&r, N, 1);
    double want = 0;
    for (int i = 0; i < N; i++)
        want += (double)x[i] * x[i];
    for (int threads = 1; threads <= 3; threads++)
        assert_true(kl_sum_squares(kt_backend("ref", threads), x, N) == want);
    assert_true(kl_sum_squares(kt_backend("ref", 1), NULL, 0) == 0);
    float large[2] = {3e38f, 1e-30f};
    assert_true(isfinite(kl_sum_squares(kt_backend("ref", 1), large, 2)));
    x[N / 2] = NAN;
    assert_true(isnan(kl_sum_squares(kt_backend("ref", 2), x, N)));
    x[N / 2] = -INFINITY;
    assert_true(isinf(kl_sum_squares(kt_backend("ref", 2), x, N)));
    kt_free_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_formula),
        cmocka_unit_test(first_and_late_steps),
        cmocka_unit_test(not_a_number_stays_where_it_is),
        cmocka_unit_test(refusals),
        cmocka_unit_test(sum_of_squares),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_free_backends();
    return failed;
}
