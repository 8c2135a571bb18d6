/* Learning a tokenizer: merges as one would count them by hand, and the same as a plain program finds; text comes back;
 * files that the tokenizer opens. */
#include "klinear/kl.h"
#include "support/kt_file.h"

#include "klinear/kl_train.h"
#include "train/bpe_learn.h"

#include <stdio.h>
#include <string.h>

static const char *const special[] = {"[BOS]", "[EOS]"};

static kl_bpe *learn(kl_text text, int64_t n_rank, int64_t *n_made)
{
    kl_bpe *b;
    KT_OK(kl_bpe_open(&b, NULL, KT_ERR));
    KT_OK(kl_bpe_add(b, text, KT_ERR));
    KT_OK(kl_bpe_learn(b, n_rank, n_made, KT_ERR));
    return b;
}

static struct kl__token token_of(const kl_bpe *b, int64_t i)
{
    assert_true(i < b->token.n);
    return ((struct kl__token *)b->token.item)[i];
}

static void by_hand(void **state)
{
    (void)state;
    int64_t n;
    /* " low" 3 times: " l", "lo", "ow" come 3, 3 and 3 times besides what "lower" and "slow" add: "ow" 6, "lo" 6. */
    kl_bpe *b = learn(kl_text_of("low low low lower lower slow"), 300, &n);
    struct kl__token first = token_of(b, 256), second = token_of(b, 257);
    assert_true(first.left == 'l' && first.right == 'o'); /* as often as "ow", and first by its ids */
    assert_true(second.left == 256 && second.right == 'w');
    assert_true(token_of(b, 258).left == ' ' && token_of(b, 258).right == 257); /* " low" and " lower": 4 times */
    assert_true(n > 258 && n < 300);                                            /* then nothing comes twice */
    kl_bpe_close(b);
    b = learn(kl_text_of("aaaaaaa aaaaaaa"), 258, &n); /* pairs that overlap: aa aa aa a */
    assert_true(token_of(b, 256).left == 'a' && token_of(b, 256).right == 'a');
    assert_true(token_of(b, 257).left == 256 && token_of(b, 257).right == 256);
    kl_bpe_close(b);
}

/* --------------------------------------------------------------------------------------- against a plain program -- */

enum { MOST_SYMBOLS = 6000, RANKS = 256 + 150 };

/* Counts every pair anew for each token; words end with -1. */
static void plainly(int32_t *s, int n, int32_t pairs[RANKS][2], int *n_rank)
{
    static int count[RANKS][RANKS];
    for (*n_rank = 256; *n_rank < RANKS; ++*n_rank) {
        int a = 0, b = 0, m = 0;
        memset(count, 0, sizeof count);
        for (int i = 0; i + 1 < n; i++)
            if (s[i] >= 0 && s[i + 1] >= 0)
                count[s[i]][s[i + 1]]++;
        for (int i = 0; i < RANKS; i++)
            for (int j = 0; j < RANKS; j++)
                if (count[i][j] > count[a][b]) {
                    a = i;
                    b = j;
                }
        if (count[a][b] < 2)
            return;
        pairs[*n_rank][0] = a;
        pairs[*n_rank][1] = b;
        for (int i = 0; i < n; i++) {
            bool here = i + 1 < n && s[i] == a && s[i + 1] == b;
            s[m++] = here ? *n_rank : s[i];
            i += here;
        }
        n = m;
    }
}

/* Words of random syllables, one letter repeated now and then. */
static int make_text(kt_rng *r, char *text, int most)
{
    int n = 0;
    while (n < most - 20) {
        text[n++] = ' ';
        for (int64_t k = 1 + kt_below(r, 4); k > 0; k--) {
            n += snprintf(text + n, 4, "%c%c", "bdfgklmnprst"[kt_below(r, 12)], "aeiou"[kt_below(r, 5)]);
            if (kt_below(r, 4) == 0)
                text[n++] = 'e';
        }
    }
    return n;
}

static void as_a_plain_program(void **state)
{
    (void)state;
    static char text[4000];
    static int32_t symbol[MOST_SYMBOLS], pairs[RANKS][2];
    for (uint64_t seed = 0; seed < 5; seed++) {
        kt_rng r = {seed};
        int n = make_text(&r, text, sizeof text), m = 0, n_rank;
        for (int i = 0; i < n; i++) { /* a space begins a word */
            if (text[i] == ' ')
                symbol[m++] = -1;
            symbol[m++] = (unsigned char)text[i];
        }
        plainly(symbol, m, pairs, &n_rank);
        int64_t made;
        kl_bpe *b = learn((kl_text){text, (size_t)n}, RANKS, &made);
        assert_int_equal(made, n_rank);
        for (int i = 256; i < n_rank; i++)
            assert_true(token_of(b, i).left == pairs[i][0] && token_of(b, i).right == pairs[i][1]);
        kl_bpe_close(b);
    }
}

static void text_comes_back(void **state)
{
    (void)state;
    static const char text[] =
        "It was the best of times, it was the worst of times; 1859 \xc3\xa9t\xc3\xa9 \xe5\xae\x9f";
    int64_t n;
    kl_bpe *b = learn(kl_text_of(text), 280, &n);
    const char *folder = kt_make_directory("tokenizer");
    KT_OK(kl_bpe_write(b, folder, special, 2, KT_ERR));
    kl_tokenizer *t;
    KT_OK(kl_tokenizer_open(&t, folder, NULL, KT_ERR));
    assert_int_equal(kl_tokenizer_n_vocab(t), n + 2);
    assert_int_equal(kl_tokenizer_special(t, "[EOS]"), n + 1);
    int32_t ids[200];
    size_t n_id, n_text;
    KT_OK(kl_tokenize(ids, 200, &n_id, t, kl_text_of(text), KL_MARKUP_PLAIN, KT_ERR));
    assert_true(n_id < strlen(text) - 15);
    char back[200];
    n_text = kl_detokenize(back, sizeof back, t, ids, n_id, KL_MARKUP_PLAIN);
    assert_true(n_text == strlen(text) && memcmp(back, text, n_text) == 0);
    kl_tokenizer_close(t);
    kl_bpe_close(b);
}

static void refusals(void **state)
{
    (void)state;
    kl_error err;
    kl_bpe *b;
    KT_OK(kl_bpe_open(&b, NULL, KT_ERR));
    KT_OK(kl_bpe_add(b, kl_text_of("\xff\xfe broken"), KT_ERR));
    KT_ASSERT_FAILED(kl_bpe_learn(b, 255, NULL, &err), KL_ERR_ARGUMENT, &err, "n_rank is 255");
    KT_ASSERT_FAILED(kl_bpe_write(b, "/tmp", special, 2, &err), KL_ERR_ARGUMENT, &err, "nothing");
    KT_OK(kl_bpe_learn(b, 256, NULL, KT_ERR));
    KT_ASSERT_FAILED(kl_bpe_learn(b, 300, NULL, &err), KL_ERR_ARGUMENT, &err, "once");
    KT_ASSERT_FAILED(kl_bpe_write(b, kt_path("nowhere"), special, 2, &err), KL_ERR_IO, &err, "nowhere");
    static const char *const bad[] = {"a\"b"};
    KT_ASSERT_FAILED(kl_bpe_write(b, "/tmp", bad, 1, &err), KL_ERR_ARGUMENT, &err, "special token 0");
    kl_bpe_close(b);
    kl_bpe_close(NULL);
}

/* Memory that runs out at any moment is said, and none stays behind. */
static void without_memory(void **state)
{
    (void)state;
    static char text[4000];
    kt_rng r = {3};
    int n = make_text(&r, text, sizeof text);
    bool done = false;
    for (int64_t fail_at = 1; !done; fail_at++) {
        struct kt_heap heap;
        kt_heap_init(&heap, fail_at);
        kl_bpe *b = NULL;
        kl_error err;
        done = kl_bpe_open(&b, &heap.alloc, &err) == KL_OK &&
               kl_bpe_add(b, (kl_text){text, (size_t)n}, &err) == KL_OK && kl_bpe_learn(b, 300, NULL, &err) == KL_OK;
        assert_true(done || err.status == KL_ERR_MEMORY);
        kl_bpe_close(b);
        assert_int_equal(heap.n_out, 0);
    }
}

static int clean_up(void **state)
{
    (void)state;
    kt_remove_files();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_hand),
        cmocka_unit_test(as_a_plain_program),
        cmocka_unit_test_teardown(text_comes_back, clean_up),
        cmocka_unit_test(refusals),
        cmocka_unit_test(without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
