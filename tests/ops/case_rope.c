/* kl_rope: every level against the formula in f64, both orders of pairs, part of a head, far positions; the backward
 * undoes the forward and agrees with finite differences; bf16, pitches, thread counts, refusals. */
#include "support/kt.h"

#include <math.h>
#include <string.h>

enum { T = 37, H = 3, D = 70, N = T * H * D };

struct variant {
    int n_rot;
    float base;
    bool interleaved;
};
static const struct variant variants[] = {{0, 0, false},       {0, 0, true},   {2, 0, false},
                                          {64, 500000, false}, {66, 10, true}, {D, 1, true}};
enum { N_VARIANT = sizeof variants / sizeof *variants };

static int64_t *positions(kt_rng *r)
{
    int64_t *p = kt_bytes(T * sizeof *p);
    for (int t = 0; t < T; t++)
        p[t] = t < 20 ? t : kt_below(r, t < 30 ? 131072 : INT32_MAX);
    p[T - 1] = INT32_MAX;
    return p;
}

static void formula(double *y, const float *x, const int64_t *position, struct variant v, int sign)
{
    int n_rot = v.n_rot ? v.n_rot : D, half = n_rot / 2;
    for (int row = 0; row < T * H; row++, x += D, y += D) {
        for (int i = 0; i < D; i++)
            y[i] = x[i];
        for (int i = 0; i < half; i++) {
            double base = v.base > 0 ? (double)v.base : 10000;
            double angle = sign * (double)position[row / H] * pow(base, -2.0 * i / n_rot);
            int a = v.interleaved ? 2 * i : i, b = v.interleaved ? 2 * i + 1 : i + half;
            y[a] = x[a] * cos(angle) - x[b] * sin(angle);
            y[b] = x[a] * sin(angle) + x[b] * cos(angle);
        }
    }
}

static kl_rope_args arguments(void *x, kl_dtype dtype, const int64_t *position, struct variant v)
{
    return (kl_rope_args){.x = kl_view3(x, dtype, T, H, D),
                          .position = position,
                          .n_rot = v.n_rot,
                          .base = v.base,
                          .interleaved = v.interleaved};
}

static void run(const kl_backend *be, kl_rope_args a)
{
    a.work = kt_work(kl_rope_workspace(be, &a));
    KT_OK(kl_rope(be, &a, KT_ERR));
}

static void run_bwd(const kl_backend *be, kl_rope_bwd_args b)
{
    b.work = kt_work(kl_rope_bwd_workspace(be, &b));
    KT_OK(kl_rope_bwd(be, &b, KT_ERR));
}

static void agrees_with_formula(void **state)
{
    (void)state;
    static double want[N], want_bwd[N];
    for (int i = 0; i < N_VARIANT; i++) {
        kt_rng r = {(uint64_t)i};
        float *x = kt_normals(&r, N, 1);
        int64_t *p = positions(&r);
        formula(want, x, p, variants[i], 1);
        formula(want_bwd, x, p, variants[i], -1);
        for (int l = 0; kt_level(l); l++) {
            float *first = NULL;
            for (int threads = 1; threads <= 3; threads++) {
                float *y = kt_copy(x, N), *d = kt_copy(x, N);
                run(kt_backend(kt_level(l), threads), arguments(y, KL_F32, p, variants[i]));
                kt_assert_close64("x", kt_level(l), y, want, N, 5e-7);
                run_bwd(kt_backend(kt_level(l), threads), arguments(d, KL_F32, p, variants[i]));
                kt_assert_close64("d_x", kt_level(l), d, want_bwd, N, 5e-7);
                first = first ? first : y;
                kt_assert_same_bits("thread counts", y, first, N * sizeof *y);
                float *back = kt_copy(y, N);
                run_bwd(kt_backend(kt_level(l), threads), arguments(back, KL_F32, p, variants[i]));
                kt_assert_close("turned back", back, x, N, 5e-7);
            }
        }
        kt_free_all();
    }
}

static void bf16_and_pitches(void **state)
{
    (void)state;
    enum { ROW = H * D + 5 };
    for (int i = 0; i < N_VARIANT; i++)
        for (int l = 0; kt_level(l); l++) {
            kt_rng r = {50 + (uint64_t)i};
            float *x = kt_normals(&r, N, 1);
            uint16_t *x16 = kt_bf16_of(x, N), *wide = kt_bytes(T * ROW * 2), poison[ROW - H * D];
            int64_t *p = positions(&r);
            memcpy(poison, wide, sizeof poison);
            for (int t = 0; t < T; t++)
                memcpy(wide + t * ROW, x16 + t * H * D, H * D * 2);
            run(kt_backend(kt_level(l), 2), arguments(x, KL_F32, p, variants[i]));
            kl_rope_args a = arguments(wide, KL_BF16, p, variants[i]);
            a.x.pitch = ROW;
            run(kt_backend(kt_level(l), 2), a);
            uint16_t *want = kt_bf16_of(x, N);
            for (int t = 0; t < T; t++) {
                kt_assert_same_bits("bf16 is f32, rounded", wide + t * ROW, want + t * H * D, H * D * 2);
                kt_assert_same_bits("between the rows", wide + t * ROW + H * D, poison, sizeof poison);
            }
            kt_free_all();
        }
}

struct gradient_case {
    const kl_backend *be;
    struct variant v;
    float *x, *weight;
    int64_t *position;
};

static double loss(void *ctx)
{
    struct gradient_case *c = ctx;
    float *y = kt_copy(c->x, N);
    run(c->be, arguments(y, KL_F32, c->position, c->v));
    return kt_dot(c->weight, y, N);
}

static void finite_differences(void **state)
{
    (void)state;
    for (int i = 0; i < N_VARIANT; i++) {
        kt_rng r = {60 + (uint64_t)i};
        struct gradient_case c = {kt_backend("ref", 2), variants[i], kt_normals(&r, N, 1), kt_normals(&r, N, 1),
                                  positions(&r)};
        float *d = kt_copy(c.weight, N);
        run_bwd(c.be, arguments(d, KL_F32, c.position, c.v));
        kt_check_gradient("d_x", loss, &c, c.x, d, N, 1e-2, 1e-3, &r);
        kt_free_all();
    }
}

static void edges(void **state)
{
    (void)state;
    for (int l = 0; kt_level(l); l++) {
        const kl_backend *be = kt_backend(kt_level(l), 2);
        run(be, (kl_rope_args){.x = kl_view3(NULL, KL_F32, 0, 2, 4)});
        int64_t p[1] = {3};
        run(be, (kl_rope_args){.x = kl_view3(NULL, KL_F32, 1, 0, 4), .position = p});
        run(be, (kl_rope_args){.x = kl_view3(NULL, KL_F32, 1, 2, 0), .position = p});
        float x[4] = {NAN, 1, 2, 3};
        run(be, (kl_rope_args){.x = kl_view3(x, KL_F32, 1, 1, 4), .position = p, .interleaved = true});
        assert_true(isnan(x[0]) && isnan(x[1]) && isfinite(x[2]) && isfinite(x[3]));
        kt_free_all();
    }
}

static void refusals(void **state)
{
    (void)state;
    kl_error err;
    const kl_backend *be = kt_backend("ref", 1);
    float *x = kt_zeros(12);
    int64_t p[2] = {0, 1};
    kl_rope_args good = {.x = kl_view3(x, KL_F32, 2, 1, 6), .position = p}, a = good;
    KT_ASSERT_FAILED(kl_rope(NULL, &a, &err), KL_ERR_ARGUMENT, &err, "kl_rope", "backend");
    a.x = kl_view2(x, KL_F32, 2, 6);
    KT_ASSERT_FAILED(kl_rope(be, &a, &err), KL_ERR_SHAPE, &err, "x is [2][6]");
    a = good;
    a.n_rot = 3;
    KT_ASSERT_FAILED(kl_rope(be, &a, &err), KL_ERR_ARGUMENT, &err, "n_rot is 3", "even");
    a.n_rot = 8;
    KT_ASSERT_FAILED(kl_rope(be, &a, &err), KL_ERR_ARGUMENT, &err, "n_rot is 8", "6 of a head");
    a.n_rot = -2;
    KT_ASSERT_FAILED(kl_rope(be, &a, &err), KL_ERR_ARGUMENT, &err, "n_rot is -2");
    a = good;
    a.base = -1;
    KT_ASSERT_FAILED(kl_rope(be, &a, &err), KL_ERR_ARGUMENT, &err, "base is -1");
    a.base = NAN;
    KT_ASSERT_FAILED(kl_rope(be, &a, &err), KL_ERR_ARGUMENT, &err, "base is nan");
    a = good;
    a.position = NULL;
    KT_ASSERT_FAILED(kl_rope(be, &a, &err), KL_ERR_ARGUMENT, &err, "position is NULL");
    a = good;
    p[1] = -1;
    KT_ASSERT_FAILED(kl_rope(be, &a, &err), KL_ERR_ARGUMENT, &err, "position[1] is -1");
    p[1] = (int64_t)INT32_MAX + 1;
    KT_ASSERT_FAILED(kl_rope_bwd(be, &a, &err), KL_ERR_ARGUMENT, &err, "kl_rope_bwd", "position[1] is 2147483648");
    p[1] = 1;
    a.work = kt_work(kl_rope_workspace(be, &a) - 1);
    KT_ASSERT_FAILED(kl_rope(be, &a, &err), KL_ERR_WORKSPACE, &err, "kl_rope: workspace");
    KT_ASSERT_FAILED(kl_rope_bwd(be, &a, &err), KL_ERR_WORKSPACE, &err, "kl_rope_bwd: workspace");
    kt_free_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_formula),
        cmocka_unit_test(bf16_and_pitches),
        cmocka_unit_test(finite_differences),
        cmocka_unit_test(edges),
        cmocka_unit_test(refusals),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_free_backends();
    return failed;
}
