/* kl_l2norm: every level against plain C, the backward against finite differences, bf16, aliasing, refusals. */
#include "support/kt.h"

#include <math.h>

enum { T = 67, H = 3, D = 37, N = T * H * D };

static void run(const kl_backend *be, kl_tensor y, kl_tensor x)
{
    kl_l2norm_args a = {.y = y, .x = x};
    a.work = kt_work(kl_l2norm_workspace(be, &a));
    KT_OK(kl_l2norm(be, &a, KT_ERR));
}

static void levels_agree(void **state)
{
    (void)state;
    kt_rng r = {1};
    float *x = kt_normals(&r, N, 3), *want = kt_floats(N), *got = kt_floats(N);
    for (int i = 0; i < D; i++)
        x[i] = 0; /* a zero row stays zero */
    kl_tensor xt = kl_view3(x, KL_F32, T, H, D);
    run(kt_backend("ref", 1), kl_view3(want, KL_F32, T, H, D), xt);
    for (int i = 0; i < D; i++)
        assert_true(want[i] == 0);
    for (int l = 0; kt_level(l); l++)
        for (int threads = 1; threads <= 3; threads++) {
            run(kt_backend(kt_level(l), threads), kl_view3(got, KL_F32, T, H, D), xt);
            kt_assert_close(kt_level(l), got, want, N, 1e-6);
        }
    run(kt_backend("ref", 1), xt, xt);
    kt_assert_same_bits("in place", x, want, N * sizeof *x);
    kt_free_all();
}

static void bf16_rows(void **state)
{
    (void)state;
    kt_rng r = {2};
    float *x = kt_normals(&r, N, 3), *want = kt_floats(N);
    uint16_t *x16 = kt_bf16_of(x, N), *y16 = kt_bytes(N * 2);
    run(kt_backend("ref", 1), kl_view2(want, KL_F32, T * H, D), kl_view2(x, KL_F32, T * H, D));
    kt_bf16_of(want, N);
    for (int l = 0; kt_level(l); l++) {
        run(kt_backend(kt_level(l), 2), kl_view2(y16, KL_BF16, T * H, D), kl_view2(x16, KL_BF16, T * H, D));
        float *got = kt_floats(N);
        run(kt_backend(kt_level(l), 2), kl_view2(got, KL_F32, T * H, D), kl_view2(x16, KL_BF16, T * H, D));
        kt_assert_close("bf16 in", got, want, N, 4e-3);
    }
    kt_free_all();
}

struct gradient_case {
    const kl_backend *be;
    float *x, *y, *w;
};

static double loss(void *ctx)
{
    struct gradient_case *c = ctx;
    run(c->be, kl_view2(c->y, KL_F32, T * H, D), kl_view2(c->x, KL_F32, T * H, D));
    return kt_dot(c->w, c->y, N);
}

static void gradient(void **state)
{
    (void)state;
    for (int l = 0; kt_level(l); l++) {
        kt_rng r = {3};
        struct gradient_case c = {kt_backend(kt_level(l), 2), kt_normals(&r, N, 1), kt_floats(N), kt_normals(&r, N, 1)};
        float *dx = kt_floats(N);
        kl_l2norm_bwd_args b = {.fwd = {.x = kl_view2(c.x, KL_F32, T * H, D)},
                                .d_y = kl_view2(c.w, KL_F32, T * H, D),
                                .d_x = kl_view2(dx, KL_F32, T * H, D)};
        b.work = kt_work(kl_l2norm_bwd_workspace(c.be, &b));
        KT_OK(kl_l2norm_bwd(c.be, &b, KT_ERR));
        kt_check_gradient("d_x", loss, &c, c.x, dx, N, 1e-2, 2e-3, &r);
        kt_free_all();
    }
}

static void refusals(void **state)
{
    (void)state;
    kl_error err;
    float *x = kt_zeros(12), *y = kt_zeros(12);
    const kl_backend *be = kt_backend("ref", 1);
    kl_tensor xt = kl_view2(x, KL_F32, 3, 4), yt = kl_view2(y, KL_F32, 3, 4);
    KT_ASSERT_FAILED(kl_l2norm(NULL, &(kl_l2norm_args){.x = xt, .y = yt}, &err), KL_ERR_ARGUMENT, &err, "backend");
    KT_ASSERT_FAILED(kl_l2norm(be, &(kl_l2norm_args){.x = xt}, &err), KL_ERR_SHAPE, &err, "y is absent", "[3][4]");
    yt.dim[1] = 5;
    KT_ASSERT_FAILED(kl_l2norm(be, &(kl_l2norm_args){.x = xt, .y = yt}, &err), KL_ERR_SHAPE, &err, "[3][5]", "[3][4]");
    yt = kl_view2(x + 1, KL_F32, 3, 4);
    yt.dim[0] = 2;
    xt.dim[0] = 2;
    KT_ASSERT_FAILED(kl_l2norm(be, &(kl_l2norm_args){.x = xt, .y = yt}, &err), KL_ERR_OVERLAP, &err, "y overlaps x");
    KT_ASSERT_FAILED(kl_l2norm(be, &(kl_l2norm_args){.x = xt, .y = kl_view2(y, KL_F32, 2, 4), .eps = -1}, &err),
                     KL_ERR_ARGUMENT, &err, "eps", "-1");
    KT_ASSERT_FAILED(kl_l2norm(be, &(kl_l2norm_args){.x = xt, .y = kl_view2(y, KL_F32, 2, 4)}, &err),
                     KL_ERR_WORKSPACE, &err, "workspace is 0 bytes");
    kt_free_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(levels_agree),
        cmocka_unit_test(bf16_rows),
        cmocka_unit_test(gradient),
        cmocka_unit_test(refusals),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_free_backends();
    return failed;
}
