/* Ids to text: never half a character, whatever the ids. */
#include "support/kt_vocab.h"

#include "base/str.h"

#include <stdio.h>
#include <string.h>

static const char *const words[] = {"\xe4\xb8", "\xb8\xad", "\xe4\xb8\xad", "hello", "\xff\xfe\xfd"};
enum { N_WORD = sizeof words / sizeof *words, SPECIAL = 256 + N_WORD };

static kl_tokenizer *tokenizer;

static int set_up(void **state)
{
    (void)state;
    tokenizer = kt_tokenizer(words, N_WORD);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    kl_tokenizer_close(tokenizer);
    kt_remove_files();
    return 0;
}

/* What each id gives, and the end, with a bar between them. */
static void assert_stream(const int32_t *id, bool show, const char *wanted)
{
    char found[300], *to = found;
    kl_decoder d = {.show_special = show};
    assert_true(kl_decoder_room(tokenizer) <= 200);
    for (; *id >= -1; id++) {
        to += kl_decoder_put(&d, to, tokenizer, *id);
        *to++ = '|';
    }
    to += kl_decoder_end(&d, to);
    *to = 0;
    assert_string_equal(found, wanted);
}
#define IDS(...) ((const int32_t[]){__VA_ARGS__, -2})
#define BAD "\xef\xbf\xbd"

static void streams(void **state)
{
    (void)state;
    assert_stream(IDS(259, '!', 259), false, "hello|!|hello|");
    assert_stream(IDS(258, 'x'), false, "\xe4\xb8\xad|x|");
    assert_stream(IDS(0xe4, 0xb8, 0xad), false, "||\xe4\xb8\xad|");
    assert_stream(IDS(256, 0xad, 256, 'x'), false, "|\xe4\xb8\xad||" BAD "x|");
    assert_stream(IDS(0xe4, 257), false, "|\xe4\xb8\xad|");
    assert_stream(IDS(256, 256, 0xad), false, "|" BAD "|\xe4\xb8\xad|");
    assert_stream(IDS(256), false, "|" BAD);
    assert_stream(IDS(0xf0, 0x9f, 0x98, 0x80), false, "|||\xf0\x9f\x98\x80|");
    assert_stream(IDS(0xf0, 0x9f, 0x98, 'a'), false, "|||" BAD "a|");
    assert_stream(IDS(0xf0, 0x9f, 0xf0, 0x9f), false, "||" BAD "||" BAD);
    assert_stream(IDS(0x80, 260, 0xed, 0xa0, 0x80), false, BAD "|" BAD BAD BAD "||" BAD BAD "|" BAD "|");
}

static void special_tokens(void **state)
{
    (void)state;
    assert_stream(IDS('a', SPECIAL + 2, 'b'), false, "a||b|");
    assert_stream(IDS('a', SPECIAL + 2, 'b'), true, "a|<|im_end|>|b|");
    assert_stream(IDS(256, SPECIAL + 1, 0xad), false, "|" BAD "|" BAD "|");
    assert_stream(IDS(256, SPECIAL + 1), true, "|" BAD "[EOS]|");
    assert_stream(IDS(256, SPECIAL + 256, -1), false, "|" BAD BAD "|" BAD "|"); /* no tokens */
}

/* Any ids give well-formed text, the same in a stream as at once. */
static void any_ids(void **state)
{
    (void)state;
    kt_rng r = {3};
    for (int round = 0; round < 2000; round++) {
        int32_t id[30];
        char stream[2000], at_once[2000];
        kl_decoder d = {.show_special = round % 2};
        size_t n = 0;
        for (int i = 0; i < 30; i++) {
            id[i] = (int32_t)(kt_below(&r, 3) ? 0x80 + kt_below(&r, 0x85) : kt_below(&r, SPECIAL + 3));
            size_t more = kl_decoder_put(&d, stream + n, tokenizer, id[i]);
            assert_true(more <= kl_decoder_room(tokenizer));
            assert_true(kl__utf8_valid((struct kl__str){stream + n, more}));
            n += more;
        }
        n += kl_decoder_end(&d, stream + n);
        assert_int_equal(kl_detokenize(at_once, sizeof at_once, tokenizer, id, 30, round % 2), n);
        assert_memory_equal(at_once, stream, n);
        assert_int_equal(kl_detokenize(NULL, 0, tokenizer, id, 30, round % 2), n);
    }
}

/* Well-formed text comes back as it was. */
static void there_and_back(void **state)
{
    (void)state;
    static const char text[] = "hello \xe4\xb8\xad\xe4\xb8\xad \xf0\x9f\x98\x80 <|im_end|>\n\xc3\xa9";
    int32_t id[100];
    char back[100];
    size_t n;
    KT_OK(kl_tokenize(id, 100, &n, tokenizer, kl_text_of(text), KL_MARKUP_PLAIN, KT_ERR));
    assert_int_equal(kl_detokenize(back, 100, tokenizer, id, n, false), sizeof text - 1);
    assert_memory_equal(back, text, sizeof text - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(streams),
        cmocka_unit_test(special_tokens),
        cmocka_unit_test(any_ids),
        cmocka_unit_test(there_and_back),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
