/* Statuses and sentences. */
#include "support/kt.h"

#include "base/error.h"

#include <stdio.h>
#include <string.h>

static void every_status_has_a_name_and_a_sentence(void **state)
{
    (void)state;
    assert_string_equal(kl_status_name(KL_OK), "KL_OK");
    assert_string_equal(kl_status_name(KL_ERR_SHAPE), "KL_ERR_SHAPE");
    assert_string_equal(kl_status_text(KL_ERR_MEMORY), "out of memory");
    for (int a = KL_OK; a <= KL_ERR_CANCELLED; a++)
        for (int b = KL_OK; b < a; b++) {
            assert_string_not_equal(kl_status_name((kl_status)a), kl_status_name((kl_status)b));
            assert_string_not_equal(kl_status_text((kl_status)a), kl_status_text((kl_status)b));
        }
    assert_int_equal(KL_OK, 0);
    static const int strangers[] = {KL_ERR_CANCELLED + 1, -1, 1 << 30};
    for (int i = 0; i < 3; i++) {
        assert_string_equal(kl_status_name((kl_status)strangers[i]), "KL_?");
        assert_string_equal(kl_status_text((kl_status)strangers[i]), "unknown status");
    }
}

static void a_failure_is_written_down(void **state)
{
    (void)state;
    kl_error err = {0};
    assert_int_equal(kl__fail(&err, KL_ERR_IO, "%s is %d", "answer", 42), KL_ERR_IO);
    assert_int_equal(err.status, KL_ERR_IO);
    assert_string_equal(err.text, "answer is 42");
    assert_int_equal(kl__fail(NULL, KL_ERR_IO, "%s", "nobody listens"), KL_ERR_IO);
}

/* The longest sentence that fits is whole; one letter more, and it ends in dots, closed at the last byte. */
static void long_sentences_are_cut(void **state)
{
    (void)state;
    enum { ROOM = sizeof((kl_error *)0)->text };
    char text[ROOM + 50];
    for (int length = ROOM - 5; length < ROOM + 40; length++) {
        struct {
            kl_error err;
            char behind[8];
        } box;
        memset(&box, 0x5a, sizeof box);
        memset(text, 'x', (size_t)length);
        text[length] = 0;
        kl__fail(&box.err, KL_ERR_FORMAT, "%s", text);
        bool fits = length < ROOM;
        assert_int_equal(strlen(box.err.text), fits ? length : ROOM - 1);
        assert_int_equal(strcmp(box.err.text + strlen(box.err.text) - 3, fits ? "xxx" : "..."), 0);
        for (int i = 0; i < 8; i++)
            assert_int_equal(box.behind[i], 0x5a);
    }
}

static kl_status try_it(kl_status first, bool *reached)
{
    KL_TRY(first);
    *reached = true;
    return KL_OK;
}

static void failures_travel(void **state)
{
    (void)state;
    bool reached = false;
    assert_int_equal(try_it(KL_ERR_SHAPE, &reached), KL_ERR_SHAPE);
    assert_false(reached);
    assert_int_equal(try_it(KL_OK, &reached), KL_OK);
    assert_true(reached);
}

static void the_version_is_that_of_the_header(void **state)
{
    (void)state;
    char want[40];
    snprintf(want, sizeof want, "%d.%d.%d", KL_VERSION_MAJOR, KL_VERSION_MINOR, KL_VERSION_PATCH);
    assert_string_equal(kl_version(), want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_status_has_a_name_and_a_sentence),
        cmocka_unit_test(a_failure_is_written_down),
        cmocka_unit_test(long_sentences_are_cut),
        cmocka_unit_test(failures_travel),
        cmocka_unit_test(the_version_is_that_of_the_header),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
