/* Gradients of whole models against finite differences: every parameter of every kind of mixer, router and head. */
#include "support/train_case.h"

#include <math.h>
#include <string.h>

struct loss_case {
    kl_trainer *t;
    const kl_batch *batch;
};

static double loss_of(void *ctx)
{
    struct loss_case *l = ctx;
    kl_loss loss = {0};
    KT_OK(kl_trainer_loss(l->t, l->batch, &loss, KT_ERR));
    return loss.sum;
}

static int64_t floats_of(kl_tensor x)
{
    int64_t n = 1;
    for (int i = 0; i < x.n_dim; i++)
        n *= x.dim[i];
    return n;
}

static double norm_of(const float *x, int64_t n)
{
    double square = 0;
    for (int64_t i = 0; i < n; i++)
        square += (double)x[i] * x[i];
    return sqrt(square);
}

/* (loss(x + h d) - loss(x - h d)) / 2h, with the steps that f32 really makes; *expected is what the gradient gives. */
static double difference(struct loss_case *l, const kl_parameter *p, const float *kept, const float *d, double h,
                         double *expected)
{
    float *x = p->value.data;
    const float *gradient = p->gradient.data;
    int64_t n = floats_of(p->value);
    double value[2];
    *expected = 0;
    for (int side = 0; side < 2; side++) {
        for (int64_t i = 0; i < n; i++) {
            x[i] = (float)(kept[i] + (side ? -h : h) * d[i]);
            *expected += gradient[i] * ((double)x[i] - kept[i]) * (side ? -1 : 1);
        }
        value[side] = loss_of(l);
    }
    memcpy(x, kept, (size_t)n * sizeof *x);
    *expected /= 2 * h;
    return (value[0] - value[1]) / (2 * h);
}

/* Random models are bent: large steps leave the straight part, small ones drown in rounding, and which is which differs
 * between parameters.  One of these steps has to give the derivative; a wrong gradient is met by none.  The first
 * direction leans towards the gradient, where it is measured best; the others see what is across. */
static void check_parameter(struct loss_case *l, const char *model, const kl_parameter *p, kt_rng *r)
{
    static const double steps[] = {1.6e-2, 4e-3, 1e-3, 2.5e-4, 6e-5, 1.5e-5};
    int64_t n = floats_of(p->value);
    float *kept = kt_copy(p->value.data, n), *d = kt_zeros(n);
    const float *gradient = p->gradient.data;
    double norm = norm_of(gradient, n), rms = norm_of(kept, n) / sqrt((double)n);
    assert_true(norm > 0);
    for (int k = 0; k < 4; k++) {
        double expected = 0, found = 0;
        bool met = false;
        for (int64_t i = 0; i < n; i++)
            d[i] = (float)(kt_normal(r) + (k == 0 ? gradient[i] / norm * sqrt((double)n) : 0));
        for (size_t s = 0; s < sizeof steps / sizeof *steps && !met; s++) {
            found = difference(l, p, kept, d, steps[s] * rms, &expected);
            met = fabs(found - expected) <= 0.01 * fmax(fabs(expected), norm);
        }
        if (!met)
            fail_msg("%s: %s: finite differences end at %g, the gradient gives %g", model, p->name, found, expected);
    }
}

/* Every token goes to every expert: a choice that jumps has no derivative. */
static kl_config smooth(kl_config c)
{
    c.n_expert_used = c.n_expert;
    c.topk_group = c.n_group;
    return c;
}

static void check_model(int i)
{
    kt_rng r = {(uint64_t)i + 100};
    kl_config c = smooth(tc_config(i));
    kl_trainer *t = tc_trainer(&c, kt_backend(tc_level(), 1), NULL, &r);
    struct tc_batch b;
    tc_batch(&b, kl_trainer_config(t), (const int64_t[]){17, 0, 70, 1, -1}, &r);
    struct loss_case l = {t, &b.batch};
    kl_loss loss;
    KT_OK(kl_trainer_backward(t, &b.batch, &loss, KT_ERR));
    assert_true(loss.sum == loss_of(&l));
    for (int64_t k = 0; k < kl_trainer_n_parameter(t); k++) {
        kl_parameter p;
        kl_trainer_parameter(t, k, &p);
        if (strstr(p.name, "correction_bias")) /* moves the choice only */
            assert_true(norm_of(p.gradient.data, floats_of(p.gradient)) == 0);
        else
            check_parameter(&l, tc_name(i), &p, &r);
    }
    kt_free_all();
    kl_trainer_close(t);
}

static void every_parameter(void **state)
{
    (void)state;
    for (int i = 0; i < TC_N_MODEL; i++)
        check_model(i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_parameter)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_free_backends();
    return failed;
}
