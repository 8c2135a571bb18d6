/* Shards and the streams out of them: every token once an epoch, documents apart, parts, going on; damaged files. */
#include "support/kt_file.h"

#include "base/hash.h"
#include "train/shard.h"

#include <stdio.h>
#include <string.h>

enum { MOST = 4096 };

/* Documents whose tokens say where they come from: document n has length n_of(n) and tokens that count up. */
static int64_t n_of(int64_t document)
{
    return 1 + document * 7 % 23;
}

static const char *write_shard(const char *name, int64_t n_document, int32_t first, int64_t n_vocab)
{
    kl_shard_writer *w;
    int32_t token[MOST], next = first;
    const char *path = kt_path(name);
    KT_OK(kl_shard_create(&w, path, n_vocab, NULL, KT_ERR));
    for (int64_t i = 0; i < n_document; i++) {
        for (int64_t t = 0; t < n_of(i); t++)
            token[t] = next++;
        KT_OK(kl_shard_add(w, token, n_of(i), KT_ERR));
    }
    KT_OK(kl_shard_finish(w, KT_ERR));
    return path;
}

static kl_data *open_data(const kl_source *source, int n, int64_t row, uint64_t seed)
{
    kl_data *d;
    kl_data_options o = {.source = source, .n_source = n, .n_vocab = 100000, .row = row, .seed = seed};
    KT_OK(kl_data_open(&d, &o, KT_ERR));
    return d;
}

static int32_t token[MOST], label[MOST];
static int64_t cu[MOST + 1], n_seq;

/* Three epochs of one source: every token but the last of each document comes three times, with its own successor, and
 * sequences are stretches of documents. */
static void every_token_once(void **state)
{
    (void)state;
    for (int wide = 0; wide < 2; wide++) {
        const int32_t first = wide ? 70000 : 100;
        const kl_source source = {write_shard(wide ? "wide" : "narrow", 40, first, wide ? 90000 : 60000), 1};
        kl_data *d = open_data(&source, 1, 10, 3);
        int seen[2000] = {0};
        int64_t epoch = kl_data_epoch_tokens(d, 0), n = 0;
        while (n < 3 * epoch) {
            kl_data_next(d, 1, token, label, cu, &n_seq);
            assert_true(cu[0] == 0 && cu[n_seq] == 10);
            for (int64_t s = 0; s < n_seq; s++)
                for (int64_t t = cu[s]; t < cu[s + 1]; t++) {
                    assert_int_equal(label[t], token[t] + 1);
                    assert_true(t == cu[s] || token[t] == token[t - 1] + 1);
                    if (n++ < 3 * epoch)
                        seen[token[t] - first]++;
                }
        }
        int32_t at = 0;
        for (int64_t i = 0; i < 40; i++)
            for (int64_t t = 0; t < n_of(i); t++, at++)
                assert_int_equal(seen[at], t + 1 < n_of(i) ? 3 : 0);
        kl_data_close(d);
    }
}

/* The order changes with the epoch and the seed, and is no order that one would write down. */
static void shuffles(void **state)
{
    (void)state;
    const kl_source source = {write_shard("a", 100, 0, 60000), 1};
    int32_t first[2][MOST];
    for (int seed = 0; seed < 2; seed++) {
        kl_data *d = open_data(&source, 1, 8, (uint64_t)seed);
        int64_t rows = kl_data_epoch_tokens(d, 0) / 8, rising = 0;
        kl_data_next(d, rows, first[seed], label, cu, &n_seq);
        for (int64_t s = 1; s < n_seq; s++)
            rising += first[seed][cu[s]] > first[seed][cu[s - 1]];
        assert_true(rising > n_seq / 4 && rising < 3 * n_seq / 4);
        kl_data_next(d, rows, token, label, cu, &n_seq);
        assert_true(memcmp(token, first[seed], (size_t)rows * 8 * sizeof *token) != 0);
        kl_data_close(d);
    }
    assert_true(memcmp(first[0], first[1], 800 * sizeof *token) != 0);
}

static void parts(void **state)
{
    (void)state;
    const kl_source source[] = {{write_shard("a", 30, 0, 60000), 3}, {write_shard("b", 50, 30000, 60000), 1}};
    kl_data *d = open_data(source, 2, 16, 1);
    int64_t n[2] = {0};
    for (int i = 0; i < 500; i++) {
        kl_data_next(d, 4, token, label, cu, &n_seq);
        for (int t = 0; t < 64; t++)
            n[token[t] >= 30000]++;
        assert_true(n[0] - 3 * n[1] < 200 && 3 * n[1] - n[0] < 200);
    }
    kl_data_close(d);
}

/* Of what is in the shards and the options, and of nothing else. */
static void has_an_order(void **state)
{
    (void)state;
    const char *a = write_shard("a", 30, 0, 60000), *same = write_shard("c", 30, 0, 60000);
    const char *b = write_shard("b", 30, 1, 60000);
    const struct {
        kl_source source[2];
        int64_t row;
        uint64_t seed;
        bool alike;
    } with[] = {{{{a, 2}, {b, 1}}, 16, 1, true},  {{{same, 1}, {b, 1}}, 16, 1, true}, {{{b, 1}, {a, 2}}, 16, 1, false},
                {{{a, 2}, {a, 1}}, 16, 1, false}, {{{a, 2}, {b, 1}}, 17, 1, false},   {{{a, 2}, {b, 1}}, 16, 2, false}};
    uint64_t first = 0;
    for (size_t i = 0; i < sizeof with / sizeof *with; i++) {
        kl_data *d = open_data(with[i].source, 2, with[i].row, with[i].seed);
        first = i ? first : kl_data_order(d);
        assert_int_equal(kl_data_order(d) == first, with[i].alike);
        kl_data_close(d);
    }
}

static void goes_on(void **state)
{
    (void)state;
    const kl_source source[] = {{write_shard("a", 30, 0, 60000), 2}, {write_shard("b", 50, 30000, 60000), 1}};
    for (int at = 0; at < 60; at++) {
        kl_data *whole = open_data(source, 2, 16, 1), *part = open_data(source, 2, 16, 1);
        for (int i = 0; i < at; i++)
            kl_data_next(whole, 3, token, label, cu, &n_seq);
        kl_data_place place = kl_data_place_of(whole);
        KT_OK(kl_data_go(part, &place, KT_ERR));
        int32_t want[48 * 2];
        kl_data_next(whole, 6, want, label, cu, &n_seq);
        kl_data_next(part, 6, token, label, cu, &n_seq);
        assert_memory_equal(token, want, sizeof want);
        place.piece[1] = 1 << 30;
        kl_error err;
        KT_ASSERT_FAILED(kl_data_go(part, &place, &err), KL_ERR_ARGUMENT, &err, "no place");
        kl_data_close(whole);
        kl_data_close(part);
    }
}

/* ---------------------------------------------------------------------------------------------------- bad shards -- */

static char bad[512]; /* its path: kt_path() keeps only the last few */

static void refused(const void *file, size_t bytes, const char *why)
{
    kl_error err;
    struct kl__shard s;
    const char *path = kt_write_file(bad, file, bytes);
    KT_ASSERT_FAILED(kl__shard_open(&s, path, 1000, &err), KL_ERR_FORMAT, &err, "bad", why);
}

/* With a checksum that is right, so that the fault itself is found. */
static void sign(unsigned char *file, size_t bytes)
{
    struct kl__hash *h = kl__hash_open();
    struct kl__shard_header *header = (struct kl__shard_header *)(void *)file;
    memset(header->checksum, 0, sizeof header->checksum);
    kl__hash_add(h, file + sizeof *header, bytes - sizeof *header);
    kl__hash_add(h, file, sizeof *header);
    kl__hash_value(h, header->checksum);
    kl__hash_close(h);
}

static void damaged(void **state)
{
    (void)state;
    char path[512];
    snprintf(path, sizeof path, "%s", write_shard("good", 5, 0, 500));
    snprintf(bad, sizeof bad, "%s", kt_path("bad"));
    size_t n;
    unsigned char *good = kt_read_file(path, &n);
    for (size_t cut = 0; cut < n; cut++)
        refused(good, cut, cut < 64 ? "no shard" : "cut short");
    for (size_t bit = 0; bit < 8 * n; bit++) {
        good[bit / 8] ^= (unsigned char)(1 << bit % 8);
        refused(good, n, "");
        good[bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
    int64_t *start = (int64_t *)(void *)(good + n - 6 * sizeof *start);
    start[2] = start[1];
    sign(good, n);
    refused(good, n, "document 1 is empty");
    start[2] = start[3] + 1;
    sign(good, n);
    refused(good, n, "is empty");
    start[5]--;
    sign(good, n);
    refused(good, n, "documents that do not hold");
    good = kt_read_file(path, &n);
    ((uint16_t *)(void *)good)[32 + 7] = 500;
    sign(good, n);
    refused(good, n, "token 7 is 500");
    kl_error err;
    struct kl__shard s;
    KT_ASSERT_FAILED(kl__shard_open(&s, path, 499, &err), KL_ERR_FORMAT, &err, "good", "500", "499");
    kt_free_all();
}

static void writing(void **state)
{
    (void)state;
    kl_error err;
    kl_shard_writer *w;
    int32_t ids[] = {1, 500};
    KT_ASSERT_FAILED(kl_shard_create(&w, kt_path("x"), 0, NULL, &err), KL_ERR_ARGUMENT, &err, "n_vocab is 0");
    KT_OK(kl_shard_create(&w, kt_path("x"), 500, NULL, KT_ERR));
    KT_ASSERT_FAILED(kl_shard_add(w, ids, 0, &err), KL_ERR_ARGUMENT, &err, "document 0 is empty");
    KT_ASSERT_FAILED(kl_shard_add(w, ids, 2, &err), KL_ERR_ARGUMENT, &err, "token 1", "is 500");
    KT_ASSERT_FAILED(kl_shard_finish(w, &err), KL_ERR_ARGUMENT, &err, "no documents");
    kl_shard_abandon(NULL);
    KT_OK(kl_shard_create(&w, kt_path("x"), 500, NULL, KT_ERR));
    KT_OK(kl_shard_add(w, ids, 1, KT_ERR));
    KT_OK(kl_shard_finish(w, KT_ERR));
    kl_data *d;
    const kl_source source = {kt_path("x"), 1};
    kl_data_options o = {.source = &source, .n_source = 1, .n_vocab = 500, .row = 8};
    KT_ASSERT_FAILED(kl_data_open(&d, &o, &err), KL_ERR_FORMAT, &err, "nothing to foresee");
    const kl_source none = {kt_path("x"), 0};
    o.source = &none;
    KT_ASSERT_FAILED(kl_data_open(&d, &o, &err), KL_ERR_ARGUMENT, &err, "weight 0");
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
        cmocka_unit_test_teardown(every_token_once, clean_up),
        cmocka_unit_test_teardown(shuffles, clean_up),
        cmocka_unit_test_teardown(parts, clean_up),
        cmocka_unit_test_teardown(has_an_order, clean_up),
        cmocka_unit_test_teardown(goes_on, clean_up),
        cmocka_unit_test_teardown(damaged, clean_up),
        cmocka_unit_test_teardown(writing, clean_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
