/* The matrix product against sums in double, for every level, layout, element type and kind of start; and its promise
 * that an element has the same bits whatever M, N, the number of threads and the cut into tiles are. */
#include "cpu/gemm.h"

#include "base/half.h"
#include "base/memory.h"
#include "cpu/cpu_backend.h"
#include "support/kt.h"

#include <math.h>
#include <string.h>

struct shape {
    int64_t m, n, k;
};

static const struct shape shapes[] = {{1, 1, 1},    {1, 33, 257},   {2, 5, 16},     {3, 100, 40},  {4, 64, 300},
                                      {7, 31, 5},   {13, 47, 513},  {14, 32, 256},  {15, 65, 255}, {29, 130, 100},
                                      {67, 9, 600}, {260, 600, 20}, {58, 390, 200}, {57, 800, 20}};
enum { N_SHAPE = sizeof shapes / sizeof *shapes };

/* The workspace is large, and most products here are small: one serves them until the next kt_free_all. */
static kl_workspace work;

static void run(const kl_backend *be, const struct kl__gemm *g, int64_t n)
{
    size_t need = kl__gemm_workspace(be);
    if (work.bytes < need)
        work = kt_work(need);
    kl__gemm_run(be, g, n, work);
}

static void free_all(void)
{
    kt_free_all();
    work = (kl_workspace){0};
}

/* Random operand of `rows` x `k` (or its transpose) with a gap after every row of memory; values also in x[rows][k]. */
static struct kl__matrix operand(kt_rng *r, double *x, int64_t rows, int64_t k, kl_dtype dtype, bool transposed)
{
    int64_t outer = transposed ? k : rows, inner = transposed ? rows : k, pitch = inner + kt_below(r, 4);
    float *data = kt_normals(r, (outer - 1) * pitch + inner, 1);
    struct kl__matrix m = {.data = data, .pitch = pitch, .dtype = dtype, .transposed = transposed};
    if (dtype == KL_BF16)
        m.data = kt_bf16_of(data, (outer - 1) * pitch + inner);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < k; j++)
            x[i * k + j] = data[transposed ? j * pitch + i : i * pitch + j];
    return m;
}

enum start { START_ZERO, START_ADD, START_BIAS, START_BIAS16, N_START };

static void check_one(const kl_backend *be, struct shape s, kl_dtype dtype, int transposed, enum start start,
                      kl_dtype c_dtype, kt_rng *r)
{
    double *a = kt_bytes((size_t)(s.m * s.k) * sizeof *a), *b = kt_bytes((size_t)(s.n * s.k) * sizeof *b);
    double *want = kt_bytes((size_t)(s.m * s.n) * sizeof *want);
    struct kl__gemm g = {.m = s.m, .n = s.n, .k = s.k, .c_dtype = c_dtype, .add = start == START_ADD};
    g.a = operand(r, a, s.m, s.k, dtype, transposed & 1);
    g.b = operand(r, b, s.n, s.k, dtype, transposed & 2);
    g.c_pitch = s.n + 3;
    float *c = kt_normals(r, s.m * g.c_pitch, 1), *kept = kt_copy(c, s.m * g.c_pitch), *bias = kt_normals(r, s.n, 1);
    uint16_t *c16 = kt_bf16_of(c, s.m * g.c_pitch), *kept16 = kt_bf16_of(c, s.m * g.c_pitch);
    memcpy(c, kept, (size_t)(s.m * g.c_pitch) * sizeof *c);
    g.c = c_dtype == KL_F32 ? (void *)c : c16;
    if (start == START_BIAS)
        g.bias = bias;
    if (start == START_BIAS16) {
        g.bias = kt_bf16_of(bias, s.n);
        g.bias_dtype = KL_BF16;
    }
    for (int64_t i = 0; i < s.m; i++)
        for (int64_t j = 0; j < s.n; j++) {
            double sum = start == START_ADD ? kept[i * g.c_pitch + j] : start == START_ZERO ? 0 : bias[j];
            for (int64_t k = 0; k < s.k; k++)
                sum += a[i * s.k + k] * b[j * s.k + k];
            want[i * s.n + j] = sum;
        }
    run(be, &g, 1);
    float *got = kt_floats(s.m * s.n);
    for (int64_t i = 0; i < s.m; i++)
        for (int64_t j = 0; j < g.c_pitch; j++) {
            int64_t at = i * g.c_pitch + j;
            if (j < s.n)
                got[i * s.n + j] = c_dtype == KL_F32 ? c[at] : kl__f32_of_bf16(c16[at]);
            else
                assert_true(c_dtype == KL_F32 ? c[at] == kept[at] : c16[at] == kept16[at]);
        }
    double ratio = kt_ratio64(got, want, s.m * s.n);
    if (!(ratio < (c_dtype == KL_F32 ? 2e-6 : 4e-3)))
        fail_msg("%s: [%lld][%lld][%lld] transposed %d start %d: relative error %g", kl_backend_isa(be), (long long)s.m,
                 (long long)s.n, (long long)s.k, transposed, (int)start, ratio);
    free_all();
}

static void agrees_with_double(void **state)
{
    (void)state;
    for (int l = 0; kt_level(l); l++) {
        kt_rng r = {1};
        for (int i = 0; i < N_SHAPE; i++)
            for (int transposed = 0; transposed < 4; transposed++)
                for (enum start start = 0; start < N_START; start++) {
                    const kl_backend *be = kt_backend(kt_level(l), 1 + i % 3);
                    check_one(be, shapes[i], (i + start) % 2 ? KL_F32 : KL_BF16, transposed, start, KL_F32, &r);
                    if (start != START_ADD)
                        check_one(be, shapes[i], KL_F32, transposed, start, KL_BF16, &r);
                }
    }
}

/* Nothing to add up, nothing to write, nothing to do. */
static void empty(void **state)
{
    (void)state;
    for (int l = 0; kt_level(l); l++) {
        const kl_backend *be = kt_backend(kt_level(l), 2);
        float c[6] = {1, 2, 3, 4, 5, 6}, bias[3] = {7, 8, 9}, x[6] = {0};
        struct kl__matrix no = {.data = x, .pitch = 3};
        run(be, &(struct kl__gemm){.m = 0, .n = 3, .k = 2, .a = no, .b = no, .c = c, .c_pitch = 3}, 1);
        run(be, &(struct kl__gemm){.m = 2, .n = 0, .k = 2, .a = no, .b = no, .c = c, .c_pitch = 3}, 1);
        run(be, &(struct kl__gemm){.m = 2, .n = 3, .k = 0, .a = no, .b = no, .c = c, .c_pitch = 3, .add = true}, 1);
        run(be, NULL, 0);
        for (int i = 0; i < 6; i++)
            assert_true(c[i] == (float)(i + 1));
        run(be, &(struct kl__gemm){.m = 2, .n = 3, .a = no, .b = no, .c = c, .c_pitch = 3, .bias = bias}, 1);
        for (int i = 0; i < 6; i++)
            assert_true(c[i] == bias[i % 3]);
        run(be, &(struct kl__gemm){.m = 2, .n = 3, .a = no, .b = no, .c = c, .c_pitch = 3}, 1);
        for (int i = 0; i < 6; i++)
            assert_true(c[i] == 0);
        free_all();
    }
}

/* Every row alone, every column alone, and every count of rows give the bits that the whole product has. */
static void bits_do_not_depend_on_the_batch(void **state)
{
    (void)state;
    enum { M = 61, N = 83, K = 700 };
    for (int l = 0; kt_level(l); l++) {
        kt_rng r = {2};
        float *a = kt_normals(&r, M * K, 1), *b = kt_normals(&r, N * K, 1), *whole = kt_floats(M * N);
        struct kl__gemm g = {
            .m = M, .n = N, .k = K, .a = {a, K, KL_F32, false}, .b = {b, K, KL_F32, false}, .c = whole, .c_pitch = N};
        run(kt_backend(kt_level(l), 1), &g, 1);
        float *got = kt_floats(M * N);
        g.c = got;
        for (int threads = 2; threads <= 5; threads++) {
            run(kt_backend(kt_level(l), threads), &g, 1);
            kt_assert_same_bits("threads", got, whole, sizeof(float) * M * N);
        }
        for (int64_t m = 1; m <= M; m++) {
            memset(got, 0, sizeof(float) * M * N);
            g.m = m;
            g.a.data = a + (M - m) * K;
            run(kt_backend(kt_level(l), 2), &g, 1);
            kt_assert_same_bits("rows", got, whole + (M - m) * N, sizeof(float) * (size_t)(m * N));
        }
        g = (struct kl__gemm){
            .m = M, .n = 1, .k = K, .a = {a, K, KL_F32, false}, .b = {b, K, KL_F32, false}, .c = got, .c_pitch = N};
        for (int64_t j = 0; j < N; j++) {
            g.b.data = b + j * K;
            g.c = got + j;
            run(kt_backend(kt_level(l), 1), &g, 1);
        }
        kt_assert_same_bits("columns", got, whole, sizeof(float) * M * N);
        free_all();
    }
}

/* Transposed and 16-bit operands hold the same numbers, so the product has the same bits. */
static void bits_do_not_depend_on_the_layout(void **state)
{
    (void)state;
    enum { M = 30, N = 70, K = 300 };
    for (int l = 0; kt_level(l); l++) {
        kt_rng r = {3};
        float *a = kt_normals(&r, M * K, 1), *b = kt_normals(&r, N * K, 1), *want = kt_floats(M * N),
              *got = kt_floats(M * N);
        uint16_t *a16 = kt_bf16_of(a, M * K), *b16 = kt_bf16_of(b, N * K);
        float *at = kt_floats(M * K), *bt = kt_floats(N * K);
        for (int k = 0; k < K; k++) {
            for (int i = 0; i < M; i++)
                at[k * M + i] = a[i * K + k];
            for (int i = 0; i < N; i++)
                bt[k * N + i] = b[i * K + k];
        }
        struct kl__gemm g = {
            .m = M, .n = N, .k = K, .a = {a, K, KL_F32, false}, .b = {b, K, KL_F32, false}, .c = want, .c_pitch = N};
        run(kt_backend(kt_level(l), 1), &g, 1);
        g.c = got;
        const struct kl__matrix as[] = {{a16, K, KL_BF16, false}, {at, M, KL_F32, true}};
        const struct kl__matrix bs[] = {{b16, K, KL_BF16, false}, {bt, N, KL_F32, true}};
        for (int i = 0; i < 4; i++) {
            g.a = as[i % 2];
            g.b = bs[i / 2];
            run(kt_backend(kt_level(l), 1), &g, 1);
            kt_assert_same_bits("layout", got, want, sizeof(float) * M * N);
        }
        free_all();
    }
}

/* Several products in one call, and one on the calling thread alone. */
static void batch_is_its_parts(void **state)
{
    (void)state;
    enum { N_GEMM = 5, N = 40, K = 50, MOST = 70 };
    for (int l = 0; kt_level(l); l++) {
        const kl_backend *be = kt_backend(kt_level(l), 3);
        kt_rng r = {4};
        struct kl__gemm g[N_GEMM];
        float *c[N_GEMM];
        for (int i = 0; i < N_GEMM; i++) {
            int64_t m = (int64_t[]){1, 0, 17, MOST, 3}[i];
            c[i] = kt_floats(MOST * N);
            g[i] = (struct kl__gemm){.m = m,
                                     .n = N,
                                     .k = K,
                                     .c = c[i],
                                     .c_pitch = N,
                                     .a = {kt_normals(&r, MOST * K, 1), K, KL_F32, false},
                                     .b = {kt_normals(&r, N * K, 1), K, KL_F32, false}};
        }
        run(be, g, N_GEMM);
        char *scratch = kt_bytes(kl__gemm_scratch(kl__cpu_kernels(be)));
        for (int i = 0; i < N_GEMM; i++) {
            float *alone = kt_floats(MOST * N);
            g[i].c = alone;
            kl__gemm_here(kl__cpu_kernels(be), &g[i], scratch);
            kt_assert_same_bits("batch", c[i], alone, sizeof(float) * (size_t)(g[i].m * N));
        }
        free_all();
    }
}

/* A NaN reaches its row or column and nothing else. */
static void nan_stays_in_its_lane(void **state)
{
    (void)state;
    enum { M = 18, N = 45, K = 33 };
    for (int l = 0; kt_level(l); l++) {
        kt_rng r = {5};
        float *a = kt_normals(&r, M * K, 1), *b = kt_normals(&r, N * K, 1), *c = kt_floats(M * N);
        a[5 * K + 7] = NAN;
        b[44 * K + 32] = INFINITY;
        struct kl__gemm g = {
            .m = M, .n = N, .k = K, .a = {a, K, KL_F32, false}, .b = {b, K, KL_F32, false}, .c = c, .c_pitch = N};
        run(kt_backend(kt_level(l), 1), &g, 1);
        for (int i = 0; i < M; i++)
            for (int j = 0; j < N; j++)
                assert_true(i == 5 ? isnan(c[i * N + j]) : j == 44 ? isinf(c[i * N + j]) : isfinite(c[i * N + j]));
        free_all();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_double),
        cmocka_unit_test(empty),
        cmocka_unit_test(bits_do_not_depend_on_the_batch),
        cmocka_unit_test(bits_do_not_depend_on_the_layout),
        cmocka_unit_test(batch_is_its_parts),
        cmocka_unit_test(nan_stays_in_its_lane),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_free_backends();
    return failed;
}
