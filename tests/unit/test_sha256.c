/* The examples of FIPS 180-4, in one go and byte by byte. */
#include "support/kt.h"

#include "base/sha256.h"

#include <stdio.h>
#include <string.h>

static void assert_digest(const char *text, size_t times, const char *wanted)
{
    for (int bytewise = 0; bytewise < 2; bytewise++) {
        struct kl__sha256 s;
        unsigned char digest[32];
        char hex[65];
        size_t n = strlen(text);
        kl__sha256_begin(&s);
        for (size_t i = 0; i < times; i++)
            for (size_t at = 0; at < n; at += bytewise ? 1 : n)
                kl__sha256_add(&s, text + at, bytewise ? 1 : n);
        kl__sha256_end(digest, &s);
        for (int i = 0; i < 32; i++)
            snprintf(hex + 2 * i, 3, "%02x", digest[i]);
        assert_string_equal(hex, wanted);
    }
}

static void examples(void **state)
{
    (void)state;
    assert_digest("", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_digest("abc", 1, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_digest("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1,
                  "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    assert_digest("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 15625,
                  "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(examples)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
