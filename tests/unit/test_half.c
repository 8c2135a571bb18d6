/* f16, bf16 and f32: every half in one direction, every boundary between two halves in the other. */
#include "support/kt.h"

#include "base/half.h"

#include <math.h>

/* The definition, in double: (1 + m / 1024) 2^(e - 15), or m 2^-24 when e is 0. */
static double value_of(unsigned h)
{
    double m = h & 0x3ff, e = h >> 10 & 31;
    double v = e == 0 ? ldexp(m, -24) : e == 31 ? (m ? NAN : INFINITY) : ldexp(1 + m / 1024, (int)e - 15);
    return h & 0x8000 ? -v : v;
}

static void every_half_is_exact(void **state)
{
    (void)state;
    for (unsigned h = 0; h < 0x10000; h++) {
        float x = kl__f32_of_f16((uint16_t)h);
        double want = value_of(h);
        if (isnan(want)) {
            assert_true(isnan(x));
            assert_true(isnan(kl__f32_of_f16(kl__f16_of_f32(x))));
            continue;
        }
        assert_true((double)x == want && !signbit(x) == !signbit(want));
        assert_int_equal(kl__f16_of_f32(x), h);
    }
}

/* Between neighbours a < b: up to the middle a, from the middle on b, in the middle the even one. */
static void every_boundary_rounds(void **state)
{
    (void)state;
    for (unsigned h = 0; h < 0x7c00; h++) {
        double next = h == 0x7bff ? 65536 : value_of(h + 1); /* past the largest half comes infinity */
        float middle = (float)((value_of(h) + next) / 2);
        unsigned even = h & 1 ? h + 1 : h;
        assert_int_equal(kl__f16_of_f32(middle), even);
        assert_int_equal(kl__f16_of_f32(-middle), even | 0x8000);
        assert_int_equal(kl__f16_of_f32(nextafterf(middle, 0)), h);
        assert_int_equal(kl__f16_of_f32(nextafterf(middle, INFINITY)), h + 1);
    }
    assert_int_equal(kl__f16_of_f32(INFINITY), 0x7c00);
    assert_int_equal(kl__f16_of_f32(-3.4e38f), 0xfc00);
    assert_int_equal(kl__f16_of_f32(1e-45f), 0);
    assert_int_equal(kl__f16_of_f32(-1e-45f), 0x8000);
    assert_true((kl__f16_of_f32(NAN) & 0x7e00) == 0x7e00);
}

/* bf16 is the upper half of an f32, so all of it can be tried: every bf16, and the middle of every two neighbours. */
static void every_bf16(void **state)
{
    (void)state;
    for (unsigned h = 0; h < 0x10000; h++) {
        float x = kl__f32_of_bf16((uint16_t)h);
        assert_int_equal(kl__bits_of_f32(x), h << 16);
        if (isnan(x)) {
            assert_true(isnan(kl__f32_of_bf16(kl__bf16_of_f32(x))));
            assert_true(isnan(kl__f32_of_bf16(kl__bf16_of_f32(kl__f32_of_bits(h << 16 | 1))))); /* payload cut off */
            continue;
        }
        assert_int_equal(kl__bf16_of_f32(x), h);
        if (isinf(x))
            continue;
        unsigned even = h & 1 ? h + 1 : h; /* one up is one further from zero, infinity after the largest */
        assert_int_equal(kl__bf16_of_f32(kl__f32_of_bits(h << 16 | 0x8000)), even);
        assert_int_equal(kl__bf16_of_f32(kl__f32_of_bits(h << 16 | 0x7fff)), h);
        assert_int_equal(kl__bf16_of_f32(kl__f32_of_bits(h << 16 | 0x8001)), h + 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_bf16),
        cmocka_unit_test(every_half_is_exact),
        cmocka_unit_test(every_boundary_rounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
