/* kl_linear: every level against sums in f64, its gradients against the formula and finite differences; bf16, pitches,
 * batches against single tokens, thread counts, T = 0, NaN, refusals. */
#include "support/kt.h"

#include <math.h>
#include <string.h>

enum { T = 37, D = 211, N = 150 };

static double want[T * N], want_dx[T * D], want_dw[N * D], want_db[N];

static kl_tensor view(const void *data, kl_dtype dtype, int64_t rows, int64_t columns)
{
    return kl_view2((void *)data, dtype, rows, columns);
}

static void run(const kl_backend *be, kl_linear_args a)
{
    a.work = kt_work(kl_linear_workspace(be, &a));
    KT_OK(kl_linear(be, &a, KT_ERR));
}

static void run_bwd(const kl_backend *be, kl_linear_bwd_args b)
{
    b.work = kt_work(kl_linear_bwd_workspace(be, &b));
    KT_OK(kl_linear_bwd(be, &b, KT_ERR));
}

static void formula(const float *x, const float *w, const float *b)
{
    for (int t = 0; t < T; t++)
        for (int n = 0; n < N; n++) {
            double sum = b ? b[n] : 0;
            for (int d = 0; d < D; d++)
                sum += (double)x[t * D + d] * w[n * D + d];
            want[t * N + n] = sum;
        }
}

static void formula_bwd(const float *x, const float *w, const float *dy)
{
    memset(want_dx, 0, sizeof want_dx);
    memset(want_dw, 0, sizeof want_dw);
    memset(want_db, 0, sizeof want_db);
    for (int t = 0; t < T; t++)
        for (int n = 0; n < N; n++) {
            double g = dy[t * N + n];
            want_db[n] += g;
            for (int d = 0; d < D; d++) {
                want_dx[t * D + d] += g * w[n * D + d];
                want_dw[n * D + d] += g * x[t * D + d];
            }
        }
}

static void agrees_with_formula(void **state)
{
    (void)state;
    kt_rng r = {1};
    float *x = kt_normals(&r, T * D, 1), *w = kt_normals(&r, N * D, 0.1f), *b = kt_normals(&r, N, 1);
    formula(x, w, b);
    for (int l = 0; kt_level(l); l++) {
        float *first = NULL;
        for (int threads = 1; threads <= 3; threads++) {
            float *y = kt_floats(T * N);
            run(kt_backend(kt_level(l), threads), (kl_linear_args){.y = view(y, KL_F32, T, N),
                                                                   .x = view(x, KL_F32, T, D),
                                                                   .w = view(w, KL_F32, N, D),
                                                                   .b = kl_view1(b, KL_F32, N)});
            kt_assert_close64("y", kt_level(l), y, want, T * N, 1e-6);
            first = first ? first : y;
            kt_assert_same_bits("thread counts", y, first, T * N * sizeof *y);
        }
    }
    kt_free_all();
}

/* y += x w^T + b is what y held plus the same sum. */
static void adds(void **state)
{
    (void)state;
    kt_rng r = {2};
    float *x = kt_normals(&r, T * D, 1), *w = kt_normals(&r, N * D, 0.1f), *b = kt_normals(&r, N, 1);
    float *held = kt_normals(&r, T * N, 1), *sum = kt_floats(T * N);
    for (int l = 0; kt_level(l); l++)
        for (int bias = 0; bias <= 1; bias++) {
            kl_linear_args a = {.y = view(sum, KL_F32, T, N), .x = view(x, KL_F32, T, D), .w = view(w, KL_F32, N, D)};
            if (bias)
                a.b = kl_view1(b, KL_F32, N);
            run(kt_backend(kt_level(l), 2), a);
            float *y = kt_copy(held, T * N);
            a.y.data = y;
            a.add = true;
            run(kt_backend(kt_level(l), 2), a);
            for (int i = 0; i < T * N; i++)
                assert_true(y[i] == held[i] + sum[i]);
        }
    kt_free_all();
}

/* A token alone has the bits that it has in the batch; that is what makes decoding in a batch safe. */
static void token_alone_is_token_in_batch(void **state)
{
    (void)state;
    kt_rng r = {3};
    float *x = kt_normals(&r, T * D, 1), *w = kt_normals(&r, N * D, 0.1f), *b = kt_normals(&r, N, 1);
    uint16_t *w16 = kt_bf16_of(w, N * D);
    for (int l = 0; kt_level(l); l++)
        for (int half = 0; half <= 1; half++) {
            const kl_backend *be = kt_backend(kt_level(l), 2);
            float *y = kt_floats(T * N), *alone = kt_floats(T * N);
            kl_linear_args a = {.y = view(y, KL_F32, T, N),
                                .x = view(x, KL_F32, T, D),
                                .w = half ? view(w16, KL_BF16, N, D) : view(w, KL_F32, N, D),
                                .b = kl_view1(b, KL_F32, N)};
            run(be, a);
            for (int t = 0; t < T; t++) {
                a.x = view(x + t * D, KL_F32, 1, D);
                a.y = view(alone + t * N, KL_F32, 1, N);
                run(be, a);
            }
            kt_assert_same_bits("alone and in a batch", alone, y, T * N * sizeof *y);
        }
    kt_free_all();
}

static void bf16_and_pitches(void **state)
{
    (void)state;
    enum { XP = D + 5, WP = D + 2, YP = N + 7 };
    kt_rng r = {4};
    float *x = kt_normals(&r, T * XP, 1), *w = kt_normals(&r, N * WP, 0.1f), *b = kt_normals(&r, N, 1);
    uint16_t *x16 = kt_bf16_of(x, T * XP), *w16 = kt_bf16_of(w, N * WP), *b16 = kt_bf16_of(b, N);
    float *xd = kt_floats(T * D), *wd = kt_floats(N * D);
    for (int t = 0; t < T; t++)
        memcpy(xd + t * D, x + t * XP, D * sizeof *x);
    for (int n = 0; n < N; n++)
        memcpy(wd + n * D, w + n * WP, D * sizeof *w);
    formula(xd, wd, b);
    for (int l = 0; kt_level(l); l++) {
        float *y = kt_zeros(T * YP), *dense = kt_floats(T * N);
        uint16_t *y16 = kt_bytes(T * N * 2);
        kl_linear_args a = {.y = view(y, KL_F32, T, N),
                            .x = view(x16, KL_BF16, T, D),
                            .w = view(w16, KL_BF16, N, D),
                            .b = kl_view1(b16, KL_BF16, N)};
        a.y.pitch = YP;
        a.x.pitch = XP;
        a.w.pitch = WP;
        run(kt_backend(kt_level(l), 2), a);
        for (int t = 0; t < T; t++) {
            memcpy(dense + t * N, y + t * YP, N * sizeof *y);
            for (int i = N; i < YP; i++)
                assert_true(y[t * YP + i] == 0);
        }
        kt_assert_close64("bf16 in", kt_level(l), dense, want, T * N, 1e-6);
        a.y = view(y16, KL_BF16, T, N);
        run(kt_backend(kt_level(l), 3), a);
        kt_assert_same_bits("bf16 out is f32 out, rounded", y16, kt_bf16_of(dense, T * N), T * N * 2);
    }
    kt_free_all();
}

static void gradients(void **state)
{
    (void)state;
    kt_rng r = {5};
    float *x = kt_normals(&r, T * D, 1), *w = kt_normals(&r, N * D, 0.1f), *dy = kt_normals(&r, T * N, 1);
    uint16_t *x16 = kt_bf16_of(x, T * D), *w16 = kt_bf16_of(w, N * D), *dy16 = kt_bf16_of(dy, T * N);
    formula_bwd(x, w, dy);
    for (int l = 0; kt_level(l); l++) {
        float *first = NULL;
        enum { ALL = T * D + N * D + N };
        for (int threads = 1; threads <= 3; threads++) {
            float *d = kt_zeros(ALL);
            kl_linear_bwd_args b = {.fwd = {.x = view(x, KL_F32, T, D), .w = view(w, KL_F32, N, D)},
                                    .d_y = view(dy, KL_F32, T, N),
                                    .d_x = view(d, KL_F32, T, D),
                                    .d_w = view(d + T * D, KL_F32, N, D),
                                    .d_b = kl_view1(d + T * D + N * D, KL_F32, N)};
            if (threads == 3) {
                b.fwd = (kl_linear_args){.x = view(x16, KL_BF16, T, D), .w = view(w16, KL_BF16, N, D)};
                b.d_y = view(dy16, KL_BF16, T, N);
            }
            run_bwd(kt_backend(kt_level(l), threads), b);
            kt_assert_close64("d_x", kt_level(l), d, want_dx, T * D, 1e-6);
            kt_assert_close64("d_w", kt_level(l), d + T * D, want_dw, N * D, 1e-6);
            kt_assert_close64("d_b", kt_level(l), d + T * D + N * D, want_db, N, 1e-6);
            first = first ? first : d;
            kt_assert_same_bits("thread counts and dtypes", d, first, ALL * sizeof *d);
            /* Once more: d_x is assigned unless add_dx, parameters are added to. */
            float *again = kt_copy(d, ALL);
            b.d_x.data = again;
            b.d_w.data = again + T * D;
            b.d_b.data = again + T * D + N * D;
            b.add_dx = threads == 2;
            run_bwd(kt_backend(kt_level(l), threads), b);
            for (int i = 0; i < ALL; i++)
                assert_true(again[i] == (i < T * D && !b.add_dx ? d[i] : 2 * d[i]));
        }
    }
    kt_free_all();
}

struct gradient_case {
    const kl_backend *be;
    float *x, *w, *b, *y, *weight;
};

static double loss(void *ctx)
{
    struct gradient_case *c = ctx;
    run(c->be, (kl_linear_args){.y = view(c->y, KL_F32, T, N),
                                .x = view(c->x, KL_F32, T, D),
                                .w = view(c->w, KL_F32, N, D),
                                .b = kl_view1(c->b, KL_F32, N)});
    return kt_dot(c->weight, c->y, T * N);
}

static void gradients_are_differences(void **state)
{
    (void)state;
    for (int l = 0; kt_level(l); l++) {
        kt_rng r = {6};
        struct gradient_case c = {kt_backend(kt_level(l), 2), kt_normals(&r, T * D, 1), kt_normals(&r, N * D, 1),
                                  kt_normals(&r, N, 1),       kt_floats(T * N),         kt_normals(&r, T * N, 1)};
        float *dx = kt_floats(T * D), *dw = kt_zeros(N * D), *db = kt_zeros(N);
        run_bwd(c.be, (kl_linear_bwd_args){.fwd = {.x = view(c.x, KL_F32, T, D), .w = view(c.w, KL_F32, N, D)},
                                           .d_y = view(c.weight, KL_F32, T, N),
                                           .d_x = view(dx, KL_F32, T, D),
                                           .d_w = view(dw, KL_F32, N, D),
                                           .d_b = kl_view1(db, KL_F32, N)});
        kt_check_gradient("d_x", loss, &c, c.x, dx, T * D, 1e-1, 2e-3, &r);
        kt_check_gradient("d_w", loss, &c, c.w, dw, N * D, 1e-1, 2e-3, &r);
        kt_check_gradient("d_b", loss, &c, c.b, db, N, 1e-1, 2e-3, &r);
        kt_free_all();
    }
}

static void empty(void **state)
{
    (void)state;
    for (int l = 0; kt_level(l); l++) {
        const kl_backend *be = kt_backend(kt_level(l), 2);
        float w[6] = {1, 2, 3, 4, 5, 6}, b[3] = {7, 8, 9}, y[6], d[6] = {1, 2, 3, 4, 5, 6};
        run(be,
            (kl_linear_args){.y = view(NULL, KL_F32, 0, 3), .x = view(NULL, KL_F32, 0, 2), .w = view(w, KL_F32, 3, 2)});
        run(be, (kl_linear_args){.y = view(y, KL_F32, 2, 3),
                                 .x = view(NULL, KL_F32, 2, 0),
                                 .w = view(NULL, KL_F32, 3, 0),
                                 .b = kl_view1(b, KL_F32, 3)});
        for (int i = 0; i < 6; i++)
            assert_true(y[i] == b[i % 3]);
        run_bwd(be, (kl_linear_bwd_args){.fwd = {.x = view(NULL, KL_F32, 0, 2), .w = view(w, KL_F32, 3, 2)},
                                         .d_y = view(NULL, KL_F32, 0, 3),
                                         .d_w = view(d, KL_F32, 3, 2)});
        for (int i = 0; i < 6; i++)
            assert_true(d[i] == (float)(i + 1));
        run_bwd(be, (kl_linear_bwd_args){.fwd = {.x = view(w, KL_F32, 2, 3), .w = view(NULL, KL_F32, 0, 3)},
                                         .d_y = view(NULL, KL_F32, 2, 0),
                                         .d_x = view(d, KL_F32, 2, 3)});
        for (int i = 0; i < 6; i++)
            assert_true(d[i] == 0);
    }
    kt_free_all();
}

static void nan_reaches_its_token_only(void **state)
{
    (void)state;
    kt_rng r = {7};
    float *x = kt_normals(&r, T * D, 1), *w = kt_normals(&r, N * D, 1), *y = kt_floats(T * N);
    x[5 * D + D - 1] = NAN;
    x[9 * D] = INFINITY;
    for (int l = 0; kt_level(l); l++) {
        run(kt_backend(kt_level(l), 2),
            (kl_linear_args){.y = view(y, KL_F32, T, N), .x = view(x, KL_F32, T, D), .w = view(w, KL_F32, N, D)});
        for (int i = 0; i < T * N; i++)
            assert_true(i / N == 5 ? isnan(y[i]) : i / N == 9 ? isinf(y[i]) : isfinite(y[i]));
    }
    kt_free_all();
}

static void refusals(void **state)
{
    (void)state;
    kl_error err;
    float x[12], w[20], y[15], b[5];
    const kl_backend *be = kt_backend("ref", 1);
    kl_linear_args good = {.y = view(y, KL_F32, 3, 5), .x = view(x, KL_F32, 3, 4), .w = view(w, KL_F32, 5, 4)}, a;
    KT_ASSERT_FAILED(kl_linear(NULL, &good, &err), KL_ERR_ARGUMENT, &err, "kl_linear", "backend");
    KT_ASSERT_FAILED(kl_linear(be, NULL, &err), KL_ERR_ARGUMENT, &err, "args is NULL");
    KT_ASSERT_FAILED(kl_linear(be, &good, &err), KL_ERR_WORKSPACE, &err, "workspace is 0 bytes");
    a = good;
    a.w = view(w, KL_F32, 4, 5);
    KT_ASSERT_FAILED(kl_linear(be, &a, &err), KL_ERR_SHAPE, &err, "w is [4][5]", "[n][4]");
    assert_int_equal(kl_linear_workspace(be, &a), 0);
    a = good;
    a.y = view(y, KL_F32, 5, 3);
    KT_ASSERT_FAILED(kl_linear(be, &a, &err), KL_ERR_SHAPE, &err, "y is [5][3]", "[3][5]");
    a = good;
    a.y.dtype = KL_BF16;
    a.add = true;
    KT_ASSERT_FAILED(kl_linear(be, &a, &err), KL_ERR_DTYPE, &err, "y is bf16", "expected f32");
    a = good;
    a.b = kl_view1(b, KL_F32, 4);
    KT_ASSERT_FAILED(kl_linear(be, &a, &err), KL_ERR_SHAPE, &err, "b is [4]", "[5]");
    a = good;
    a.x.dtype = KL_I32;
    KT_ASSERT_FAILED(kl_linear(be, &a, &err), KL_ERR_DTYPE, &err, "x is i32", "f32|bf16");
    a = good;
    a.y = view(w, KL_F32, 3, 5);
    KT_ASSERT_FAILED(kl_linear(be, &a, &err), KL_ERR_OVERLAP, &err, "y overlaps w");
    a = good;
    a.x = (kl_tensor){0};
    KT_ASSERT_FAILED(kl_linear(be, &a, &err), KL_ERR_SHAPE, &err, "x is absent");
    a = good;
    a.x.dim[0] = (int64_t)1 << 60;
    KT_ASSERT_FAILED(kl_linear(be, &a, &err), KL_ERR_SHAPE, &err, "x has more bytes");

    kl_linear_bwd_args bwd = {.fwd = good, .d_y = view(y, KL_F32, 3, 5)}, c;
    KT_ASSERT_FAILED(kl_linear_bwd(be, &bwd, &err), KL_ERR_WORKSPACE, &err, "kl_linear_bwd", "workspace");
    c = bwd;
    c.d_y.dim[1] = 4;
    KT_ASSERT_FAILED(kl_linear_bwd(be, &c, &err), KL_ERR_SHAPE, &err, "d_y is [3][4]", "[3][5]");
    c = bwd;
    c.d_x = view(x, KL_F32, 3, 4);
    KT_ASSERT_FAILED(kl_linear_bwd(be, &c, &err), KL_ERR_OVERLAP, &err, "d_x overlaps x");
    c = bwd;
    c.d_w = view(w, KL_BF16, 5, 4);
    KT_ASSERT_FAILED(kl_linear_bwd(be, &c, &err), KL_ERR_DTYPE, &err, "d_w is bf16", "f32");
    kt_free_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_formula),
        cmocka_unit_test(adds),
        cmocka_unit_test(token_alone_is_token_in_batch),
        cmocka_unit_test(bf16_and_pitches),
        cmocka_unit_test(gradients),
        cmocka_unit_test(gradients_are_differences),
        cmocka_unit_test(empty),
        cmocka_unit_test(nan_reaches_its_token_only),
        cmocka_unit_test(refusals),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_free_backends();
    return failed;
}
