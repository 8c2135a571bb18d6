/* kl_experts: a token alone and in a batch, threads, levels against a float64 loop, bf16 weights, gradients by finite
 * differences, accumulation, refusals.  Its golden vectors are in golden/. */
#include "support/kt.h"

#include <math.h>
#include <string.h>

enum { T = 37, D = 24, F = 19, E = 5, TOPK = 2, N = T * TOPK };

struct inputs {
    float *x, *weight, *w_gate, *w_up, *w_down;
    int32_t *id;
};

static struct inputs make_inputs(kt_rng *r)
{
    struct inputs in = {kt_normals(r, T * D, 1),        kt_floats(N),
                        kt_normals(r, E * F * D, 0.3f), kt_normals(r, E * F * D, 0.3f),
                        kt_normals(r, E * D * F, 0.3f), kt_bytes(N * sizeof(int32_t))};
    for (int t = 0; t < T; t++) { /* expert 4 is never chosen, expert 0 often */
        in.id[t * TOPK] = (int32_t)kt_below(r, 2);
        in.id[t * TOPK + 1] = 2 + (int32_t)kt_below(r, 2);
    }
    for (int i = 0; i < N; i++)
        in.weight[i] = (float)kt_uniform(r);
    return in;
}

static kl_experts_args args_of(struct inputs in, float *y, int first, int n)
{
    return (kl_experts_args){.y = kl_view2(y, KL_F32, n, D),
                             .x = kl_view2(in.x + first * D, KL_F32, n, D),
                             .id = kl_view2(in.id + first * TOPK, KL_I32, n, TOPK),
                             .weight = kl_view2(in.weight + first * TOPK, KL_F32, n, TOPK),
                             .w_gate = kl_view3(in.w_gate, KL_F32, E, F, D),
                             .w_up = kl_view3(in.w_up, KL_F32, E, F, D),
                             .w_down = kl_view3(in.w_down, KL_F32, E, D, F)};
}

static void run(const kl_backend *be, kl_experts_args a)
{
    a.work = kt_work(kl_experts_workspace(be, &a));
    KT_OK(kl_experts(be, &a, KT_ERR));
}

static double expected(struct inputs in, int t, int d)
{
    double y = 0;
    for (int j = 0; j < TOPK; j++) {
        int e = in.id[t * TOPK + j];
        double out = 0;
        for (int f = 0; f < F; f++) {
            double g = 0, u = 0;
            for (int i = 0; i < D; i++) {
                g += (double)in.w_gate[(e * F + f) * D + i] * in.x[t * D + i];
                u += (double)in.w_up[(e * F + f) * D + i] * in.x[t * D + i];
            }
            out += in.w_down[(e * D + d) * F + f] * (g / (1 + exp(-g)) * u);
        }
        y += in.weight[t * TOPK + j] * out;
    }
    return y;
}

static void levels_threads_and_batches(void **state)
{
    (void)state;
    kt_rng r = {1};
    struct inputs in = make_inputs(&r);
    double *want = kt_bytes(T * D * sizeof *want);
    for (int i = 0; i < T * D; i++)
        want[i] = expected(in, i / D, i % D);
    for (int l = 0; kt_level(l); l++) {
        float *y = kt_floats(T * D), *again = kt_floats(T * D);
        run(kt_backend(kt_level(l), 1), args_of(in, y, 0, T));
        assert_true(kt_ratio64(y, want, T * D) < 2e-6);
        for (int threads = 2; threads <= 3; threads++) {
            run(kt_backend(kt_level(l), threads), args_of(in, again, 0, T));
            kt_assert_same_bits("threads", again, y, T * D * sizeof *y);
        }
        for (int t = 0; t < T; t += 5) {
            run(kt_backend(kt_level(l), 2), args_of(in, again + t * D, t, 1));
            kt_assert_same_bits("a token alone", again + t * D, y + t * D, D * sizeof *y);
        }
        kl_experts_args twice = args_of(in, again, 0, T);
        twice.add = true;
        memcpy(again, y, T * D * sizeof *y);
        run(kt_backend(kt_level(l), 2), twice);
        for (int i = 0; i < T * D; i++)
            want[i] *= 2;
        assert_true(kt_ratio64(again, want, T * D) < 2e-6);
        for (int i = 0; i < T * D; i++)
            want[i] /= 2;
        run(kt_backend(kt_level(l), 2), args_of(in, again, 0, 0));
    }
    kt_free_all();
}

static void bf16_weights(void **state)
{
    (void)state;
    kt_rng r = {2};
    struct inputs in = make_inputs(&r);
    kl_experts_args a = args_of(in, kt_floats(T * D), 0, T), b = args_of(in, kt_floats(T * D), 0, T);
    b.w_gate = kl_view3(kt_bf16_of(in.w_gate, E * F * D), KL_BF16, E, F, D);
    b.w_down = kl_view3(kt_bf16_of(in.w_down, E * D * F), KL_BF16, E, D, F);
    b.x = kl_view2(kt_bf16_of(in.x, T * D), KL_BF16, T, D);
    for (int l = 0; kt_level(l); l++) {
        run(kt_backend(kt_level(l), 1), a);
        run(kt_backend(kt_level(l), 2), b);
        kt_assert_same_bits("bf16 is its f32 value", a.y.data, b.y.data, T * D * sizeof(float));
    }
    kt_free_all();
}

struct gradient_case {
    const kl_backend *be;
    kl_experts_args a;
    float *w;
};

static double loss(void *ctx)
{
    struct gradient_case *c = ctx;
    run(c->be, c->a);
    return kt_dot(c->w, c->a.y.data, T * D);
}

static void gradients(void **state)
{
    (void)state;
    for (int l = 0; kt_level(l); l++) {
        kt_rng r = {3};
        struct inputs in = make_inputs(&r);
        struct gradient_case c = {kt_backend(kt_level(l), 2), args_of(in, kt_floats(T * D), 0, T),
                                  kt_normals(&r, T * D, 1)};
        float *dx = kt_floats(T * D), *dweight = kt_floats(N);
        float *dg = kt_zeros(E * F * D), *du = kt_zeros(E * F * D), *dd = kt_zeros(E * D * F);
        kl_experts_bwd_args b = {.fwd = c.a,
                                 .d_y = kl_view2(c.w, KL_F32, T, D),
                                 .d_x = kl_view2(dx, KL_F32, T, D),
                                 .d_weight = kl_view2(dweight, KL_F32, T, TOPK),
                                 .d_w_gate = kl_view3(dg, KL_F32, E, F, D),
                                 .d_w_up = kl_view3(du, KL_F32, E, F, D),
                                 .d_w_down = kl_view3(dd, KL_F32, E, D, F)};
        b.work = kt_work(kl_experts_bwd_workspace(c.be, &b));
        KT_OK(kl_experts_bwd(c.be, &b, KT_ERR));
        kt_check_gradient("d_x", loss, &c, in.x, dx, T * D, 1e-2, 5e-3, &r);
        kt_check_gradient("d_weight", loss, &c, in.weight, dweight, N, 1e-2, 5e-3, &r);
        kt_check_gradient("d_w_gate", loss, &c, in.w_gate, dg, E * F * D, 1e-2, 5e-3, &r);
        kt_check_gradient("d_w_up", loss, &c, in.w_up, du, E * F * D, 1e-2, 5e-3, &r);
        kt_check_gradient("d_w_down", loss, &c, in.w_down, dd, E * D * F, 1e-2, 5e-3, &r);
        float *first = kt_copy(dd, E * D * F), *dx1 = kt_copy(dx, T * D);
        KT_OK(kl_experts_bwd(c.be, &b, KT_ERR));
        kt_assert_same_bits("activations are assigned", dx, dx1, T * D * sizeof *dx);
        for (int i = 0; i < E * D * F; i++)
            first[i] *= 2;
        kt_assert_close("parameters are added to", dd, first, E * D * F, 1e-6);
        kt_free_all();
    }
}

static void refusals(void **state)
{
    (void)state;
    kl_error err;
    kt_rng r = {4};
    struct inputs in = make_inputs(&r);
    const kl_backend *be = kt_backend("ref", 1);
    kl_experts_args a = args_of(in, kt_zeros(T * D), 0, T);
    in.id[7] = E;
    KT_ASSERT_FAILED(kl_experts(be, &a, &err), KL_ERR_ARGUMENT, &err, "id[3][1] is 5", "0 .. 4");
    in.id[7] = -1;
    KT_ASSERT_FAILED(kl_experts(be, &a, &err), KL_ERR_ARGUMENT, &err, "id[3][1] is -1");
    in.id[7] = 2;
    KT_ASSERT_FAILED(kl_experts(be, &a, &err), KL_ERR_WORKSPACE, &err, "workspace");
    a.w_down.dim[1] = F;
    KT_ASSERT_FAILED(kl_experts(be, &a, &err), KL_ERR_SHAPE, &err, "w_down", "[5][24][19]");
    a.w_down.dim[1] = D;
    a.y.data = in.x;
    KT_ASSERT_FAILED(kl_experts(be, &a, &err), KL_ERR_OVERLAP, &err, "y overlaps x");
    kt_free_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(levels_threads_and_batches),
        cmocka_unit_test(bf16_weights),
        cmocka_unit_test(gradients),
        cmocka_unit_test(refusals),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_free_backends();
    return failed;
}
