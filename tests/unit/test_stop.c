/* Stop strings in a stream: whatever the portions, what is shown is the text in front of the first complete string. */
#include "klinear/kl.h"
#include "support/kt.h"

#include <string.h>

/* Feeds `text` in portions of `step` bytes and gathers what may be shown. */
static size_t show(char *out, kl_stop *s, kl_text text, size_t step)
{
    size_t n = 0;
    for (size_t i = 0; i < text.bytes; i += step) {
        size_t most = text.bytes - i < step ? text.bytes - i : step, more;
        char *room = kt_bytes(most + kl_stop_held(s));
        more = kl_stop_put(s, room, (kl_text){text.data + i, most});
        memcpy(out + n, room, more);
        n += more;
        kt_free_all();
    }
    return n + kl_stop_end(s, out + n);
}

static void assert_shown(kl_text text, const kl_text *string, size_t n_string, const char *wanted, int found)
{
    kl_stop *s;
    char out[300];
    KT_OK(kl_stop_open(&s, string, n_string, NULL, KT_ERR));
    for (size_t step = 1; step <= text.bytes; step++) {
        size_t n = show(out, s, text, step);
        assert_int_equal(n, strlen(wanted));
        assert_memory_equal(out, wanted, n);
        assert_int_equal(kl_stop_found(s), found);
        kl_stop_reset(s);
        assert_int_equal(kl_stop_found(s), -1);
    }
    kl_stop_close(s);
}
#define STRINGS(...) (const kl_text[]){__VA_ARGS__}, sizeof((const kl_text[]){__VA_ARGS__}) / sizeof(kl_text)
#define T(z)                                                                                                           \
    {                                                                                                                  \
        z, sizeof z - 1                                                                                                \
    }

static void strings(void **state)
{
    (void)state;
    assert_shown(kl_text_of("one two three"), NULL, 0, "one two three", -1);
    assert_shown(kl_text_of("one two three"), STRINGS(T("two")), "one ", 0);
    assert_shown(kl_text_of("one two three"), STRINGS(T("twin"), T("e t")), "on", 1);
    assert_shown(kl_text_of("aab"), STRINGS(T("ab")), "a", 0);
    assert_shown(kl_text_of("aaab"), STRINGS(T("aab")), "a", 0);
    assert_shown(kl_text_of("abababc"), STRINGS(T("ababc")), "ab", 0);
    assert_shown(kl_text_of("abcd"), STRINGS(T("abcd"), T("bc")), "a", 1);       /* complete first */
    assert_shown(kl_text_of("abcd"), STRINGS(T("c"), T("abc"), T("bc")), "", 1); /* at once: the longest */
    assert_shown(kl_text_of("the end"), STRINGS(T("end.")), "the end", -1);      /* held until the end */
    assert_shown(kl_text_of("a\n\nb"), STRINGS(T("\n\n")), "a", 0);
    assert_shown(kl_text_of("\xc3\xa8\xc3\xa9x"), STRINGS(T("\xc3\xa9")), "\xc3\xa8", 0);
    assert_shown((kl_text){"ab\0c", 4}, STRINGS(T("\0c")), "ab", 0);
}

/* What is held is never more than what may become a stop string. */
static void nothing_is_held_for_nothing(void **state)
{
    (void)state;
    kl_stop *s;
    char out[20];
    KT_OK(kl_stop_open(&s, STRINGS(T("abc")), NULL, KT_ERR));
    assert_int_equal(kl_stop_put(s, out, kl_text_of("xab")), 1);
    assert_int_equal(kl_stop_put(s, out, kl_text_of("ab")), 2);
    assert_int_equal(kl_stop_put(s, out, kl_text_of("x")), 3);
    assert_memory_equal(out, "abx", 3);
    assert_int_equal(kl_stop_put(s, out, kl_text_of("")), 0);
    assert_int_equal(kl_stop_put(s, out, kl_text_of("abcx")), 0);
    assert_int_equal(kl_stop_put(s, out, kl_text_of("more")), 0);
    assert_int_equal(kl_stop_end(s, out), 0);
    kl_stop_close(s);
}

/* Against looking for the strings in the whole text. */
static void random_texts(void **state)
{
    (void)state;
    kt_rng r = {11};
    for (int round = 0; round < 3000; round++) {
        char text[60], pattern[3][8], out[80];
        kl_text string[3];
        size_t n = (size_t)kt_below(&r, 60), end = 0;
        int found = -1;
        for (size_t i = 0; i < n; i++)
            text[i] = (char)('a' + kt_below(&r, 2));
        for (int p = 0; p < 3; p++) {
            string[p] = (kl_text){pattern[p], 3 + (size_t)kt_below(&r, 5)};
            for (size_t i = 0; i < string[p].bytes; i++)
                pattern[p][i] = (char)('a' + kt_below(&r, 2));
        }
        for (; end <= n && found < 0; end++)
            for (int p = 0; p < 3; p++)
                if (string[p].bytes <= end && memcmp(text + end - string[p].bytes, pattern[p], string[p].bytes) == 0 &&
                    (found < 0 || string[p].bytes > string[found].bytes))
                    found = p;
        kl_stop *s;
        KT_OK(kl_stop_open(&s, string, 3, NULL, KT_ERR));
        size_t shown = show(out, s, (kl_text){text, n}, 1 + (size_t)kt_below(&r, 9));
        assert_int_equal(kl_stop_found(s), found);
        assert_int_equal(shown, found < 0 ? n : end - 1 - string[found].bytes);
        assert_memory_equal(out, text, shown);
        kl_stop_close(s);
    }
}

static void faults(void **state)
{
    (void)state;
    static const kl_text many[KL_STOP_STRINGS + 1];
    kl_stop *s;
    kl_error err;
    KT_ASSERT_FAILED(kl_stop_open(&s, STRINGS(T("a"), T("")), NULL, &err), KL_ERR_ARGUMENT, &err, "stop string 1",
                     "0 bytes");
    KT_ASSERT_FAILED(kl_stop_open(&s, many, KL_STOP_STRINGS + 1, NULL, &err), KL_ERR_ARGUMENT, &err, "65", "64");
    KT_ASSERT_FAILED(kl_stop_open(&s, STRINGS(T("\x80")), NULL, &err), KL_ERR_ARGUMENT, &err, "stop string 0", "UTF-8");
    char *longest = memset(kt_bytes(KL_STOP_BYTES + 1), 'a', KL_STOP_BYTES + 1);
    KT_ASSERT_FAILED(kl_stop_open(&s, &(kl_text){longest, KL_STOP_BYTES + 1}, 1, NULL, &err), KL_ERR_ARGUMENT, &err,
                     "4097", "4096");
    kl_stop_close(NULL);
    kt_free_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings),
        cmocka_unit_test(nothing_is_held_for_nothing),
        cmocka_unit_test(random_texts),
        cmocka_unit_test(faults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
