/* The checks in front of every operator: hostile views are named and refused, legal ones pass. */
#include "support/kt.h"

#include "ops/check.h"

#include <string.h>

static kl_error err;

static kl_status two(kl_tensor t)
{
    return kl__check_tensor("op", "x", t, KL__FLOAT, 2, (int64_t[]){-1, 4}, &err);
}

static void shapes(void **state)
{
    (void)state;
    float x[100];
    assert_int_equal(two(kl_view2(x, KL_F32, 3, 4)), KL_OK);
    assert_int_equal(two(kl_view2(x, KL_BF16, 0, 4)), KL_OK);
    assert_int_equal(two(kl_view2(NULL, KL_F32, 0, 4)), KL_OK);
    KT_ASSERT_FAILED(two(kl_view2(x, KL_F32, 3, 5)), KL_ERR_SHAPE, &err, "op: x is [3][5], expected [n][4]");
    KT_ASSERT_FAILED(two(kl_view2(x, KL_F32, -1, 4)), KL_ERR_SHAPE, &err, "expected [n][4]");
    KT_ASSERT_FAILED(two(kl_view3(x, KL_F32, 3, 4, 1)), KL_ERR_SHAPE, &err, "x is [3][4][1]");
    KT_ASSERT_FAILED(two((kl_tensor){0}), KL_ERR_SHAPE, &err, "x is absent");
    kl_tensor t = kl_view2(x, KL_F32, 3, 4);
    t.n_dim = 5;
    KT_ASSERT_FAILED(two(t), KL_ERR_SHAPE, &err, "n_dim 5", "0 .. 4");
    t.n_dim = -1;
    KT_ASSERT_FAILED(two(t), KL_ERR_SHAPE, &err, "n_dim -1");
}

static void types_and_pointers(void **state)
{
    (void)state;
    float x[100];
    KT_ASSERT_FAILED(two(kl_view2(x, KL_I32, 3, 4)), KL_ERR_DTYPE, &err, "x is i32, expected f32|bf16");
    KT_ASSERT_FAILED(two(kl_view2(x, (kl_dtype)77, 3, 4)), KL_ERR_DTYPE, &err, "x is ?");
    KT_ASSERT_FAILED(two(kl_view2(NULL, KL_F32, 3, 4)), KL_ERR_ARGUMENT, &err, "x has no data");
    KT_ASSERT_FAILED(two(kl_view2((char *)x + 2, KL_F32, 3, 4)), KL_ERR_ARGUMENT, &err, "aligned to 4 bytes");
    assert_int_equal(two(kl_view2((char *)x + 2, KL_BF16, 3, 4)), KL_OK);
}

/* Numbers whose products leave 64 bits, which must be seen before anything is multiplied by them. */
static void sizes_beyond_counting(void **state)
{
    (void)state;
    float x[8];
    const int64_t huge = (int64_t)1 << 61, any[4] = {-1, -1, -1, -1};
    static const int64_t dims[][4] = {{INT64_MAX, 1, 1, 1},
                                      {1, INT64_MAX, 1, 1},
                                      {1 << 20, 1 << 20, 1 << 20, 1 << 20},
                                      {2, INT64_MAX / 4, 1, 1},
                                      {1, 3, INT64_MAX / 2, 1}};
    for (size_t i = 0; i < sizeof dims / sizeof *dims; i++) {
        kl_tensor t = kl_view4(x, KL_F32, dims[i][0], dims[i][1], dims[i][2], dims[i][3]);
        KT_ASSERT_FAILED(kl__check_tensor("op", "x", t, KL__FLOAT, 4, any, &err), KL_ERR_SHAPE, &err,
                         "more bytes than an address can count");
    }
    kl_tensor t = kl_view2(x, KL_F32, 4, 4);
    t.pitch = huge;
    KT_ASSERT_FAILED(two(t), KL_ERR_SHAPE, &err, "more bytes");
    t.pitch = 3;
    KT_ASSERT_FAILED(two(t), KL_ERR_SHAPE, &err, "pitch 3", "4 elements");
    t.pitch = -4;
    KT_ASSERT_FAILED(two(t), KL_ERR_SHAPE, &err, "pitch -4");
}

static void optional_and_vectors(void **state)
{
    (void)state;
    float x[10];
    int64_t n = 5;
    assert_int_equal(kl__check_optional("op", "w", (kl_tensor){0}, KL__F32, 1, &n, &err), KL_OK);
    assert_int_equal(kl__check_vector("op", "w", (kl_tensor){0}, KL__F32, n, &err), KL_OK);
    kl_tensor w = kl_view1(x, KL_F32, 5);
    assert_int_equal(kl__check_vector("op", "w", w, KL__F32, n, &err), KL_OK);
    w.pitch = 1;
    assert_int_equal(kl__check_vector("op", "w", w, KL__F32, n, &err), KL_OK);
    w.pitch = 2;
    KT_ASSERT_FAILED(kl__check_vector("op", "w", w, KL__F32, n, &err), KL_ERR_SHAPE, &err, "w has pitch 2", "dense");
    w = kl_view1(x, KL_F32, 4);
    KT_ASSERT_FAILED(kl__check_vector("op", "w", w, KL__F32, n, &err), KL_ERR_SHAPE, &err, "w is [4], expected [5]");
    KT_ASSERT_FAILED(kl__check_optional("op", "w", w, KL__F32, 1, &n, &err), KL_ERR_SHAPE, &err, "w is [4]");
}

static void overlaps(void **state)
{
    (void)state;
    float x[40];
    kl_tensor a = kl_view2(x, KL_F32, 2, 4), b = kl_view2(x + 4, KL_F32, 2, 4);
    struct kl__operand inputs[] = {{"a", a, false, NULL}, {"b", b, false, NULL}};
    assert_int_equal(kl__check_overlap("op", inputs, 2, &err), KL_OK);
    struct kl__operand output[] = {{"a", a, false, NULL}, {"b", b, true, "a"}};
    KT_ASSERT_FAILED(kl__check_overlap("op", output, 2, &err), KL_ERR_OVERLAP, &err, "op: b overlaps a");
    output[1].t = a; /* the very same, and declared so */
    assert_int_equal(kl__check_overlap("op", output, 2, &err), KL_OK);
    output[1].may_equal = "another";
    KT_ASSERT_FAILED(kl__check_overlap("op", output, 2, &err), KL_ERR_OVERLAP, &err, "b overlaps a");
    output[1].may_equal = "a";
    output[1].t.dtype = KL_BF16;
    KT_ASSERT_FAILED(kl__check_overlap("op", output, 2, &err), KL_ERR_OVERLAP, &err, "b overlaps a");
    output[1].t = (kl_tensor){0};
    assert_int_equal(kl__check_overlap("op", output, 2, &err), KL_OK);
}

static void sequences(void **state)
{
    (void)state;
    static const struct {
        int64_t cu[4], n_seq, n_token;
        const char *complaint; /* NULL: fine */
    } tries[] = {
        {{0, 2, 2, 5}, 3, 5, NULL},
        {{0}, 0, 0, NULL},
        {{0}, 0, 5, "cu[0] is 0"},
        {{1, 2, 3, 5}, 3, 5, "cu[0] is 1"},
        {{-1, 2, 3, 5}, 3, 5, "cu[0] is -1"},
        {{0, 3, 2, 5}, 3, 5, "cu[2] is 2"},
        {{0, 6, 6, 6}, 3, 5, "cu[1] is 6"},
        {{0, 2, 3, 4}, 3, 5, "cu[3] is 4"},
        {{0, 0, 0, 0}, -1, 0, "n_seq is -1"},
    };
    for (size_t i = 0; i < sizeof tries / sizeof *tries; i++) {
        kl_status got = kl__check_sequences("op", "cu", tries[i].cu, tries[i].n_seq, tries[i].n_token, &err);
        if (tries[i].complaint)
            KT_ASSERT_FAILED(got, KL_ERR_ARGUMENT, &err, "op", tries[i].complaint);
        else
            assert_int_equal(got, KL_OK);
    }
    assert_int_equal(kl__check_sequences("op", "cu", NULL, 0, 5, &err), KL_OK);
    KT_ASSERT_FAILED(kl__check_sequences("op", "cu", NULL, 2, 5, &err), KL_ERR_ARGUMENT, &err, "n_seq is 2 without cu");
    assert_int_equal(kl__n_seq(NULL, 0), 1);
    assert_int_equal(kl__seq_start(NULL, 1, 5), 5);
    assert_int_equal(kl__n_seq(tries[0].cu, 3), 3);
    assert_int_equal(kl__seq_start(tries[0].cu, 3, 5), 5);
}

static void workspaces(void **state)
{
    (void)state;
    char memory[8];
    assert_int_equal(kl__check_work("op", (kl_workspace){0}, 0, &err), KL_OK);
    assert_int_equal(kl__check_work("op", (kl_workspace){memory, 8}, 8, &err), KL_OK);
    KT_ASSERT_FAILED(kl__check_work("op", (kl_workspace){memory, 8}, 9, &err), KL_ERR_WORKSPACE, &err,
                     "workspace is 8 bytes, expected 9");
    KT_ASSERT_FAILED(kl__check_work("op", (kl_workspace){NULL, 100}, 9, &err), KL_ERR_WORKSPACE, &err, "0 bytes");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes),     cmocka_unit_test(types_and_pointers),
        cmocka_unit_test(overlaps),   cmocka_unit_test(sizes_beyond_counting),
        cmocka_unit_test(sequences),  cmocka_unit_test(optional_and_vectors),
        cmocka_unit_test(workspaces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
