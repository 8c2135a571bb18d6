/* The pool of pages: counted, within its budget, filled with zeros when taken, with no more memory than it needs. */
#include "engine/pages.h"
#include "support/kt.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 5 * 4096, MANY = 1000 };

/* Bytes of the pool that are in memory. */
static int64_t resident(const struct kl__pages *p)
{
    size_t unit = (size_t)sysconf(_SC_PAGE_SIZE), n = ((size_t)p->n_page * PAGE + unit - 1) / unit;
    unsigned char *in = kt_bytes(n);
    int64_t bytes = 0;
    assert_int_equal(mincore(p->base, n * unit, in), 0);
    for (size_t i = 0; i < n; i++)
        bytes += (in[i] & 1) * (int64_t)unit;
    return bytes;
}

static bool is_filled(const struct kl__pages *p, int32_t page, char value)
{
    const char *data = kl__page_at(p, page);
    return data[0] == value && memcmp(data, data + 1, (size_t)p->page_bytes - 1) == 0;
}

static void take_and_write(struct kl__pages *p, int32_t *page, int n, int value)
{
    for (int i = 0; i < n; i++) {
        page[i] = kl__pages_take(p);
        assert_true(page[i] >= 0);
        assert_true(is_filled(p, page[i], 0));
        memset(kl__page_at(p, page[i]), value, PAGE);
    }
}

static void memory_goes_back(void **state)
{
    (void)state;
    struct kl__pages p;
    static int32_t page[MANY];
    KT_OK(kl__pages_open(&p, PAGE, (int64_t)MANY * PAGE, KT_ERR));
    for (int round = 0; round < 3; round++) {
        take_and_write(&p, page, MANY, 1 + round);
        assert_int_equal(kl__pages_take(&p), -1);
        assert_int_equal(resident(&p), (int64_t)MANY * PAGE);
        assert_int_equal(kl__pages_held(&p), MANY);
        for (int i = 0; i < MANY; i++) /* every tenth stays */
            if (i % 10)
                kl__pages_drop(&p, page[i]);
        int32_t kept = (256 << 10) / PAGE + 1 + MANY / 10 / 16;
        assert_int_equal(kl__pages_used(&p), MANY / 10);
        assert_in_range(kl__pages_held(&p), MANY / 10, MANY / 10 + 2 * kept);
        assert_int_equal(resident(&p), (int64_t)kl__pages_held(&p) * PAGE);
        for (int i = 0; i < MANY; i += 10) { /* and is what it was */
            assert_true(is_filled(&p, page[i], (char)(1 + round)));
            kl__pages_drop(&p, page[i]);
        }
    }
    kl__pages_close(&p);
    kt_free_all();
}

/* Pages that end within pages of the system: neighbours are not touched. */
static void neighbours_stay(void **state)
{
    (void)state;
    enum { SMALL = 1000, N = 3000 };
    struct kl__pages p;
    static int32_t page[N];
    KT_OK(kl__pages_open(&p, SMALL, (int64_t)N * SMALL, KT_ERR));
    for (int i = 0; i < N; i++) {
        page[i] = kl__pages_take(&p);
        memset(kl__page_at(&p, page[i]), i % 100 + 1, SMALL);
    }
    for (int i = 0; i < N; i++)
        if (i / 7 % 3)
            kl__pages_drop(&p, page[i]);
    assert_true(kl__pages_held(&p) < N / 2 + 2 * 300);
    for (int i = 0; i < N; i++)
        assert_true(i / 7 % 3 || is_filled(&p, page[i], (char)(i % 100 + 1)));
    kl__pages_close(&p);
}

/* A session that comes and goes gets back what it had: no calls of the system for it. */
static void a_few_stay_warm(void **state)
{
    (void)state;
    struct kl__pages p;
    int32_t page[10];
    KT_OK(kl__pages_open(&p, PAGE, (int64_t)MANY * PAGE, KT_ERR));
    for (int round = 0; round < 4; round++) {
        take_and_write(&p, page, 10, 7);
        assert_int_equal(kl__pages_held(&p), 10);
        for (int i = 0; i < 10; i++)
            kl__pages_drop(&p, page[i]);
        assert_int_equal(kl__pages_held(&p), 10);
    }
    kl__pages_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_goes_back),
        cmocka_unit_test(neighbours_stay),
        cmocka_unit_test(a_few_stay_warm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
