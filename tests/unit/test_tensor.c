/* Views: sizes, rows, and when two of them share bytes. */
#include "support/kt.h"

#include "tensor/tensor.h"

static void element_types(void **state)
{
    (void)state;
    static const struct {
        kl_dtype dtype;
        size_t bytes;
        const char *name;
    } want[] = {{KL_F32, 4, "f32"}, {KL_BF16, 2, "bf16"}, {KL_F16, 2, "f16"}, {KL_I32, 4, "i32"}, {KL_Q8_0, 1, "q8_0"}};
    for (int i = 0; i < 5; i++) {
        assert_int_equal(kl_dtype_bytes(want[i].dtype), want[i].bytes);
        assert_string_equal(kl_dtype_name(want[i].dtype), want[i].name);
    }
    assert_int_equal(kl_dtype_bytes((kl_dtype)5), 0);
    assert_int_equal(kl_dtype_bytes((kl_dtype)-1), 0);
    assert_string_equal(kl_dtype_name((kl_dtype)99), "?");
}

static void rows(void **state)
{
    (void)state;
    float x[200];
    kl_tensor t = kl_view4(x, KL_F32, 2, 3, 4, 5);
    assert_int_equal(kl__row_elements(t), 60);
    assert_int_equal(kl__pitch(t), 60);
    assert_ptr_equal(kl__row(t, 1), x + 60);
    t.pitch = 77;
    assert_int_equal(kl__row_elements(t), 60);
    assert_int_equal(kl__pitch(t), 77);
    assert_ptr_equal(kl__row(t, 1), x + 77);
    kl_tensor v = kl_view1(x, KL_BF16, 9);
    assert_int_equal(kl__row_elements(v), 1);
    assert_ptr_equal(kl__row(v, 3), (uint16_t *)(void *)x + 3);
    assert_true(kl__present(v));
    assert_false(kl__present((kl_tensor){0}));
    assert_int_equal(kl__row_elements(kl_view3(x, KL_F32, 7, 0, 5)), 0);
}

static void both_ways(kl_tensor a, kl_tensor b, bool overlap)
{
    assert_int_equal(kl__overlap(a, b), overlap);
    assert_int_equal(kl__overlap(b, a), overlap);
}

static void overlap(void **state)
{
    (void)state;
    float x[100];
    kl_tensor a = kl_view2(x, KL_F32, 4, 5);
    both_ways(a, a, true);
    both_ways(a, kl_view1(x + 19, KL_F32, 1), true);  /* its last element */
    both_ways(a, kl_view1(x + 20, KL_F32, 1), false); /* the one behind */
    both_ways(a, kl_view1((uint16_t *)(void *)x + 39, KL_BF16, 1), true);
    both_ways(a, kl_view1((uint16_t *)(void *)x + 40, KL_BF16, 1), false);
    both_ways(a, kl_view2(x + 2, KL_F32, 0, 5), false); /* empty views share nothing */
    both_ways(a, kl_view2(x + 2, KL_F32, 3, 0), false);
    both_ways(a, (kl_tensor){.data = x}, false); /* nor do absent ones */
    a.pitch = 10;
    both_ways(a, kl_view1(x + 34, KL_F32, 1), true); /* last row: 30 .. 34 */
    both_ways(a, kl_view1(x + 35, KL_F32, 1), false);
    both_ways(a, kl_view1(x + 7, KL_F32, 1), true); /* a gap counts */
    kl_tensor b = kl_view2(x + 5, KL_F32, 4, 5);
    b.pitch = 10;
    both_ways(a, b, false); /* but not for columns of the same rows */
    b.dim[1] = 6;
    both_ways(a, b, true); /* one too many: the next row of a */
    b.dim[1] = 5;
    b.data = x + 4;
    both_ways(a, b, true);
    b.data = x + 15; /* a row later */
    both_ways(a, b, false);
    b.pitch = 9;
    both_ways(a, b, true);
}

static void same(void **state)
{
    (void)state;
    float x[100];
    kl_tensor a = kl_view2(x, KL_F32, 4, 5), b = a;
    assert_true(kl__same(a, b));
    b.pitch = 5; /* dense, said aloud */
    assert_true(kl__same(a, b));
    b.pitch = 6;
    assert_false(kl__same(a, b));
    a.dim[0] = b.dim[0] = 1; /* a single row has no pitch */
    assert_true(kl__same(a, b));
    a = kl_view2(x, KL_F32, 4, 5);
    assert_false(kl__same(a, kl_view2(x, KL_F32, 3, 5)));
    assert_false(kl__same(a, kl_view2(x + 1, KL_F32, 4, 5)));
    assert_false(kl__same(a, kl_view2(x, KL_I32, 4, 5)));
    assert_false(kl__same(a, kl_view2(x, KL_F32, 5, 4)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(element_types),
        cmocka_unit_test(rows),
        cmocka_unit_test(overlap),
        cmocka_unit_test(same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
