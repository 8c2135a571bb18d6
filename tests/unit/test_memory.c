/* Memory of handles, and workspaces that are measured and carved by the same code. */
#include "support/kt.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

static void *alloc_poisoned(void *user, size_t bytes)
{
    *(size_t *)user = bytes;
    return memset(aligned_alloc(KL_ALIGN, bytes), 0xa5, bytes);
}

static void release_counted(void *user, void *memory)
{
    ++*(size_t *)user;
    free(memory);
}

static void *refuse(void *user, size_t bytes)
{
    (void)user;
    (void)bytes;
    return NULL;
}

static void memory_is_zeroed_and_aligned(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 63, 64, 65, 1000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int own = 0; own <= 1; own++) {
            size_t said = 0;
            kl_allocator alloc = {alloc_poisoned, release_counted, &said};
            unsigned char *p = kl__alloc(own ? &alloc : NULL, sizes[i]);
            assert_non_null(p);
            assert_int_equal((uintptr_t)p % KL_ALIGN, 0);
            for (size_t k = 0; k < sizes[i]; k++)
                assert_int_equal(p[k], 0);
            if (own) { /* whole lines: aligned_alloc may be handed the number as it is */
                assert_true(said >= sizes[i] && said > 0 && said % KL_ALIGN == 0);
                said = 0;
            }
            kl__release(own ? &alloc : NULL, p);
            assert_int_equal(said, own);
            kl__release(own ? &alloc : NULL, NULL);
            assert_int_equal(said, own);
        }
}

static void refused_memory_is_null(void **state)
{
    (void)state;
    kl_allocator alloc = {refuse, NULL, NULL};
    assert_null(kl__alloc(&alloc, 100));
    assert_null(kl__alloc(&alloc, SIZE_MAX)); /* rounding up must not wrap to a small number */
}

/* Some arrays, as an operator would ask for them. */
static struct kl__carver carve(kl_workspace work, char *part[4], const size_t bytes[4])
{
    struct kl__carver c = kl__carver(work);
    for (int i = 0; i < 4; i++)
        part[i] = kl__carve(&c, bytes[i], 1);
    return c;
}

static void what_is_measured_is_enough(void **state)
{
    (void)state;
    static const size_t bytes[4] = {1, 64, 0, 130};
    char *part[4];
    struct kl__carver counted = carve((kl_workspace){0}, part, bytes);
    size_t need = kl__carver_need(&counted);
    for (int i = 0; i < 4; i++)
        assert_null(part[i]);
    for (size_t shift = 0; shift < KL_ALIGN; shift++) {
        char *memory = (char *)kt_bytes(need + shift) + shift;
        struct kl__carver c = carve((kl_workspace){.data = memory, .bytes = need}, part, bytes);
        assert_int_equal(c.bytes, counted.bytes);
        for (int i = 0; i < 4; i++) {
            assert_int_equal((uintptr_t)part[i] % KL_ALIGN, 0);
            assert_true(part[i] >= memory && part[i] + bytes[i] <= memory + need);
            for (int k = 0; k < i; k++)
                assert_true(part[k] + bytes[k] <= part[i]);
            memset(part[i], 7, bytes[i]);
        }
        kt_free_all(); /* looks at the borders */
    }
}

static void nothing_needs_nothing(void **state)
{
    (void)state;
    struct kl__carver c = kl__carver((kl_workspace){0});
    assert_int_equal(kl__carver_need(&c), 0);
    kl__carve(&c, 0, 8);
    kl__carve(&c, 8, 0);
    assert_int_equal(kl__carver_need(&c), 0);
}

static void sums_saturate(void **state)
{
    (void)state;
    static const struct {
        size_t count, item;
    } huge[] = {{SIZE_MAX, 1}, {SIZE_MAX / 2 + 1, 2}, {SIZE_MAX / 3, 4}, {(size_t)1 << 63, 1}};
    for (size_t i = 0; i < sizeof huge / sizeof *huge; i++) {
        struct kl__carver c = {0};
        kl__carve(&c, 100, 1);
        kl__carve(&c, huge[i].count, huge[i].item);
        size_t once = kl__carver_need(&c);
        assert_true(once > SIZE_MAX / 2);
        for (int k = 0; k < 3; k++)
            kl__carve(&c, huge[i].count, huge[i].item);
        assert_true(kl__carver_need(&c) >= once); /* and never comes round to a small number */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_zeroed_and_aligned),
        cmocka_unit_test(refused_memory_is_null),
        cmocka_unit_test(what_is_measured_is_enough),
        cmocka_unit_test(nothing_needs_nothing),
        cmocka_unit_test(sums_saturate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
