/* The spelling of bytes in GGUF vocabularies: there and back for every byte, and nothing for any other character. */
#include "text/spelling.h"

#include "support/kt.h"

static void there_and_back(void **state)
{
    (void)state;
    int n_byte = 0;
    for (unsigned b = 0; b < 256; b++)
        assert_int_equal(kl__point_byte(kl__byte_point((unsigned char)b)), b);
    for (uint32_t point = 0; point < 0x400; point++) {
        int byte = kl__point_byte(point);
        n_byte += byte >= 0;
        if (byte >= 0)
            assert_int_equal(kl__byte_point((unsigned char)byte), point);
    }
    assert_int_equal(n_byte, 256); /* no byte has two characters */
    assert_int_equal(kl__point_byte(0x10ffff), -1);
}

static void known_ones(void **state)
{
    (void)state;
    char text[16];
    assert_int_equal(kl__byte_point(' '), 0x120);
    assert_int_equal(kl__byte_point('\n'), 0x10a);
    assert_int_equal(kl__byte_point(0xad), 0x143);
    assert_int_equal(kl__spell(text, " a\xff", 3), 5);
    assert_memory_equal(text,
                        "\xc4\xa0"
                        "a"
                        "\xc3\xbf",
                        5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(there_and_back), cmocka_unit_test(known_ones)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
