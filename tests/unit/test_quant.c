/* Block formats: decoding against vectors made elsewhere, encoding against its promises. */
#include "support/kt.h"

#include "base/half.h"
#include "tensor/quant/block.h"
#include "tensor/quant/fit.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { ROW = 2048 };

static unsigned char *read_file(const char *path, size_t *bytes)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        fail_msg("%s cannot be opened", path);
    fseek(f, 0, SEEK_END);
    *bytes = (size_t)ftell(f);
    rewind(f);
    unsigned char *data = kt_bytes(*bytes);
    assert_int_equal(fread(data, 1, *bytes, f), *bytes);
    fclose(f);
    return data;
}

static bool is_block_format(enum kl__type t)
{
    return kl__type_info(t)->decode && kl__type_info(t)->elements > 1;
}

static void lower(char *to, const char *from)
{
    do
        *to++ = (char)tolower((unsigned char)*from);
    while (*from++);
}

static void assert_same_numbers(const char *name, const float *got, const float *want, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (isnan(want[i]) ? !isnan(got[i]) : kl__bits_of_f32(got[i]) != kl__bits_of_f32(want[i]))
            fail_msg("%s: number %lld is %a, expected %a", name, (long long)i, (double)got[i], (double)want[i]);
}

static void decoding_is_exact(void **state)
{
    (void)state;
    int n_format = 0;
    for (enum kl__type t = 0; t < KL__N_TYPE; t++) {
        if (!is_block_format(t))
            continue;
        const struct kl__type_info *info = kl__type_info(t);
        char name[32], path[600];
        lower(name, info->name);
        snprintf(path, sizeof path, "%s/quant/%s.bin", KT_GOLDEN_DIR, name);
        size_t bytes;
        unsigned char *file = read_file(path, &bytes);
        uint32_t head[3];
        memcpy(head, file, sizeof head);
        assert_int_equal(head[1], info->bytes);
        assert_int_equal(head[2], info->elements);
        int64_t n = (int64_t)head[0] * info->elements;
        size_t block_bytes = (size_t)head[0] * head[1];
        assert_int_equal(bytes, sizeof head + block_bytes + (size_t)n * sizeof(float));
        float *want = kt_floats(n), *got = kt_floats(n);
        memcpy(want, file + sizeof head + block_bytes, (size_t)n * sizeof *want);
        /* At an odd address, since files promise none better. */
        unsigned char *odd = (unsigned char *)kt_bytes(block_bytes + 1) + 1;
        memcpy(odd, file + sizeof head, block_bytes);
        kl__decode(t, got, odd, n);
        assert_same_numbers(name, got, want, n);
        kt_free_all();
        n_format++;
    }
    assert_int_equal(n_format, 13);
}

static void plain_formats(void **state)
{
    (void)state;
    const uint16_t half[] = {0x3c00, 0xc000, 0x0001, 0x7bff}, brain[] = {0x3f80, 0xc000, 0x0001, 0x7f80};
    float x[4];
    kl__decode(KL__TYPE_F16, x, half, 4);
    assert_true(x[0] == 1 && x[1] == -2 && x[2] == 0x1p-24f && x[3] == 65504);
    kl__decode(KL__TYPE_BF16, x, brain, 4);
    assert_true(x[0] == 1 && x[1] == -2 && x[2] == 0x1p-133f && isinf(x[3]));
    uint16_t back[4];
    KT_OK(kl__encode(KL__TYPE_BF16, back, x, 4, KT_ERR));
    assert_memory_equal(back, brain, sizeof brain);
    kl__decode(KL__TYPE_F16, x, half, 4);
    KT_OK(kl__encode(KL__TYPE_F16, back, x, 4, KT_ERR));
    assert_memory_equal(back, half, sizeof half);
    float y[4];
    KT_OK(kl__encode(KL__TYPE_F32, y, x, 4, KT_ERR));
    assert_memory_equal(y, x, sizeof x);
    kl__decode(KL__TYPE_F32, x, y, 0);
}

/* Of n numbers: RMS(decode(encode(x)) - x) / RMS(x). */
static double error_of(enum kl__type t, const float *x, int64_t n)
{
    size_t bytes;
    assert_true(kl__type_bytes(t, n, &bytes));
    void *blocks = kt_bytes(bytes);
    float *y = kt_floats(n);
    KT_OK(kl__encode(t, blocks, x, n, KT_ERR));
    kl__decode(t, y, blocks, n);
    return kt_ratio(y, x, n);
}

static const enum kl__type written[] = {
    KL__TYPE_Q8_0, KL__TYPE_Q6_K, KL__TYPE_Q5_K, KL__TYPE_Q5_1, KL__TYPE_Q5_0,
    KL__TYPE_Q4_K, KL__TYPE_Q4_1, KL__TYPE_Q4_0, KL__TYPE_F16,  KL__TYPE_BF16,
};
enum { N_WRITTEN = sizeof written / sizeof *written };

static void encoding_is_close(void **state)
{
    (void)state;
    /* Of normal numbers, in the order of `written`: what was measured, and a twentieth more. */
    static const double limit[N_WRITTEN] = {5.7e-3, 1.85e-2, 3.75e-2, 3.7e-2, 4.3e-2,
                                            7.6e-2, 7.6e-2,  8.6e-2,  2.2e-4, 1.75e-3};
    kt_rng r = {1};
    for (int i = 0; i < N_WRITTEN; i++)
        for (int k = -10; k <= 10; k += 10) {
            double e = error_of(written[i], kt_normals(&r, 16 * ROW, ldexpf(1, k)), 16 * ROW);
            if (!(e <= limit[i]))
                fail_msg("%s: error %g, at most %g", kl__type_info(written[i])->name, e, limit[i]);
            kt_free_all();
        }
}

/* The rule without a search: the largest number to the lowest level. */
static double plain_error(const float *x, int64_t n, int low)
{
    float *y = kt_floats(n);
    for (int64_t at = 0; at < n; at += 32) {
        float extreme = 0;
        for (int j = 0; j < 32; j++)
            extreme = fabsf(x[at + j]) > fabsf(extreme) ? x[at + j] : extreme;
        float d = kl__f32_of_f16(kl__f16_of_f32(extreme / (float)low));
        for (int j = 0; j < 32; j++)
            y[at + j] = d * (float)kl__nearest(x[at + j] / d, low, -low - 1);
    }
    return kt_ratio(y, x, n);
}

static void the_search_pays(void **state)
{
    (void)state;
    kt_rng r = {2};
    float *x = kt_normals(&r, 16 * ROW, 1);
    assert_true(error_of(KL__TYPE_Q4_0, x, 16 * ROW) < 0.98 * plain_error(x, 16 * ROW, -8));
    assert_true(error_of(KL__TYPE_Q5_0, x, 16 * ROW) < 0.97 * plain_error(x, 16 * ROW, -16));
    kt_free_all();
}

/* Numbers that a format can say exactly come back as they were. */
static void grids_are_kept(void **state)
{
    (void)state;
    float x[256];
    for (int j = 0; j < 256; j++)
        x[j] = 0.25f * (float)(j % 32 * 7 % 16 - 8);
    assert_true(error_of(KL__TYPE_Q4_0, x, 256) == 0);
    assert_true(error_of(KL__TYPE_Q4_1, x, 256) == 0);
    for (int j = 0; j < 256; j++)
        x[j] = 0.25f * (float)(j % 32 - 16);
    assert_true(error_of(KL__TYPE_Q5_0, x, 256) == 0);
    assert_true(error_of(KL__TYPE_Q5_1, x, 256) == 0);
    for (int j = 0; j < 256; j++)
        x[j] = 0.5f * (float)(j % 32 * 8 - 127);
    assert_true(error_of(KL__TYPE_Q8_0, x, 256) == 0);
    /* k-quants: one scale for all sub-blocks; the minimum, a trace of the search, is not quite 0. */
    for (int j = 0; j < 256; j++)
        x[j] = 63 * 0.25f * (float)(j % 16);
    assert_true(error_of(KL__TYPE_Q4_K, x, 256) < 1e-5);
    for (int j = 0; j < 256; j++)
        x[j] = 63 * 0.25f * (float)(j % 32);
    assert_true(error_of(KL__TYPE_Q5_K, x, 256) < 1e-5);
    for (int j = 0; j < 256; j++)
        x[j] = -128 * 0.25f * (float)(j % 16 * 4 - 32);
    assert_true(error_of(KL__TYPE_Q6_K, x, 256) == 0);
    kt_free_all();
}

/* Whatever finite numbers go in, finite ones come out, and no worse than if all had been set to zero. */
static void extremes(void **state)
{
    (void)state;
    kt_rng r = {3};
    for (int i = 0; i < N_WRITTEN - 2; i++)
        for (int kind = 0; kind < 9; kind++) {
            float *x = kt_normals(&r, 256, kind == 7 ? 1e-38f : kind == 8 ? 1e-6f : 1);
            for (int j = 0; j < 256; j++)
                x[j] = kind == 0   ? 0
                       : kind == 1 ? 1.5f
                       : kind == 2 ? -1.5f
                       : kind == 3 ? (j == 100 ? -3 : 0)
                       : kind == 4 ? 1 + 1e-3f * x[j]
                       : kind == 5 ? -fabsf(x[j])
                       : kind == 6 ? 1e38f * (j % 2 ? -1 : 1)
                                   : x[j];
            double e = error_of(written[i], x, 256), most = kind == 3 || kind == 5 ? 0.12 : 1.0001;
            if (kind == 0 ? e != 0 : !(e <= most))
                fail_msg("%s, kind %d: error %g", kl__type_info(written[i])->name, kind, e);
            kt_free_all();
        }
}

static void refusals(void **state)
{
    (void)state;
    kl_error err;
    float x[256] = {0};
    unsigned char blocks[1024];
    KT_ASSERT_FAILED(kl__encode(KL__TYPE_Q2_K, blocks, x, 256, &err), KL_ERR_UNSUPPORTED, &err, "Q2_K", "read");
    KT_ASSERT_FAILED(kl__encode(KL__TYPE_Q4_K, blocks, x, 128, &err), KL_ERR_SHAPE, &err, "Q4_K", "128", "256");
    KT_ASSERT_FAILED(kl__encode(KL__TYPE_F32, blocks, x, -1, &err), KL_ERR_SHAPE, &err, "-1");
    x[7] = NAN;
    KT_ASSERT_FAILED(kl__encode(KL__TYPE_Q4_0, blocks, x, 32, &err), KL_ERR_NUMERIC, &err, "number 7", "nan", "Q4_0");
    x[7] = -INFINITY;
    KT_ASSERT_FAILED(kl__encode(KL__TYPE_F16, blocks, x, 32, &err), KL_ERR_NUMERIC, &err, "number 7", "-inf", "F16");
    x[7] = 70000;
    KT_ASSERT_FAILED(kl__encode(KL__TYPE_F16, blocks, x, 32, &err), KL_ERR_NUMERIC, &err, "70000", "F16");
    KT_OK(kl__encode(KL__TYPE_BF16, blocks, x, 32, KT_ERR));
}

static void sizes_and_names(void **state)
{
    (void)state;
    size_t bytes = 7;
    assert_true(kl__type_bytes(KL__TYPE_Q6_K, 512, &bytes) && bytes == 420);
    assert_true(kl__type_bytes(KL__TYPE_MXFP4, 0, &bytes) && bytes == 0);
    assert_false(kl__type_bytes(KL__TYPE_Q6_K, 511, &bytes));
    assert_false(kl__type_bytes(KL__TYPE_F32, -1, &bytes));
    assert_false(kl__type_bytes(KL__TYPE_F32, INT64_MAX / 2, &bytes));
    assert_int_equal(kl__type_of_gguf(12), KL__TYPE_Q4_K);
    assert_int_equal(kl__type_of_gguf(39), KL__TYPE_MXFP4);
    assert_int_equal(kl__type_of_gguf(4), KL__N_TYPE);
    assert_int_equal(kl__type_of_gguf(0xffffffff), KL__N_TYPE);
    assert_int_equal(kl__type_of_safetensors("BF16", 4), KL__TYPE_BF16);
    assert_int_equal(kl__type_of_safetensors("Q4_K", 4), KL__N_TYPE);
    assert_int_equal(kl__type_of_safetensors("F32", 2), KL__N_TYPE);
    assert_int_equal(kl__type_of_name("q4_k"), KL__TYPE_Q4_K);
    assert_int_equal(kl__type_of_name("q4"), KL__N_TYPE);
}

static void fallbacks(void **state)
{
    (void)state;
    static const struct {
        enum kl__type wanted;
        int64_t row;
        enum kl__type got;
    } rule[] = {
        {KL__TYPE_Q4_K, 2304, KL__TYPE_Q4_K},
        {KL__TYPE_Q4_K, 128, KL__TYPE_Q5_0},
        {KL__TYPE_Q5_K, 128, KL__TYPE_Q5_1},
        {KL__TYPE_Q6_K, 128, KL__TYPE_Q8_0},
        {KL__TYPE_Q2_K, 128, KL__TYPE_Q4_0},
        {KL__TYPE_Q3_K, 128, KL__TYPE_Q4_0},
        {KL__TYPE_IQ4_XS, 128, KL__TYPE_IQ4_NL},
        {KL__TYPE_Q4_K, 4, KL__TYPE_F16},
        {KL__TYPE_Q8_0, 48, KL__TYPE_F16},
        {KL__TYPE_BF16, 3, KL__TYPE_BF16},
    };
    for (size_t i = 0; i < sizeof rule / sizeof *rule; i++)
        assert_int_equal(kl__type_for_row(rule[i].wanted, rule[i].row), rule[i].got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decoding_is_exact), cmocka_unit_test(plain_formats),  cmocka_unit_test(encoding_is_close),
        cmocka_unit_test(the_search_pays),   cmocka_unit_test(grids_are_kept), cmocka_unit_test(extremes),
        cmocka_unit_test(refusals),          cmocka_unit_test(sizes_and_names), cmocka_unit_test(fallbacks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
