/* Every block format: its integers and scales give what decoding gives. */
#include "tensor/quant/levels.h"

#include "support/blocks.h"

#include <math.h>

static void check(const struct kl__levels_info *info, const struct kl__weight *w, const float *x)
{
    const struct kl__type_info *type = kl__type_info(w->type);
    for (int64_t b = 0; b < w->n_in / type->elements; b++) {
        struct kl__levels levels;
        info->split(&levels, (const uint8_t *)w->data + b * type->bytes);
        for (int j = 0; j < type->elements; j++, x++) {
            float scale = levels.scale[j / info->group], low = info->low ? levels.low[j / info->group] : 0;
            float got = (float)((double)scale * (levels.v[j] - info->offset) - (double)low);
            if (!(got == *x || (isnan(got) && isnan(*x))))
                fail_msg("%s: number %d of block %d is %g, decoded %g", type->name, j, (int)b, (double)got, (double)*x);
        }
    }
}

static void are_what_decoding_gives(void **state)
{
    (void)state;
    int n = 0;
    for (int t = 0; t < KL__N_TYPE; t++) {
        const struct kl__levels_info *info = kl__levels_info((enum kl__type)t);
        assert_true((info != NULL) == (kl__type_info((enum kl__type)t)->elements > 1));
        if (!info)
            continue;
        assert_true(info->group == 16 || info->group == 32);
        assert_true(info->offset == 0 || !info->low);
        kt_rng r = {1 + (uint64_t)t};
        struct kl__weight w = kt_weight(&r, (enum kl__type)t, 1, 1, 256 * 64, 1, 1);
        check(info, &w, kt_decoded(&w));
        n++;
        kt_free_all();
    }
    assert_int_equal(n, 13);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(are_what_decoding_gives)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
