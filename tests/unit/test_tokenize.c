/* Text to ids: merging by rank, short words against long ones, markup, broken UTF-8, long runs, room. */
#include "support/kt_vocab.h"

#include "text/bpe.h"
#include "text/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const words[] = {"ab", "bc", "abc", "aa", "aaaa", "cd", "abcd", " a", "th", "he", "the", " the"};
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

static size_t encode(int32_t *ids, size_t room, kl_text text, kl_markup markup)
{
    size_t n;
    KT_OK(kl_tokenize(ids, room, &n, tokenizer, text, markup, KT_ERR));
    return n;
}

/* The ids as text; `wanted` has one number for each, -1 ends it. */
static void assert_ids(kl_text text, kl_markup markup, const int32_t *wanted)
{
    int32_t ids[200];
    size_t n = encode(ids, 200, text, markup), i = 0;
    for (; wanted[i] >= 0; i++)
        if (i >= n || ids[i] != wanted[i])
            fail_msg("%.*s: id %zu of %zu is %d, expected %d", (int)text.bytes, text.data, i, n, i < n ? ids[i] : -1,
                     wanted[i]);
    assert_int_equal(n, i);
}
#define IDS(...) ((const int32_t[]){__VA_ARGS__, -1})

static void merging(void **state)
{
    (void)state;
    assert_ids(kl_text_of("ab"), KL_MARKUP_PLAIN, IDS(256));
    assert_ids(kl_text_of("abc"), KL_MARKUP_PLAIN, IDS(258));
    assert_ids(kl_text_of("bcd"), KL_MARKUP_PLAIN, IDS(257, 'd'));   /* bc ranks below cd */
    assert_ids(kl_text_of("xabcd"), KL_MARKUP_PLAIN, IDS('x', 262)); /* ab, then abc, then abcd */
    assert_ids(kl_text_of("aaa"), KL_MARKUP_PLAIN, IDS(259, 'a'));   /* leftmost of equals */
    assert_ids(kl_text_of("aaaaaaa"), KL_MARKUP_PLAIN, IDS(260, 259, 'a'));
    assert_ids(kl_text_of("the the"), KL_MARKUP_PLAIN, IDS(266, 267));
    assert_int_equal(encode(NULL, 0, kl_text_of(""), KL_MARKUP_PLAIN), 0);
    assert_int_equal(encode(NULL, 0, (kl_text){0}, KL_MARKUP_PLAIN), 0);
}

/* Every rank again and again the lowest: slow and plainly right. */
static size_t slowly(int32_t *ids, const struct kl__vocab *v, const unsigned char *p, size_t bytes)
{
    size_t start[400], n = bytes;
    for (size_t i = 0; i <= n; i++)
        start[i] = i;
    for (;;) {
        int32_t best = INT32_MAX;
        size_t at = 0;
        for (size_t i = 0; i + 2 <= n; i++) {
            int32_t id = kl__vocab_find(v, p + start[i], start[i + 2] - start[i]);
            if (id >= 0 && id < best) {
                best = id;
                at = i;
            }
        }
        if (best == INT32_MAX)
            break;
        memmove(start + at + 1, start + at + 2, (n - at - 1) * sizeof *start);
        n--;
    }
    for (size_t i = 0; i < n; i++)
        ids[i] = kl__vocab_find(v, p + start[i], start[i + 1] - start[i]);
    return n;
}

static kl_status keep(void *user, const int32_t *ids, size_t n)
{
    int32_t **to = user;
    memcpy(*to, ids, n * sizeof *ids);
    *to += n;
    return KL_OK;
}

/* Around the length where the algorithm changes. */
static void short_and_long_words(void **state)
{
    (void)state;
    kt_rng r = {7};
    for (int i = 0; i < 3000; i++) {
        unsigned char text[300];
        size_t n = 1 + (size_t)kt_below(&r, i % 2 ? 90 : 300);
        int32_t wanted[300], found[300], *to = found;
        for (size_t j = 0; j < n; j++)
            text[j] = (unsigned char)('a' + kt_below(&r, i % 5 ? 4 : 1));
        struct kl__ids ids = {.hand_on = keep, .user = &to};
        struct kl__bpe_room room = {0};
        KT_OK(kl__bpe(&ids, &tokenizer->vocab, text, n, &room, KT_ERR));
        kl__ids_flush(&ids);
        free(room.memory);
        assert_int_equal(to - found, slowly(wanted, &tokenizer->vocab, text, n));
        assert_memory_equal(found, wanted, (size_t)(to - found) * sizeof *found);
    }
}

static void markup(void **state)
{
    (void)state;
    assert_ids(kl_text_of("[EOS]"), KL_MARKUP_PLAIN, IDS('[', 'E', 'O', 'S', ']'));
    assert_ids(kl_text_of("[EOS]"), KL_MARKUP_SPECIAL, IDS(SPECIAL + 1));
    assert_ids(kl_text_of("ab<|im_end|>ab"), KL_MARKUP_SPECIAL, IDS(256, SPECIAL + 2, 256));
    assert_ids(kl_text_of("<|im_end|>[BOS]<|im_endx"), KL_MARKUP_SPECIAL,
               IDS(SPECIAL + 2, SPECIAL, '<', '|', 'i', 'm', '_', 'e', 'n', 'd', 'x'));
    assert_ids(kl_text_of("<<|reserved_token_273|>"), KL_MARKUP_SPECIAL, IDS('<', SPECIAL + 5));
    /* The text in front ends at the token: its spaces are the last of a text. */
    assert_ids(kl_text_of("  [PAD]  a"), KL_MARKUP_SPECIAL, IDS(' ', ' ', SPECIAL + 255, ' ', 263));
    kl_error err;
    size_t n;
    KT_ASSERT_FAILED(kl_tokenize(NULL, 0, &n, tokenizer, kl_text_of("a"), (kl_markup)7, &err), KL_ERR_ARGUMENT, &err,
                     "markup", "7");
}

static void broken_text(void **state)
{
    (void)state;
    assert_ids((kl_text){"a\xff\xe4\xb8"
                         "b\0c",
                         7},
               KL_MARKUP_PLAIN, IDS('a', 0xef, 0xbf, 0xbd, 0xef, 0xbf, 0xbd, 'b', 0, 'c'));
    assert_ids(kl_text_of("\xed\xa0\x80"), KL_MARKUP_PLAIN,
               IDS(0xef, 0xbf, 0xbd, 0xef, 0xbf, 0xbd, 0xef, 0xbf, 0xbd)); /* half of a surrogate pair */
}

/* A million of the same: the reference cuts after 25,000, which shows in the ids. */
static void long_runs(void **state)
{
    (void)state;
    enum { N = 1000000 };
    static const char fill[] = "a \nZ!0";
    char *text = kt_bytes(N);
    int32_t *ids = kt_bytes(N * sizeof *ids), *some = kt_bytes(25000 * sizeof *some);
    for (const char *c = fill; *c; c++) {
        memset(text, *c, N);
        size_t n = encode(ids, N, (kl_text){text, N}, KL_MARKUP_PLAIN);
        size_t n_some = encode(some, 25000, (kl_text){text, 25000}, KL_MARKUP_PLAIN);
        assert_int_equal(n, n_some * (N / 25000));
        for (size_t i = 0; i < n; i += n_some)
            assert_memory_equal(ids + i, some, n_some * sizeof *ids);
    }
    memset(text, 'a', 25003);
    assert_int_equal(encode(ids, N, (kl_text){text, 25003}, KL_MARKUP_PLAIN), 6250 + 2); /* not 6251 */
    kt_free_all();
}

static void room_and_portions(void **state)
{
    (void)state;
    int32_t ids[5] = {-7, -7, -7, -7, -7};
    assert_int_equal(encode(ids, 3, kl_text_of("xyzzy xy"), KL_MARKUP_PLAIN), 8);
    assert_true(ids[2] == 'z' && ids[3] == -7);
    char *text = kt_bytes(5000);
    int32_t *all = kt_bytes(5000 * sizeof *all), *whole = kt_bytes(5000 * sizeof *whole), *to = all;
    for (int i = 0; i < 5000; i++)
        text[i] = "the abcd! "[i % 10];
    KT_OK(kl_tokenize_each(keep, &to, tokenizer, (kl_text){text, 5000}, KL_MARKUP_PLAIN, KT_ERR));
    assert_int_equal(to - all, encode(whole, 5000, (kl_text){text, 5000}, KL_MARKUP_PLAIN));
    assert_memory_equal(all, whole, (size_t)(to - all) * sizeof *all);
    kt_free_all();
}

static kl_status refuse(void *user, const int32_t *ids, size_t n)
{
    (void)ids;
    *(size_t *)user += n;
    return KL_ERR_CANCELLED;
}

static void a_sink_that_refuses(void **state)
{
    (void)state;
    size_t n = 0;
    char *text = memset(kt_bytes(5000), '!', 5000);
    assert_int_equal(kl_tokenize_each(refuse, &n, tokenizer, (kl_text){text, 5000}, KL_MARKUP_PLAIN, NULL),
                     KL_ERR_CANCELLED);
    assert_true(n > 0 && n < 5000); /* it is asked once */
    kt_free_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merging),
        cmocka_unit_test(short_and_long_words),
        cmocka_unit_test(markup),
        cmocka_unit_test(broken_text),
        cmocka_unit_test(long_runs),
        cmocka_unit_test(room_and_portions),
        cmocka_unit_test(a_sink_that_refuses),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
