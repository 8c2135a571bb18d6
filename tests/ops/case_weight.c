/* Products with the weights of a file, every type and level: against sums in f64 over the decoded weights; pitches, odd
 * addresses, adding, a token alone against the batch, thread counts, several products at once, T = 0, embeddings to
 * the bit, refusals. */
#include "ops/weight.h"

#include "support/blocks.h"
#include "tensor/quant/levels.h"

#include <math.h>
#include <string.h>

enum { T = 19, N = 70, D = 768 }; /* D: three blocks of 256, no whole number of the product's own blocks of k */

/* Error of a product relative to its root mean square. */
static double tolerance(enum kl__type type, bool exact)
{
    if (!exact && kl__levels_info(type)) /* activations are rounded to 8 bits */
        return 6e-3;
    return 1e-6;
}

static kl_tensor rows(const void *data, int64_t n_row, int64_t n, int64_t pitch)
{
    kl_tensor t = kl_view2((void *)data, KL_F32, n_row, n);
    t.pitch = pitch;
    return t;
}

static void run(const kl_backend *be, kl_tensor y, kl_tensor x, const struct kl__weight *w, bool add)
{
    kl_workspace work = kt_work(kl__weight_linear_workspace(be, w, x.dim[0]));
    KT_OK(kl__weight_linear(be, y, x, w, add, work, KT_ERR));
}

static double *product64(const float *x, const float *w, int64_t n_token, int64_t n_out, int64_t n_in)
{
    double *y = kt_bytes((size_t)(n_token * n_out) * sizeof *y);
    for (int64_t t = 0; t < n_token; t++)
        for (int64_t n = 0; n < n_out; n++) {
            double sum = 0;
            for (int64_t k = 0; k < n_in; k++)
                sum += (double)x[t * n_in + k] * w[n * n_in + k];
            y[t * n_out + n] = sum;
        }
    return y;
}

static void agrees_with_decoded_weights(bool exact)
{
    enum kl__type type;
    for (int i = 0; (type = kt_weight_type(i)) != KL__N_TYPE; i++) {
        kt_rng r = {1 + (uint64_t)i};
        float *x = kt_normals(&r, T * D, 1);
        struct kl__weight w = kt_weight(&r, type, 1, N, D, 0.05f, i % 3);
        w.exact = exact;
        double *want = product64(x, kt_decoded(&w), T, N, D);
        for (int l = 0; kt_level(l); l++) {
            float *first = NULL;
            for (int threads = 1; threads <= 3; threads++) {
                float *y = kt_floats(T * N);
                run(kt_backend(kt_level(l), threads), rows(y, T, N, 0), rows(x, T, D, 0), &w, false);
                kt_assert_close64(kl__type_info(type)->name, kt_level(l), y, want, T * N, tolerance(type, exact));
                first = first ? first : y;
                kt_assert_same_bits("threads", y, first, sizeof(float) * T * N);
            }
        }
        kt_free_all();
    }
}

static void fast_products(void **state)
{
    (void)state;
    agrees_with_decoded_weights(false);
}

static void exact_products(void **state)
{
    (void)state;
    agrees_with_decoded_weights(true);
}

/* Every number of tokens, from the front and from the back, gives the rows that the whole batch has. */
static void token_alone_is_token_in_batch(void **state)
{
    (void)state;
    enum kl__type type;
    for (int i = 0; (type = kt_weight_type(i)) != KL__N_TYPE; i++) {
        kt_rng r = {2};
        float *x = kt_normals(&r, T * D, 1);
        struct kl__weight w = kt_weight(&r, type, 1, N, D, 0.05f, 2);
        for (int l = 0; kt_level(l); l++) {
            const kl_backend *be = kt_backend(kt_level(l), 2);
            float *whole = kt_floats(T * N), *part = kt_floats(T * N);
            run(be, rows(whole, T, N, 0), rows(x, T, D, 0), &w, false);
            for (int64_t n = 1; n < T; n++) {
                run(be, rows(part, n, N, 0), rows(x + (T - n) * D, n, D, 0), &w, false);
                kt_assert_same_bits("tokens of a batch", part, whole + (T - n) * N, sizeof(float) * (size_t)(n * N));
            }
        }
        kt_free_all();
    }
}

/* y += is y plus the product; gaps between rows stay as they are. */
static void adds_between_pitches(void **state)
{
    (void)state;
    enum { XP = D + 5, YP = N + 3 };
    enum kl__type type;
    for (int i = 0; (type = kt_weight_type(i)) != KL__N_TYPE; i++) {
        kt_rng r = {3};
        float *x = kt_normals(&r, T * XP, 1), *held = kt_normals(&r, T * YP, 1);
        struct kl__weight w = kt_weight(&r, type, 1, N, D, 0.05f, 1);
        for (int l = 0; kt_level(l); l++) {
            const kl_backend *be = kt_backend(kt_level(l), 2);
            float *sum = kt_floats(T * N), *y = kt_copy(held, T * YP);
            run(be, rows(sum, T, N, 0), rows(x, T, D, XP), &w, false);
            run(be, rows(y, T, N, YP), rows(x, T, D, XP), &w, true);
            for (int t = 0; t < T; t++)
                for (int n = 0; n < YP; n++)
                    assert_true(y[t * YP + n] == held[t * YP + n] + (n < N ? sum[t * N + n] : 0));
        }
        kt_free_all();
    }
}

/* Products that share x, of several types and widths, more than run together, into slices of one wide row. */
static void several_are_one_after_the_other(void **state)
{
    (void)state;
    enum { PRODUCTS = 21, WIDTH = 40, WIDE = PRODUCTS * WIDTH };
    kt_rng r = {4};
    float *x = kt_normals(&r, T * D, 1);
    struct kl__weight w[PRODUCTS];
    struct kl__weight_product p[PRODUCTS];
    int n_type = 0;
    while (kt_weight_type(n_type) != KL__N_TYPE)
        n_type++;
    for (int i = 0; i < PRODUCTS; i++)
        w[i] = kt_weight(&r, kt_weight_type(i % n_type), 1, 1 + kt_below(&r, WIDTH), D, 0.05f, 0);
    for (int l = 0; kt_level(l); l++) {
        const kl_backend *be = kt_backend(kt_level(l), 3);
        float *held = kt_normals(&r, T * WIDE, 1), *alone = kt_copy(held, T * WIDE), *y = kt_copy(held, T * WIDE);
        for (int i = 0; i < PRODUCTS; i++) {
            p[i] = (struct kl__weight_product){rows(y + i * WIDTH, T, w[i].n_out, WIDE), &w[i], i % 2};
            run(be, rows(alone + i * WIDTH, T, w[i].n_out, WIDE), rows(x, T, D, 0), &w[i], i % 2);
        }
        kl_workspace work = kt_work(kl__weight_linears_workspace(be, p, PRODUCTS, T));
        KT_OK(kl__weight_linears(be, p, PRODUCTS, rows(x, T, D, 0), work, KT_ERR));
        kt_assert_same_bits("several", y, alone, sizeof(float) * T * WIDE);
    }
    kt_free_all();
}

/* Few rows and many, whole panels and a rest, fewer rows than a panel, rows no multiple of the parts. */
static void packed_has_the_same_bits(void **state)
{
    (void)state;
    enum kl__type type;
    static const int n_out[] = {1, 31, 32, 70}, n_in[] = {256, 768}, n_token[] = {1, 2, 5, 6, 7, T};
    int n_packed = 0;
    for (int i = 0; (type = kt_weight_type(i)) != KL__N_TYPE; i++) {
        kt_rng r = {9 + (uint64_t)i};
        float *x = kt_normals(&r, T * D, 1);
        for (int c = 0; c < 8; c++) {
            int64_t N_OUT = n_out[c % 4], N_IN = n_in[c / 4];
            struct kl__weight w = kt_weight(&r, type, 1, N_OUT, N_IN, 0.05f, c % 3);
            for (int l = 0; kt_level(l); l++) {
                const kl_backend *be = kt_backend(kt_level(l), 1 + c % 3);
                struct kl__weight packed = kt_packed(be, &w);
                n_packed += packed.packed != NULL;
                for (int t = 0; packed.packed && t < 6; t++) {
                    float *want = kt_normals(&r, T * N_OUT, 1), *y = kt_copy(want, T * N_OUT);
                    run(be, rows(want, n_token[t], N_OUT, 0), rows(x, n_token[t], N_IN, D), &w, t % 2);
                    run(be, rows(y, n_token[t], N_OUT, 0), rows(x, n_token[t], N_IN, D), &packed, t % 2);
                    kt_assert_same_bits("packed", y, want, sizeof(float) * (size_t)(T * N_OUT));
                }
            }
        }
        kt_free_all();
    }
    int n_level = 0;
    while (kt_level(n_level))
        n_level++;
    assert_true(n_packed >= 3 * 8 * n_level); /* Q8_0, Q4_0, Q4_K on every level */
}

/* No token, no row, no column. */
static void nothing_to_do(void **state)
{
    (void)state;
    kt_rng r = {6};
    float x[2 * D] = {0}, y[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    for (int l = 0; kt_level(l); l++) {
        const kl_backend *be = kt_backend(kt_level(l), 2);
        struct kl__weight w = kt_weight(&r, KL__TYPE_Q8_0, 1, 4, D, 1, 0), none = w;
        run(be, rows(y, 0, 4, 0), rows(x, 0, D, 0), &w, false);
        none.n_out = 0;
        run(be, rows(y, 2, 0, 0), rows(x, 2, D, D), &none, false);
        none.n_out = 4;
        none.n_in = 0;
        run(be, rows(y, 2, 4, 0), rows(x, 2, 0, 0), &none, true);
        for (int i = 0; i < 8; i++)
            assert_true(y[i] == (float)(i + 1));
        run(be, rows(y, 2, 4, 0), rows(x, 2, 0, 0), &none, false);
        for (int i = 0; i < 8; i++)
            assert_true(y[i] == 0);
        for (int i = 0; i < 8; i++)
            y[i] = (float)(i + 1);
    }
    kt_free_all();
}

/* Any number of threads, any table: a row of the table, decoded. */
static void rows_are_decoded(void **state)
{
    (void)state;
    enum kl__type type;
    enum { YP = D + 1 };
    for (int i = 0; (type = kt_weight_type(i)) != KL__N_TYPE; i++) {
        kt_rng r = {7};
        struct kl__weight w = kt_weight(&r, type, 1, N, D, 0.05f, i % 2);
        float *table = kt_decoded(&w);
        int32_t id[] = {3, N - 1, 0, 3, 17};
        for (int l = 0; kt_level(l); l++) {
            float *y = kt_floats(5 * YP);
            kl_tensor ids = kl_view1(id, KL_I32, 5);
            KT_OK(kl__weight_rows(kt_backend(kt_level(l), 1 + l), rows(y, 5, D, YP), ids, &w, KT_ERR));
            for (int t = 0; t < 5; t++)
                kt_assert_same_bits("a row", y + t * YP, table + id[t] * D, sizeof(float) * D);
        }
        kt_free_all();
    }
}

static void refuses(void **state)
{
    (void)state;
    kt_rng r = {8};
    const kl_backend *be = kt_backend("ref", 1);
    struct kl__weight w = kt_weight(&r, KL__TYPE_Q4_K, 1, 4, 512, 1, 0), bad = w;
    float *x = kt_zeros(2 * 512), *y = kt_zeros(2 * 512);
    kl_tensor xt = rows(x, 2, 512, 0), yt = rows(y, 2, 4, 0);
    kl_workspace work = kt_work(kl__weight_linear_workspace(be, &w, 2));
    kl_error err;
    KT_ASSERT_FAILED(kl__weight_linear(NULL, yt, xt, &w, false, work, &err), KL_ERR_ARGUMENT, &err, "backend");
    KT_ASSERT_FAILED(kl__weight_linear(be, yt, xt, NULL, false, work, &err), KL_ERR_ARGUMENT, &err, "w is NULL");
    KT_ASSERT_FAILED(kl__weight_linear(be, yt, rows(x, 2, 256, 0), &w, false, work, &err), KL_ERR_SHAPE, &err, "x",
                     "[512]");
    KT_ASSERT_FAILED(kl__weight_linear(be, rows(y, 2, 5, 0), xt, &w, false, work, &err), KL_ERR_SHAPE, &err, "y");
    KT_ASSERT_FAILED(kl__weight_linear(be, rows(x, 2, 4, 0), xt, &w, false, work, &err), KL_ERR_OVERLAP, &err, "y");
    KT_ASSERT_FAILED(kl__weight_linear(be, yt, xt, &w, false, (kl_workspace){0}, &err), KL_ERR_WORKSPACE, &err,
                     "workspace");
    bad.type = KL__TYPE_I64;
    KT_ASSERT_FAILED(kl__weight_linear(be, yt, xt, &bad, false, work, &err), KL_ERR_DTYPE, &err, "I64");
    bad = w;
    bad.n_in = 500;
    KT_ASSERT_FAILED(kl__weight_linear(be, yt, xt, &bad, false, work, &err), KL_ERR_SHAPE, &err, "500", "256");
    bad = w;
    bad.n_matrix = 2;
    KT_ASSERT_FAILED(kl__weight_linear(be, yt, xt, &bad, false, work, &err), KL_ERR_SHAPE, &err, "[2][4][512]");
    bad = w;
    bad.data = NULL;
    KT_ASSERT_FAILED(kl__weight_linear(be, yt, xt, &bad, false, work, &err), KL_ERR_ARGUMENT, &err, "no data");
    bad = w;
    bad.n_out = (int64_t)1 << 60;
    KT_ASSERT_FAILED(kl__weight_linear(be, yt, xt, &bad, false, work, &err), KL_ERR_SHAPE, &err, "count");
    assert_int_equal(kl__weight_linear_workspace(be, &bad, 2), 0);
    int32_t id[] = {0, 4};
    KT_ASSERT_FAILED(kl__weight_rows(be, xt, kl_view1(id, KL_I32, 2), &w, &err), KL_ERR_ARGUMENT, &err, "id[1]", "4");
    KT_ASSERT_FAILED(kl__weight_rows(be, yt, kl_view1(id, KL_I32, 2), &w, &err), KL_ERR_SHAPE, &err, "y");
    for (int i = 0; i < 2 * 512; i++)
        assert_true(y[i] == 0 && x[i] == 0);
    kt_free_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fast_products),
        cmocka_unit_test(exact_products),
        cmocka_unit_test(token_alone_is_token_in_batch),
        cmocka_unit_test(adds_between_pitches),
        cmocka_unit_test(several_are_one_after_the_other),
        cmocka_unit_test(packed_has_the_same_bits),
        cmocka_unit_test(nothing_to_do),
        cmocka_unit_test(rows_are_decoded),
        cmocka_unit_test(refuses),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_free_backends();
    return failed;
}
