/* Products with bf16 weights in pairs of bf16, on every level, also where the machine gains nothing by it and is not
 * asked to: against f64, a token alone against the batch, odd widths, thread counts, experts. */
#include "ops/weight.h"

#include "base/cpu.h"
#include "cpu/cpu_backend.h"
#include "support/blocks.h"

#include <string.h>

enum { T = 29, N = 71, D = 333, E = 3, F = 45 };

static unsigned runnable(void)
{
    unsigned features = kl__cpu_features();
#if defined(__x86_64__)
    if ((features & KL_CPU_AVX512) && __builtin_cpu_supports("avx512bf16"))
        features |= KL_CPU_AVX512BF16;
#endif
    return features;
}

/* A backend of one level that meets bf16 weights in pairs, by plain C where the level has no instruction for it. */
static kl_backend *open_backend(const char *isa, kl_pool *pool)
{
    kl_backend *be;
    kl_backend_options o = {.isa = isa, .pool = pool};
    KT_OK(kl_backend_open(&be, &o, KT_ERR));
    struct kl__cpu *cpu = be->impl;
    cpu->features |= KL_CPU_AVX512BF16;
    if (cpu->features & KL_CPU_AVX512)
        kl__kernels_fill(&cpu->kernels, cpu->features & runnable());
    return be;
}

static void linear(const kl_backend *be, float *y, const float *x, int64_t n_token, const struct kl__weight *w)
{
    kl_workspace work = kt_work(kl__weight_linear_workspace(be, w, n_token));
    kl_tensor xt = kl_view2((void *)(uintptr_t)x, KL_F32, n_token, w->n_in);
    KT_OK(kl__weight_linear(be, kl_view2(y, KL_F32, n_token, w->n_out), xt, w, false, work, KT_ERR));
}

static double *product64(const float *x, const float *w)
{
    double *y = kt_bytes(T * N * sizeof *y);
    for (int t = 0; t < T; t++)
        for (int n = 0; n < N; n++) {
            y[t * N + n] = 0;
            for (int k = 0; k < D; k++)
                y[t * N + n] += (double)x[t * D + k] * w[n * D + k];
        }
    return y;
}

static void agrees_with_f64(void **state)
{
    (void)state;
    kt_rng r = {1};
    float *x = kt_normals(&r, T * D, 1);
    struct kl__weight w = kt_weight(&r, KL__TYPE_BF16, 1, N, D, 0.05f, 1);
    double *want = product64(x, kt_decoded(&w));
    for (int l = 0; kt_level(l); l++) {
        float *first = NULL;
        for (int threads = 1; threads <= 3; threads++) {
            kl_pool *pool;
            KT_OK(kl_pool_open(&pool, threads, NULL, KT_ERR));
            kl_backend *be = open_backend(kt_level(l), pool);
            float *y = kt_floats(T * N), *alone = kt_floats(T * N);
            linear(be, y, x, T, &w);
            kt_assert_close64("pairs", kt_level(l), y, want, T * N, 3e-3);
            first = first ? first : y;
            kt_assert_same_bits("threads", y, first, sizeof(float) * T * N);
            for (int t = 0; t < T; t++)
                linear(be, alone + t * N, x + t * D, 1, &w);
            kt_assert_same_bits("alone and in a batch", alone, y, sizeof(float) * T * N);
            kl_backend_close(be);
            kl_pool_close(pool);
        }
    }
    kt_free_all();
}

/* What x loses by rounding is all that differs: x that is bf16 already gives the product. */
static void rounds_only_x(void **state)
{
    (void)state;
    kt_rng r = {2};
    float *x = kt_normals(&r, T * D, 1);
    kt_bf16_of(x, T * D);
    struct kl__weight w = kt_weight(&r, KL__TYPE_BF16, 1, N, D, 0.05f, 0);
    double *want = product64(x, kt_decoded(&w));
    for (int l = 0; kt_level(l); l++) {
        kl_backend *be = open_backend(kt_level(l), NULL);
        float *y = kt_floats(T * N);
        linear(be, y, x, T, &w);
        kt_assert_close64("pairs", kt_level(l), y, want, T * N, 1e-6);
        kl_backend_close(be);
    }
    kt_free_all();
}

static void experts(void **state)
{
    (void)state;
    kt_rng r = {3};
    float *x = kt_normals(&r, T * D, 1), *weight = kt_normals(&r, T * 2, 1);
    int32_t id[T * 2];
    for (int i = 0; i < T * 2; i++)
        id[i] = (int32_t)kt_below(&r, E);
    struct kl__weight gate = kt_weight(&r, KL__TYPE_BF16, E, F, D, 0.05f, 0);
    struct kl__weight up = kt_weight(&r, KL__TYPE_BF16, E, F, D, 0.05f, 1);
    struct kl__weight down = kt_weight(&r, KL__TYPE_BF16, E, D, F, 0.05f, 0);
    for (int l = 0; kt_level(l); l++) {
        float *want = kt_floats(T * D), *y = kt_floats(T * D);
        kl_backend *pairs = open_backend(kt_level(l), NULL);
        for (int i = 0; i < 2; i++) {
            const kl_backend *be = i ? pairs : kt_backend(kt_level(l), 2);
            kl_workspace work = kt_work(kl__weight_experts_workspace(be, &gate, &up, &down, T, 2));
            KT_OK(kl__weight_experts(be, kl_view2(i ? y : want, KL_F32, T, D), kl_view2(x, KL_F32, T, D),
                                     kl_view2(id, KL_I32, T, 2), kl_view2(weight, KL_F32, T, 2), &gate, &up, &down,
                                     false, work, KT_ERR));
        }
        kt_assert_close("experts", y, want, T * D, 6e-3);
        kl_backend_close(pairs);
    }
    kt_free_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_f64),
        cmocka_unit_test(rounds_only_x),
        cmocka_unit_test(experts),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_free_backends();
    return failed;
}
