/* kl_swiglu: every level against the formula in f64, its gradients against the formula and finite differences; long
 * rows that are cut into pieces, bf16, pitches, aliasing, thread counts, T = 0, NaN, refusals. */
#include "support/kt.h"

#include <math.h>
#include <string.h>

enum { T = 9, F = 1024 * 2 + 37, N = T * F }; /* two whole pieces and a bit */

static double want[N], want_gate[N], want_up[N];

static void formula(double *y, const float *gate, const float *up, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = gate[i] / (1 + exp(-(double)gate[i])) * up[i];
}

static void formula_bwd(double *d_gate, double *d_up, const float *dy, const float *gate, const float *up, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        double s = 1 / (1 + exp(-(double)gate[i]));
        d_gate[i] = dy[i] * (double)up[i] * (s + gate[i] * s * (1 - s));
        d_up[i] = dy[i] * gate[i] * s;
    }
}

static kl_tensor view(void *x, kl_dtype dtype)
{
    return kl_view2(x, dtype, T, F);
}

static void run(const kl_backend *be, kl_swiglu_args a)
{
    a.work = kt_work(kl_swiglu_workspace(be, &a));
    KT_OK(kl_swiglu(be, &a, KT_ERR));
}

static void run_bwd(const kl_backend *be, kl_swiglu_bwd_args b)
{
    b.work = kt_work(kl_swiglu_bwd_workspace(be, &b));
    KT_OK(kl_swiglu_bwd(be, &b, KT_ERR));
}

static void agrees_with_formula(void **state)
{
    (void)state;
    kt_rng r = {1};
    float *gate = kt_normals(&r, N, 6), *up = kt_normals(&r, N, 2);
    formula(want, gate, up, N);
    for (int l = 0; kt_level(l); l++) {
        float *first = NULL;
        for (int threads = 1; threads <= 3; threads++) {
            float *y = kt_floats(N);
            run(kt_backend(kt_level(l), threads),
                (kl_swiglu_args){.y = view(y, KL_F32), .gate = view(gate, KL_F32), .up = view(up, KL_F32)});
            kt_assert_close64("y", kt_level(l), y, want, N, 1e-6);
            first = first ? first : y;
            kt_assert_same_bits("thread counts", y, first, N * sizeof *y);
        }
        for (int in_up = 0; in_up <= 1; in_up++) {
            float *g = kt_copy(gate, N), *u = kt_copy(up, N), *y = in_up ? u : g;
            run(kt_backend(kt_level(l), 2),
                (kl_swiglu_args){.y = view(y, KL_F32), .gate = view(g, KL_F32), .up = view(u, KL_F32)});
            kt_assert_same_bits("in place", y, first, N * sizeof *y);
        }
    }
    kt_free_all();
}

static void bf16_and_pitches(void **state)
{
    (void)state;
    enum { ROW = 2 * F + 3 }; /* gate and up side by side, as one projection makes them */
    kt_rng r = {2};
    float *fused = kt_normals(&r, T * ROW, 2), *gate = kt_floats(N), *up = kt_floats(N), *y = kt_floats(N);
    uint16_t *fused16 = kt_bf16_of(fused, T * ROW), *y16 = kt_bytes(N * 2);
    for (int t = 0; t < T; t++) {
        memcpy(gate + t * F, fused + t * ROW, F * sizeof *gate);
        memcpy(up + t * F, fused + t * ROW + F, F * sizeof *up);
    }
    formula(want, gate, up, N);
    for (int l = 0; kt_level(l); l++) {
        kl_swiglu_args a = {.y = view(y, KL_F32), .gate = view(fused16, KL_BF16), .up = view(fused16 + F, KL_BF16)};
        a.gate.pitch = a.up.pitch = ROW;
        run(kt_backend(kt_level(l), 2), a);
        kt_assert_close64("bf16 in", kt_level(l), y, want, N, 1e-6);
        a.y = view(y16, KL_BF16);
        run(kt_backend(kt_level(l), 2), a);
        kt_assert_same_bits("bf16 out is f32 out, rounded", y16, kt_bf16_of(kt_copy(y, N), N), N * 2);
    }
    kt_free_all();
}

static void gradients(void **state)
{
    (void)state;
    kt_rng r = {3};
    float *gate = kt_normals(&r, N, 3), *up = kt_normals(&r, N, 1), *dy = kt_normals(&r, N, 1);
    uint16_t *gate16 = kt_bf16_of(gate, N), *up16 = kt_bf16_of(up, N), *dy16 = kt_bf16_of(dy, N);
    formula_bwd(want_gate, want_up, dy, gate, up, N);
    for (int l = 0; kt_level(l); l++) {
        float *first = NULL;
        for (int threads = 1; threads <= 3; threads++) {
            float *d = kt_floats(2 * N);
            kl_swiglu_bwd_args b = {.fwd = {.gate = view(gate, KL_F32), .up = view(up, KL_F32)},
                                    .d_y = view(dy, KL_F32),
                                    .d_gate = view(d, KL_F32),
                                    .d_up = view(d + N, KL_F32)};
            if (threads == 3) {
                b.fwd = (kl_swiglu_args){.gate = view(gate16, KL_BF16), .up = view(up16, KL_BF16)};
                b.d_y = view(dy16, KL_BF16);
            }
            run_bwd(kt_backend(kt_level(l), threads), b);
            kt_assert_close64("d_gate", kt_level(l), d, want_gate, N, 1e-6);
            kt_assert_close64("d_up", kt_level(l), d + N, want_up, N, 1e-6);
            first = first ? first : d;
            kt_assert_same_bits("thread counts and dtypes", d, first, 2 * N * sizeof *d);
        }
        for (int in_up = 0; in_up <= 1; in_up++) {
            float *d = kt_copy(dy, N);
            kl_swiglu_bwd_args b = {.fwd = {.gate = view(gate, KL_F32), .up = view(up, KL_F32)},
                                    .d_y = view(d, KL_F32)};
            *(in_up ? &b.d_up : &b.d_gate) = b.d_y;
            run_bwd(kt_backend(kt_level(l), 2), b);
            kt_assert_same_bits("in the place of d_y", d, first + (in_up ? N : 0), N * sizeof *d);
        }
    }
    kt_free_all();
}

struct gradient_case {
    const kl_backend *be;
    float *gate, *up, *y, *weight;
};

static double loss(void *ctx)
{
    struct gradient_case *c = ctx;
    run(c->be, (kl_swiglu_args){.y = view(c->y, KL_F32), .gate = view(c->gate, KL_F32), .up = view(c->up, KL_F32)});
    return kt_dot(c->weight, c->y, N);
}

static void finite_differences(void **state)
{
    (void)state;
    for (int l = 0; kt_level(l); l++) {
        kt_rng r = {4};
        struct gradient_case c = {kt_backend(kt_level(l), 2), kt_normals(&r, N, 2), kt_normals(&r, N, 1), kt_floats(N),
                                  kt_normals(&r, N, 1)};
        float *d_gate = kt_floats(N), *d_up = kt_floats(N);
        run_bwd(c.be, (kl_swiglu_bwd_args){.fwd = {.gate = view(c.gate, KL_F32), .up = view(c.up, KL_F32)},
                                           .d_y = view(c.weight, KL_F32),
                                           .d_gate = view(d_gate, KL_F32),
                                           .d_up = view(d_up, KL_F32)});
        kt_check_gradient("d_gate", loss, &c, c.gate, d_gate, N, 1e-2, 3e-3, &r);
        kt_check_gradient("d_up", loss, &c, c.up, d_up, N, 1e-2, 3e-3, &r);
        kt_free_all();
    }
}

static void edges(void **state)
{
    (void)state;
    for (int l = 0; kt_level(l); l++) {
        const kl_backend *be = kt_backend(kt_level(l), 2);
        float gate[] = {0, 100, -100, NAN, 1}, up[] = {3, 2, 2, 1, NAN}, y[5];
        run(be, (kl_swiglu_args){.y = kl_view2(y, KL_F32, 1, 5),
                                 .gate = kl_view2(gate, KL_F32, 1, 5),
                                 .up = kl_view2(up, KL_F32, 1, 5)});
        assert_true(y[0] == 0 && y[1] == 200 && fabsf(y[2]) < 1e-30f && isnan(y[3]) && isnan(y[4]));
        kl_tensor none = kl_view2(NULL, KL_F32, 0, 5), narrow = kl_view2(NULL, KL_F32, (int64_t)1 << 60, 0);
        run(be, (kl_swiglu_args){.y = none, .gate = none, .up = none});
        run(be, (kl_swiglu_args){.y = narrow, .gate = narrow, .up = narrow});
        run_bwd(be, (kl_swiglu_bwd_args){.fwd = {.gate = none, .up = none}, .d_y = none, .d_gate = none});
        kt_free_all();
    }
}

static void refusals(void **state)
{
    (void)state;
    kl_error err;
    float *x = kt_zeros(12), *u = kt_zeros(12), *y = kt_zeros(12);
    const kl_backend *be = kt_backend("ref", 1);
    kl_swiglu_args good = {.y = kl_view2(y, KL_F32, 3, 4),
                           .gate = kl_view2(x, KL_F32, 3, 4),
                           .up = kl_view2(u, KL_F32, 3, 4)},
                   a = good;
    KT_ASSERT_FAILED(kl_swiglu(NULL, &a, &err), KL_ERR_ARGUMENT, &err, "kl_swiglu", "backend");
    a.up.dim[0] = 2;
    KT_ASSERT_FAILED(kl_swiglu(be, &a, &err), KL_ERR_SHAPE, &err, "up is [2][4]", "expected [3][4]");
    a = good;
    a.gate = kl_view3(x, KL_F32, 3, 2, 2);
    KT_ASSERT_FAILED(kl_swiglu(be, &a, &err), KL_ERR_SHAPE, &err, "gate is [3][2][2]");
    a = good;
    a.y.dtype = KL_F16;
    KT_ASSERT_FAILED(kl_swiglu(be, &a, &err), KL_ERR_DTYPE, &err, "y is f16", "f32|bf16");
    a = good;
    a.y = kl_view2(u, KL_BF16, 3, 4);
    KT_ASSERT_FAILED(kl_swiglu(be, &a, &err), KL_ERR_OVERLAP, &err, "y overlaps up");
    a.y = kl_view2(x, KL_BF16, 3, 4);
    KT_ASSERT_FAILED(kl_swiglu(be, &a, &err), KL_ERR_OVERLAP, &err, "y overlaps gate");
    a = good;
    a.work = kt_work(kl_swiglu_workspace(be, &a) - 1);
    KT_ASSERT_FAILED(kl_swiglu(be, &a, &err), KL_ERR_WORKSPACE, &err, "kl_swiglu: workspace");
    kl_swiglu_bwd_args b = {.fwd = good, .d_y = good.y, .d_gate = good.y, .d_up = good.y};
    KT_ASSERT_FAILED(kl_swiglu_bwd(be, &b, &err), KL_ERR_OVERLAP, &err, "d_gate overlaps d_up");
    b.d_up = good.up;
    KT_ASSERT_FAILED(kl_swiglu_bwd(be, &b, &err), KL_ERR_OVERLAP, &err, "d_up overlaps up");
    b.d_up = (kl_tensor){0};
    KT_ASSERT_FAILED(kl_swiglu_bwd(be, &b, &err), KL_ERR_WORKSPACE, &err, "kl_swiglu_bwd: workspace");
    kt_free_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_formula),
        cmocka_unit_test(bf16_and_pitches),
        cmocka_unit_test(gradients),
        cmocka_unit_test(finite_differences),
        cmocka_unit_test(edges),
        cmocka_unit_test(refusals),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_free_backends();
    return failed;
}
