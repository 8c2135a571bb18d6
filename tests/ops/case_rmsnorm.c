/* kl_rmsnorm: every level against the formula in f64, plain, by heads and gated; gradients against finite differences
 * and the formula; bf16, pitches, aliasing, thread counts, T = 0, NaN, refusals. */
#include "support/kt.h"

#include <math.h>
#include <string.h>

enum { T = 67, H = 3, D = 37, N = T * H * D };

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static double activate(double x, kl_activation act)
{
    return act == KL_ACT_NONE ? x : act == KL_ACT_SIGMOID ? sigmoid(x) : x * sigmoid(x);
}

static double slope(double x, kl_activation act)
{
    double s = sigmoid(x);
    return act == KL_ACT_NONE ? 1 : act == KL_ACT_SIGMOID ? s * (1 - s) : s + x * s * (1 - s);
}

/* y = x / sqrt(mean(x^2) + eps) . w . act(z), rows of d. */
static void formula(double *y, const float *x, const float *w, const float *z, kl_activation act, double eps,
                    int64_t rows, int64_t d)
{
    for (int64_t i = 0; i < rows; i++, y += d, x += d, z = z ? z + d : NULL) {
        double square = 0;
        for (int64_t j = 0; j < d; j++)
            square += (double)x[j] * x[j];
        for (int64_t j = 0; j < d; j++)
            y[j] = x[j] / sqrt(square / (double)d + eps) * (w ? w[j] : 1) * (z ? activate(z[j], act) : 1);
    }
}

/* The derivative of sum(dy . y) by hand: product rule for w and z, quotient rule for x. */
static void formula_bwd(double *dx, double *dw, double *dz, const float *dy, const float *x, const float *w,
                        const float *z, kl_activation act, double eps, int64_t rows, int64_t d)
{
    memset(dw, 0, (size_t)d * sizeof *dw);
    for (int64_t i = 0; i < rows; i++, dx += d, dz += d, dy += d, x += d, z = z ? z + d : NULL) {
        double square = 0, along = 0;
        for (int64_t j = 0; j < d; j++)
            square += (double)x[j] * x[j];
        double m = square / (double)d + eps;
        for (int64_t j = 0; j < d; j++) {
            double gate = z ? activate(z[j], act) : 1, weight = w ? w[j] : 1;
            along += dy[j] * gate * weight * x[j];
            dw[j] += dy[j] * gate * x[j] / sqrt(m);
            dz[j] = z ? dy[j] * weight * x[j] / sqrt(m) * slope(z[j], act) : 0;
        }
        for (int64_t j = 0; j < d; j++)
            dx[j] = dy[j] * (z ? activate(z[j], act) : 1) * (w ? w[j] : 1) / sqrt(m) -
                    x[j] * along / ((double)d * m * sqrt(m));
    }
}

static kl_tensor absent(void)
{
    return (kl_tensor){0};
}

static void run(const kl_backend *be, kl_rmsnorm_args a)
{
    a.work = kt_work(kl_rmsnorm_workspace(be, &a));
    KT_OK(kl_rmsnorm(be, &a, KT_ERR));
}

static void run_bwd(const kl_backend *be, kl_rmsnorm_bwd_args b)
{
    b.work = kt_work(kl_rmsnorm_bwd_workspace(be, &b));
    KT_OK(kl_rmsnorm_bwd(be, &b, KT_ERR));
}

/* Every combination of what may be there or not. */
static const struct variant {
    bool heads, w, z;
    kl_activation act;
} variants[] = {
    {false, true, false, KL_ACT_NONE},   {false, false, false, KL_ACT_NONE}, {true, true, false, KL_ACT_NONE},
    {true, true, true, KL_ACT_SIGMOID},  {true, true, true, KL_ACT_SILU},    {true, false, true, KL_ACT_SILU},
    {false, true, true, KL_ACT_SIGMOID}, {false, false, true, KL_ACT_NONE},
};
enum { N_VARIANT = sizeof variants / sizeof *variants };

static kl_tensor view(void *x, kl_dtype dtype, bool heads)
{
    return heads ? kl_view3(x, dtype, T, H, D) : kl_view2(x, dtype, T * H, D);
}

static void agrees_with_formula(void **state)
{
    (void)state;
    static double want[N];
    for (int i = 0; i < N_VARIANT; i++) {
        struct variant v = variants[i];
        kt_rng r = {(uint64_t)i};
        float *x = kt_normals(&r, N, 3), *w = kt_normals(&r, D, 1), *z = kt_normals(&r, N, 4);
        memset(x, 0, D * sizeof *x); /* a row of zeros stays one */
        formula(want, x, v.w ? w : NULL, v.z ? z : NULL, v.act, 1e-5, T * H, D);
        for (int l = 0; kt_level(l); l++) {
            float *first = NULL;
            for (int threads = 1; threads <= 3; threads++) {
                float *y = kt_floats(N);
                run(kt_backend(kt_level(l), threads), (kl_rmsnorm_args){.y = view(y, KL_F32, v.heads),
                                                                        .x = view(x, KL_F32, v.heads),
                                                                        .w = v.w ? kl_view1(w, KL_F32, D) : absent(),
                                                                        .z = v.z ? view(z, KL_F32, v.heads) : absent(),
                                                                        .act = v.act});
                kt_assert_close64("y", kt_level(l), y, want, N, 2e-6);
                first = first ? first : y;
                kt_assert_same_bits("thread counts", y, first, N * sizeof *y);
            }
        }
        kt_free_all();
    }
}

static void bf16_in_and_out(void **state)
{
    (void)state;
    static double want[N];
    kt_rng r = {7};
    float *x = kt_normals(&r, N, 3), *w = kt_normals(&r, D, 1), *z = kt_normals(&r, N, 2), *y = kt_floats(N);
    uint16_t *x16 = kt_bf16_of(x, N), *w16 = kt_bf16_of(w, D), *z16 = kt_bf16_of(z, N), *y16 = kt_bytes(N * 2);
    formula(want, x, w, z, KL_ACT_SILU, 1e-3, T * H, D);
    for (int l = 0; kt_level(l); l++) {
        kl_rmsnorm_args a = {.y = view(y, KL_F32, true),
                             .x = view(x16, KL_BF16, true),
                             .w = kl_view1(w16, KL_BF16, D),
                             .z = view(z16, KL_BF16, true),
                             .act = KL_ACT_SILU,
                             .eps = 1e-3f};
        run(kt_backend(kt_level(l), 2), a);
        kt_assert_close64("bf16 in, f32 out", kt_level(l), y, want, N, 2e-6);
        a.y = view(y16, KL_BF16, true);
        run(kt_backend(kt_level(l), 2), a);
        kt_assert_same_bits("bf16 out is f32 out, rounded", y16, kt_bf16_of(kt_copy(y, N), N), N * 2);
        uint16_t *same = kt_bytes(N * 2);
        memcpy(same, x16, N * 2);
        a.y = a.x = view(same, KL_BF16, true);
        run(kt_backend(kt_level(l), 2), a);
        kt_assert_same_bits("bf16 in place", same, y16, N * 2);
    }
    kt_free_all();
}

/* Rows further apart than they are long, and y in the place of x. */
static void pitches_and_in_place(void **state)
{
    (void)state;
    enum { GAP = 5, ROW = H * D + GAP };
    for (int l = 0; kt_level(l); l++) {
        kt_rng r = {8};
        const kl_backend *be = kt_backend(kt_level(l), 2);
        float *x = kt_normals(&r, T * ROW, 1), *w = kt_normals(&r, D, 1), *y = kt_floats(T * ROW);
        float *dense = kt_floats(N), *want = kt_floats(N);
        for (int t = 0; t < T; t++)
            memcpy(dense + t * H * D, x + t * ROW, H * D * sizeof *x);
        kl_tensor xt = view(x, KL_F32, true), yt = view(y, KL_F32, true), wt = kl_view1(w, KL_F32, D);
        xt.pitch = yt.pitch = ROW;
        run(be, (kl_rmsnorm_args){.y = view(want, KL_F32, true), .x = view(dense, KL_F32, true), .w = wt});
        run(be, (kl_rmsnorm_args){.y = yt, .x = xt, .w = wt});
        run(be, (kl_rmsnorm_args){.y = xt, .x = xt, .w = wt});
        for (int t = 0; t < T; t++) {
            kt_assert_same_bits("pitched", y + t * ROW, want + t * H * D, H * D * sizeof *y);
            kt_assert_same_bits("in place", x + t * ROW, want + t * H * D, H * D * sizeof *y);
            for (int i = H * D; i < ROW; i++)
                assert_true(isnan(y[t * ROW + i]));
        }
        kt_free_all();
    }
}

static void gradients_agree_with_formula(void **state)
{
    (void)state;
    static double dx64[N], dw64[D], dz64[N];
    for (int i = 0; i < N_VARIANT; i++) {
        struct variant v = variants[i];
        kt_rng r = {20 + (uint64_t)i};
        float *x = kt_normals(&r, N, 2), *w = kt_normals(&r, D, 1), *z = kt_normals(&r, N, 2);
        float *dy = kt_normals(&r, N, 1);
        formula_bwd(dx64, dw64, dz64, dy, x, v.w ? w : NULL, v.z ? z : NULL, v.act, 1e-5, T * H, D);
        for (int l = 0; kt_level(l); l++) {
            float *first = NULL;
            for (int threads = 1; threads <= 3; threads++) {
                float *d = kt_floats(2 * N + D), *dx = d, *dz = d + N, *dw = d + 2 * N;
                memset(dz, 0, (N + D) * sizeof *d);
                run_bwd(kt_backend(kt_level(l), threads),
                        (kl_rmsnorm_bwd_args){.fwd = {.x = view(x, KL_F32, v.heads),
                                                      .w = v.w ? kl_view1(w, KL_F32, D) : absent(),
                                                      .z = v.z ? view(z, KL_F32, v.heads) : absent(),
                                                      .act = v.act},
                                              .d_y = view(dy, KL_F32, v.heads),
                                              .d_x = view(dx, KL_F32, v.heads),
                                              .d_w = kl_view1(dw, KL_F32, D),
                                              .d_z = v.z ? view(dz, KL_F32, v.heads) : absent()});
                kt_assert_close64("d_x", kt_level(l), dx, dx64, N, 2e-6);
                kt_assert_close64("d_w", kt_level(l), dw, dw64, D, 2e-6);
                kt_assert_close64("d_z", kt_level(l), dz, dz64, N, 2e-6);
                first = first ? first : d;
                kt_assert_same_bits("thread counts", d, first, (2 * N + D) * sizeof *d);
            }
        }
        kt_free_all();
    }
}

/* Parameters' gradients are added to, those of activations assigned; bf16 inputs; d_x in the place of d_y. */
static void gradients_add_up(void **state)
{
    (void)state;
    for (int l = 0; kt_level(l); l++) {
        kt_rng r = {9};
        const kl_backend *be = kt_backend(kt_level(l), 2);
        float *x = kt_normals(&r, N, 1), *z = kt_normals(&r, N, 1), *dy = kt_normals(&r, N, 1);
        uint16_t *x16 = kt_bf16_of(x, N), *z16 = kt_bf16_of(z, N), *dy16 = kt_bf16_of(dy, N);
        float *dx = kt_floats(N), *dw = kt_zeros(D), *dx2 = kt_floats(N), *dw2 = kt_zeros(D);
        kl_rmsnorm_bwd_args b = {.fwd = {.x = view(x, KL_F32, true), .z = view(z, KL_F32, true), .act = KL_ACT_SIGMOID},
                                 .d_y = view(dy, KL_F32, true),
                                 .d_x = view(dx, KL_F32, true),
                                 .d_w = kl_view1(dw, KL_F32, D)};
        run_bwd(be, b);
        b.fwd.x = view(x16, KL_BF16, true);
        b.fwd.z = view(z16, KL_BF16, true);
        b.d_y = view(dy16, KL_BF16, true);
        b.d_x = view(dx2, KL_F32, true);
        b.d_w.data = dw2;
        run_bwd(be, b);
        kt_assert_same_bits("bf16 d_x", dx2, dx, N * sizeof *dx);
        kt_assert_same_bits("bf16 d_w", dw2, dw, D * sizeof *dw);
        b.d_x = absent();
        run_bwd(be, b);
        for (int i = 0; i < D; i++)
            assert_true(dw2[i] == 2 * dw[i]);
        b.d_w = absent();
        b.d_y = b.d_x = view(dy, KL_F32, true);
        run_bwd(be, b);
        kt_assert_same_bits("d_x in the place of d_y", dy, dx, N * sizeof *dx);
        kt_free_all();
    }
}

/* Enough tokens for several blocks of partial sums, the last one short; error of a long sum. */
static void long_sums(void **state)
{
    (void)state;
    enum { LONG = 64 * 64 * 3 + 5, W = 19 };
    static double dx64[LONG * W], dw64[W], dz64[LONG * W];
    kt_rng r = {10};
    float *x = kt_normals(&r, LONG * W, 1), *dy = kt_normals(&r, LONG * W, 1);
    for (int i = 0; i < LONG * W; i++)
        dy[i] = dy[i] * 0.1f + x[i]; /* so that d_w grows with T */
    formula_bwd(dx64, dw64, dz64, dy, x, NULL, NULL, KL_ACT_NONE, 1e-5, LONG, W);
    for (int l = 0; kt_level(l); l++) {
        float *first = NULL;
        for (int threads = 1; threads <= 4; threads++) {
            float *dw = kt_zeros(W);
            run_bwd(kt_backend(kt_level(l), threads), (kl_rmsnorm_bwd_args){.fwd.x = kl_view2(x, KL_F32, LONG, W),
                                                                            .d_y = kl_view2(dy, KL_F32, LONG, W),
                                                                            .d_w = kl_view1(dw, KL_F32, W)});
            kt_assert_close64("d_w over many tokens", kt_level(l), dw, dw64, W, 5e-7);
            first = first ? first : dw;
            kt_assert_same_bits("thread counts", dw, first, W * sizeof *dw);
        }
    }
    kt_free_all();
}

struct gradient_case {
    const kl_backend *be;
    float *x, *z, *w, *y, *weight;
};

static double loss(void *ctx)
{
    struct gradient_case *c = ctx;
    run(c->be, (kl_rmsnorm_args){.y = view(c->y, KL_F32, true),
                                 .x = view(c->x, KL_F32, true),
                                 .z = view(c->z, KL_F32, true),
                                 .w = kl_view1(c->w, KL_F32, D),
                                 .act = KL_ACT_SIGMOID});
    return kt_dot(c->weight, c->y, N);
}

static void finite_differences(void **state)
{
    (void)state;
    for (int l = 0; kt_level(l); l++) {
        kt_rng r = {3};
        struct gradient_case c = {kt_backend(kt_level(l), 2), kt_normals(&r, N, 1), kt_normals(&r, N, 1),
                                  kt_normals(&r, D, 1),       kt_floats(N),         kt_normals(&r, N, 1)};
        float *dx = kt_floats(N), *dw = kt_zeros(D), *dz = kt_floats(N);
        run_bwd(c.be, (kl_rmsnorm_bwd_args){.fwd = {.x = view(c.x, KL_F32, true),
                                                    .z = view(c.z, KL_F32, true),
                                                    .w = kl_view1(c.w, KL_F32, D),
                                                    .act = KL_ACT_SIGMOID},
                                            .d_y = view(c.weight, KL_F32, true),
                                            .d_x = view(dx, KL_F32, true),
                                            .d_w = kl_view1(dw, KL_F32, D),
                                            .d_z = view(dz, KL_F32, true)});
        kt_check_gradient("d_x", loss, &c, c.x, dx, N, 1e-2, 2e-3, &r);
        kt_check_gradient("d_w", loss, &c, c.w, dw, D, 1e-2, 2e-3, &r);
        kt_check_gradient("d_z", loss, &c, c.z, dz, N, 1e-2, 2e-3, &r);
        kt_free_all();
    }
}

static void edges(void **state)
{
    (void)state;
    for (int l = 0; kt_level(l); l++) {
        const kl_backend *be = kt_backend(kt_level(l), 2);
        float x[2 * 3] = {1, NAN, 2, 3, 4, 5}, y[2 * 3], dw[3] = {7, 8, 9};
        run(be, (kl_rmsnorm_args){.y = kl_view2(y, KL_F32, 2, 3), .x = kl_view2(x, KL_F32, 2, 3)});
        assert_true(isnan(y[0]) && isnan(y[1]) && isnan(y[2]));
        assert_true(isfinite(y[3]) && isfinite(y[4]) && isfinite(y[5]));
        run(be, (kl_rmsnorm_args){.y = kl_view2(NULL, KL_F32, 0, 3), .x = kl_view2(NULL, KL_F32, 0, 3)});
        run(be, (kl_rmsnorm_args){.y = kl_view3(NULL, KL_F32, 2, 0, 3), .x = kl_view3(NULL, KL_F32, 2, 0, 3)});
        run(be, (kl_rmsnorm_args){.y = kl_view2(NULL, KL_F32, 2, 0), .x = kl_view2(NULL, KL_F32, 2, 0)});
        kl_rmsnorm_bwd_args b = {.fwd.x = kl_view2(NULL, KL_F32, 0, 3),
                                 .d_y = kl_view2(NULL, KL_F32, 0, 3),
                                 .d_x = kl_view2(NULL, KL_F32, 0, 3),
                                 .d_w = kl_view1(dw, KL_F32, 3)};
        run_bwd(be, b);
        b.fwd.x = b.d_y = b.d_x = kl_view3(NULL, KL_F32, (int64_t)1 << 60, 0, 3); /* counted, never walked */
        run_bwd(be, b);
        assert_true(dw[0] == 7 && dw[1] == 8 && dw[2] == 9);
        kt_free_all();
    }
}

static void refusals(void **state)
{
    (void)state;
    kl_error err;
    float *x = kt_zeros(12), *y = kt_zeros(12), *z = kt_zeros(12);
    const kl_backend *be = kt_backend("ref", 1);
    kl_rmsnorm_args good = {.x = kl_view2(x, KL_F32, 3, 4), .y = kl_view2(y, KL_F32, 3, 4)}, a = good;
    KT_ASSERT_FAILED(kl_rmsnorm(NULL, &a, &err), KL_ERR_ARGUMENT, &err, "kl_rmsnorm", "backend");
    KT_ASSERT_FAILED(kl_rmsnorm(be, NULL, &err), KL_ERR_ARGUMENT, &err, "args is NULL");
    a.x.n_dim = 1;
    KT_ASSERT_FAILED(kl_rmsnorm(be, &a, &err), KL_ERR_SHAPE, &err, "x is [3]", "[n][n]");
    a = good;
    a.w = kl_view1(z, KL_F32, 5);
    KT_ASSERT_FAILED(kl_rmsnorm(be, &a, &err), KL_ERR_SHAPE, &err, "w is [5]", "expected [4]");
    a.w = kl_view1(z, KL_F32, 4);
    a.w.pitch = 2;
    KT_ASSERT_FAILED(kl_rmsnorm(be, &a, &err), KL_ERR_SHAPE, &err, "w has pitch 2", "dense");
    a = good;
    a.z = kl_view2(z, KL_I32, 3, 4);
    KT_ASSERT_FAILED(kl_rmsnorm(be, &a, &err), KL_ERR_DTYPE, &err, "z is i32", "f32|bf16");
    a = good;
    a.act = KL_ACT_SILU;
    KT_ASSERT_FAILED(kl_rmsnorm(be, &a, &err), KL_ERR_ARGUMENT, &err, "act is given but z is absent");
    a.act = (kl_activation)9;
    KT_ASSERT_FAILED(kl_rmsnorm(be, &a, &err), KL_ERR_ARGUMENT, &err, "act is 9");
    a = good;
    a.eps = NAN;
    KT_ASSERT_FAILED(kl_rmsnorm(be, &a, &err), KL_ERR_ARGUMENT, &err, "eps is nan");
    a = good;
    a.z = a.y;
    KT_ASSERT_FAILED(kl_rmsnorm(be, &a, &err), KL_ERR_OVERLAP, &err, "y overlaps z");
    a = good;
    size_t need = kl_rmsnorm_workspace(be, &a);
    a.work = kt_work(need - 1);
    KT_ASSERT_FAILED(kl_rmsnorm(be, &a, &err), KL_ERR_WORKSPACE, &err, "expected");

    kl_rmsnorm_bwd_args b = {.fwd = good, .d_y = kl_view2(y, KL_F32, 3, 4), .d_z = kl_view2(z, KL_F32, 3, 4)};
    KT_ASSERT_FAILED(kl_rmsnorm_bwd(be, &b, &err), KL_ERR_ARGUMENT, &err, "kl_rmsnorm_bwd", "d_z is given");
    b.d_z = absent();
    b.d_x = kl_view2(z, KL_BF16, 3, 4);
    KT_ASSERT_FAILED(kl_rmsnorm_bwd(be, &b, &err), KL_ERR_DTYPE, &err, "d_x is bf16", "expected f32");
    b.d_x = kl_view2(x, KL_F32, 3, 4);
    KT_ASSERT_FAILED(kl_rmsnorm_bwd(be, &b, &err), KL_ERR_OVERLAP, &err, "d_x overlaps x");
    b.d_x = kl_view2(z, KL_F32, 3, 4);
    b.d_w = kl_view1(z, KL_F32, 4);
    KT_ASSERT_FAILED(kl_rmsnorm_bwd(be, &b, &err), KL_ERR_OVERLAP, &err, "d_x overlaps d_w");
    b.d_w = absent();
    b.work = kt_work(kl_rmsnorm_bwd_workspace(be, &b) - 1);
    KT_ASSERT_FAILED(kl_rmsnorm_bwd(be, &b, &err), KL_ERR_WORKSPACE, &err, "kl_rmsnorm_bwd: workspace");
    for (int i = 0; i < 12; i++)
        assert_true(x[i] == 0 && y[i] == 0 && z[i] == 0);
    kt_free_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_formula),
        cmocka_unit_test(bf16_in_and_out),
        cmocka_unit_test(pitches_and_in_place),
        cmocka_unit_test(gradients_agree_with_formula),
        cmocka_unit_test(gradients_add_up),
        cmocka_unit_test(long_sums),
        cmocka_unit_test(finite_differences),
        cmocka_unit_test(edges),
        cmocka_unit_test(refusals),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_free_backends();
    return failed;
}
