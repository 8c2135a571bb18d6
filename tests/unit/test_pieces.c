/* Where the pre-tokeniser cuts: the worked examples of the specification, each alternative at its edges, the limits. */
#include "support/kt.h"

#include "text/pieces.h"
#include "text/unicode.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The pieces of a text, with a bar between them. */
static void assert_pieces(const char *text, const char *wanted)
{
    char found[400], *to = found;
    const unsigned char *p = (const unsigned char *)text, *end = p + strlen(text);
    while (p < end) {
        const unsigned char *next = kl__piece_end(p, end);
        assert_true(next > p && next <= end);
        if (to > found)
            *to++ = '|';
        memcpy(to, p, (size_t)(next - p));
        to += next - p;
        p = next;
    }
    *to = 0;
    assert_string_equal(found, wanted);
}

static void examples(void **state)
{
    (void)state;
    static const char *const example[][2] = {
        {"CamelCaseWord", "Camel|Case|Word"},
        {"HELLOworld ABC iPhone", "HELLOworld| ABC| i|Phone"},
        {"I'll don'T", "I'll| don'T"},
        {"中文English混排123456", "中文|English|混排|123|456"},
        {"日本語のテキスト", "日本語|のテキスト"},
        {"a\n\n b", "a|\n\n| b"},
        {"  x", " | x"},
        {"10000.50 $9", "100|00|.|50| $|9"},
        {"HelloWorld 漢字テスト 12345 it's", "Hello|World| |漢字|テスト| |123|45| it's"},
        {"  leading and trailing  ", " | leading| and| trailing|  "},
        {"line one\nline two\r\nline three", "line| one|\n|line| two|\r\n|line| three"},
        {"snake_case CamelCase SCREAMING_CASE 007 3.14", "snake|_case| Camel|Case| SCREAMING|_CASE| |007| |3|.|14"},
        {"中文汉字とかな mixed with English", "中文汉字|とかな| mixed| with| English"},
        {"emoji 👨👩👧👦 and 👍🏽 done", "emoji| 👨👩👧👦| and| 👍🏽| done"},
    };
    for (size_t i = 0; i < sizeof example / sizeof *example; i++)
        assert_pieces(example[i][0], example[i][1]);
    assert_pieces("<!open!>", "<!|open|!>");
}

static void words(void **state)
{
    (void)state;
    assert_pieces("\xcc\x81"
                  "ABC",
                  "\xcc\x81|ABC"); /* a mark ends the word that capitals cannot */
    assert_pieces("!\xcc\x81"
                  "a",
                  "!\xcc\x81"
                  "a");
    assert_pieces("AB\xca\xb0"
                  "CD",
                  "AB\xca\xb0|CD"); /* U+02B0 is in both classes */
    assert_pieces("AB\xca\xb0"
                  "cD",
                  "AB\xca\xb0"
                  "c|D");
    assert_pieces("he's HE'S we'Re y'all x'\xc5\xbf z'", "he's| HE'S| we'Re| y|'all| x'\xc5\xbf| z|'");
    assert_pieces("\ta\nb\rC", "\ta|\n|b|\r|C");
    assert_pieces("1a", "1|a");
    assert_pieces("\xe3\x80\x85"
                  "a",
                  "\xe3\x80\x85|a"); /* U+3005 is a letter, and Han */
    assert_pieces("a\xe3\x80\x85", "a|\xe3\x80\x85");
    assert_pieces("", "");
}

static void the_rest(void **state)
{
    (void)state;
    assert_pieces("1\xe3\x80\x87"
                  "23",
                  "1\xe3\x80\x87"
                  "2|3"); /* U+3007 is a number, and Han */
    assert_pieces("\xe3\x80\x87"
                  "1",
                  "\xe3\x80\x87|1");
    assert_pieces("!\xe2\xba\x80", "!\xe2\xba\x80"); /* U+2E80 is a symbol, and Han */
    assert_pieces("!!\r\n\n x", "!!\r\n\n| x");
    assert_pieces(" !a", " !|a");
    assert_pieces("  !", " | !");
    assert_pieces("\t!", "\t|!");
    assert_pieces(" \n \n  a", " \n \n| | a");
    assert_pieces(" \n  ", " \n|  ");
    assert_pieces("\xc2\xa0\xc2\xa0", "\xc2\xa0\xc2\xa0");
    assert_pieces("\xc2\xa0 1", "\xc2\xa0| |1");
    assert_pieces(" 1", " |1");
    assert_pieces("\x1c", "\x1c"); /* no White_Space, whatever Python says */
}

/* Every code point makes a piece, alone and between letters, and pieces cover the text. */
static void every_code_point(void **state)
{
    (void)state;
    for (uint32_t c = 0; c <= 0x10ffff; c++) {
        unsigned char text[6] = {'a'}, *to = text + 1;
        size_t n;
        if (c >= 0xd800 && c <= 0xdfff)
            continue;
        if (c < 0x80)
            *to++ = (unsigned char)c;
        int first = c < 0x800 ? 6 : c < 0x10000 ? 12 : 18, lead = first == 6 ? 0xc0 : first == 12 ? 0xe0 : 0xf0;
        for (int shift = first; c >= 0x80 && shift >= 0; shift -= 6)
            *to++ = (unsigned char)((unsigned)(shift < first ? 0x80 : lead) | (c >> shift & 0x3f));
        *to++ = 'b';
        assert_int_equal(kl__utf8_at(text + 1, &n), c);
        assert_int_equal(n, to - text - 2);
        const unsigned char *p = text;
        while (p < to) {
            const unsigned char *next = kl__piece_end(p, to);
            assert_true(next > p && next <= to);
            p = next;
        }
    }
}

static const unsigned char *filled(size_t n, char c)
{
    return memset(kt_bytes(n), c, n);
}

static void slices(void **state)
{
    (void)state;
    const unsigned char *p = filled(60000, 'a');
    assert_true(kl__slice_end(p, p + 25000) == p + 25000);
    assert_true(kl__slice_end(p, p + 25001) == p + 25000);
    assert_true(kl__slice_end(p, p + 60000) == p + 25000);
    unsigned char *q = (unsigned char *)(uintptr_t)filled(60000, 'a');
    q[10] = ' ';
    assert_true(kl__slice_end(q, q + 60000) == q + 25011);
    for (size_t i = 0; i < 60000; i += 25000)
        q[i] = '\x1f';
    assert_true(kl__slice_end(q, q + 60000) == q + 60000);
    /* 25,000 characters, not bytes. */
    unsigned char *r = (unsigned char *)(uintptr_t)filled(60000, 0);
    for (size_t i = 0; i < 60000; i += 2)
        memcpy(r + i, "\xc3\xa9", 2);
    assert_true(kl__slice_end(r, r + 50000) == r + 50000);
    assert_true(kl__slice_end(r, r + 60000) == r + 50000);
    kt_free_all();
}

static void blocks(void **state)
{
    (void)state;
    const unsigned char *p = filled(400100, 'a');
    struct kl__block b = kl__block_of(p, 400100);
    assert_true(b.bytes == 400000 && b.whole == 400000 && b.n_broken == 0);
    b = kl__block_of(p, 10);
    assert_true(b.bytes == 10 && b.whole == 10);
    /* Table 3-8 of the Unicode standard: maximal parts. */
    static const char broken[] = "a\xf1\x80\x80\xe1\x80\xc2"
                                 "b\x80"
                                 "c\x80\xbf"
                                 "d\xed\xa0\x80\xc0\x80\xf4\x90\xe2\x82";
    static const char mended[] = "a???b?c??d?????????";
    unsigned char to[100], *at = to;
    b = kl__block_of((const unsigned char *)broken, sizeof broken - 1);
    assert_int_equal(b.bytes, sizeof broken - 1);
    kl__block_mend(to, (const unsigned char *)broken, &b);
    size_t n = 0;
    for (const char *c = mended; *c; c++, n++) {
        if (at >= to + b.whole)
            break;
        if (*c == '?') {
            assert_memory_equal(at, "\xef\xbf\xbd", 3);
            at += 3;
        } else {
            assert_int_equal(*at++, *c);
        }
    }
    assert_true(at == to + b.whole);
    kt_free_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(examples),         cmocka_unit_test(words),  cmocka_unit_test(the_rest),
        cmocka_unit_test(every_code_point), cmocka_unit_test(slices), cmocka_unit_test(blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
