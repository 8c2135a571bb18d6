/* safetensors, one file: what is read is what was written, and a file that breaks any rule is refused. */
#include "support/kt_file.h"

#include "format/store.h"

#include <stdlib.h>
#include <string.h>

static const char name_of_file[] = "small.safetensors";

/* A file with this header (padded as the format does) and `buffer` bytes, which count up. */
static void make(struct kt_image *file, const char *header, size_t buffer)
{
    *file = (struct kt_image){0};
    kt_put_u64(file, strlen(header));
    kt_put_text(file, header);
    for (size_t i = 0; i < buffer; i++)
        kt_put(file, &(unsigned char){(unsigned char)i}, 1);
}

static kl_status open_bytes(struct kl__store **store, const void *data, size_t n, void **copy, kl_error *err)
{
    *copy = malloc(n ? n : 1);
    assert_non_null(*copy);
    memcpy(*copy, data, n);
    kl_status status = kl__store_open_bytes(store, name_of_file, *copy, n, NULL, err);
    if (status != KL_OK)
        free(*copy);
    return status;
}

#define ENTRY(name, dtype, shape, begin, end)                                                                          \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":[" shape "],\"data_offsets\":[" begin "," end "]}"

static const char good[] =
    "{\"__metadata__\":{\"format\":\"pt\",\"a\\u00e9\":\"\"}," ENTRY("b", "BF16", "2,3", "8", "20") "," ENTRY(
        "one", "F32", "", "0", "4") "," ENTRY("none", "F32", "0,7", "4", "4") "," ENTRY("q\\\"t", "I32", "1", "4",
                                                                                        "8") "}   ";

static void a_small_file(void **state)
{
    (void)state;
    struct kt_image file;
    struct kl__store *st;
    struct kl__str text;
    void *copy;
    make(&file, good, 20);
    KT_OK(open_bytes(&st, file.data, file.n, &copy, KT_ERR));
    assert_string_equal(st->format, "safetensors");
    assert_int_equal(st->n_tensor, 4);
    const unsigned char *buffer = (const unsigned char *)copy + 8 + strlen(good);
    const struct kl__stored *b = kl__store_find(st, "b"), *one = kl__store_find(st, "one");
    const struct kl__stored *none = kl__store_find(st, "none"), *quoted = kl__store_find(st, "q\"t");
    assert_true(b && one && none && quoted);
    assert_true(b->type == KL__TYPE_BF16 && b->n_dim == 2 && b->dim[0] == 2 && b->dim[1] == 3 && b->bytes == 12);
    assert_true(b->data == buffer + 8 && one->data == buffer && one->n_dim == 0 && one->bytes == 4);
    assert_true(none->bytes == 0 && none->n_dim == 2 && kl__stored_elements(none) == 0);
    assert_true(quoted->data == buffer + 4 && quoted->type == KL__TYPE_I32);
    assert_int_equal(kl__stored_elements(one), 1);
    KT_OK(kl__store_string(&text, st, "format", KT_ERR));
    assert_true(kl__str_same(text, kl__str("pt")));
    KT_OK(kl__store_string(&text, st, "a\xc3\xa9", KT_ERR));
    assert_int_equal(text.bytes, 0);
    kl__store_close(st);
    free(copy);

    make(&file, "{}", 0);
    KT_OK(open_bytes(&st, file.data, file.n, &copy, KT_ERR));
    assert_int_equal(st->n_tensor, 0);
    kl__store_close(st);
    free(copy);
}

/* A build without a JSON library says so. */
static void without_json(void **state)
{
    (void)state;
    struct kt_image file;
    struct kl__store *st;
    void *copy;
    kl_error err;
    make(&file, good, 20);
    KT_ASSERT_FAILED(open_bytes(&st, file.data, file.n, &copy, &err), KL_ERR_UNSUPPORTED, &err, name_of_file,
                     "jansson");
}

struct fault {
    const char *header;
    size_t buffer;
    kl_status status;
    const char *word[3];
};

#define A(dtype, shape, begin, end) "{" ENTRY("a", dtype, shape, begin, end) "}"
#define TWO(begin_a, end_a, begin_b, end_b)                                                                            \
    "{" ENTRY("a", "U8", "4", begin_a, end_a) "," ENTRY("b", "U8", "4", begin_b, end_b) "}"

static const struct fault faults[] = {
    /* the object around everything */
    {"[]", 0, KL_ERR_FORMAT, {name_of_file, "begin with '{'"}},
    {" {}", 0, KL_ERR_FORMAT, {"begin with '{'"}},
    {"{}\n", 0, KL_ERR_FORMAT, {"0x0a", "spaces"}},
    {"{} x", 0, KL_ERR_FORMAT, {"0x78"}},
    {"{}{}", 0, KL_ERR_FORMAT, {"byte 2", "nothing more"}},
    {"{", 0, KL_ERR_FORMAT, {"0x7b"}},
    {"{\"a\" }", 0, KL_ERR_FORMAT, {"found '}'", "':'"}},
    {"{\"a\":1,}", 0, KL_ERR_FORMAT, {"byte 7", "found '}'"}},
    {"{a:1}", 0, KL_ERR_FORMAT, {"byte 1", "found 'a'", "'\"'"}},
    {"{\"a:1}", 0, KL_ERR_FORMAT, {"found the end"}},
    {"{\"a\":1]}", 0, KL_ERR_FORMAT, {"found ']'"}},
    {"{" ENTRY("a", "U8", "", "0", "1") "}}", 1, KL_ERR_FORMAT, {"nothing more"}},
    {"{" ENTRY("a", "U8", "", "0", "1") " " ENTRY("b", "U8", "", "1", "2") "}",
     2,
     KL_ERR_FORMAT,
     {"'a'", "end of file expected"}},
    /* names */
    {"{" ENTRY("a", "U8", "", "0", "1") "," ENTRY("a", "U8", "", "1", "2") "}", 2, KL_ERR_FORMAT, {"'a'", "twice"}},
    {"{" ENTRY("a", "U8", "", "0", "1") "," ENTRY("\\u0061", "U8", "", "1", "2") "}",
     2,
     KL_ERR_FORMAT,
     {"'a'", "twice"}},
    {"{" ENTRY("", "U8", "", "0", "1") "}", 1, KL_ERR_FORMAT, {"empty name"}},
    {"{" ENTRY("a\xff", "U8", "", "0", "1") "}", 1, KL_ERR_FORMAT, {"name of a tensor", "unable to decode"}},
    {"{" ENTRY("\xed\xa0\x80", "U8", "", "0", "1") "}", 1, KL_ERR_FORMAT, {"name of a tensor", "unable to decode"}},
    {"{" ENTRY("a\\u0000", "U8", "", "0", "1") "}", 1, KL_ERR_FORMAT, {"\\u0000"}},
    {"{" ENTRY("a\\ud800", "U8", "", "0", "1") "}", 1, KL_ERR_FORMAT, {"\\uD800"}},
    {"{" ENTRY("a\nb", "U8", "", "0", "1") "}", 1, KL_ERR_FORMAT, {"unexpected newline"}},
    /* the fields of an entry */
    {"{\"a\":{}}", 0, KL_ERR_FORMAT, {"'a'", "dtype"}},
    {"{\"a\":[]}", 0, KL_ERR_FORMAT, {"'a'", "dtype"}},
    {"{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\"}}", 0, KL_ERR_FORMAT, {"'a'", "duplicate"}},
    {"{\"a\":{\"dtype\":7,\"shape\":[],\"data_offsets\":[0,1]}}", 1, KL_ERR_FORMAT, {"'a'", "string 'dtype'"}},
    {"{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1, KL_ERR_FORMAT, {"'a'", "'shape'"}},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[]}}", 1, KL_ERR_FORMAT, {"'a'", "'data_offsets'"}},
    {A("F7", "", "0", "1"), 1, KL_ERR_FORMAT, {"'a'", "F7", "BF16"}},
    {A("bf16", "", "0", "2"), 2, KL_ERR_FORMAT, {"'dtype' is bf16"}},
    {A("U8", "1.0", "0", "1"), 1, KL_ERR_FORMAT, {"'a'", "'shape'"}},
    {A("U8", "-1", "0", "1"), 1, KL_ERR_FORMAT, {"'a'", "'shape'"}},
    {A("U8", "\"1\"", "0", "1"), 1, KL_ERR_FORMAT, {"'a'", "'shape'"}},
    {A("U8", "true", "0", "1"), 1, KL_ERR_FORMAT, {"'a'", "'shape'"}},
    {A("U8", "1,1,1,1,1,1,1", "0", "1"), 1, KL_ERR_FORMAT, {"'a'", "at most 6"}},
    {A("U8", "4294967296,4294967296", "0", "1"), 1, KL_ERR_FORMAT, {"'a'", "63 bits"}},
    {A("F64", "4294967296,1073741824", "0", "1"), 1, KL_ERR_FORMAT, {"'a'", "63 bits"}},
    {A("U8", "0,4294967296,4294967296", "0", "1"), 1, KL_ERR_FORMAT, {"'a'", "1 bytes, expected 0"}},
    {A("U8", "99999999999999999999", "0", "1"), 1, KL_ERR_FORMAT, {"'a'", "too big integer"}},
    {A("U8", "NaN", "0", "1"), 1, KL_ERR_FORMAT, {"'a'", "invalid token"}},
    {A("U8", "1e999", "0", "1"), 1, KL_ERR_FORMAT, {"'a'", "overflow"}},
    /* places */
    {A("U8", "1", "-1", "0"), 1, KL_ERR_FORMAT, {"'a'", "'data_offsets'"}},
    {A("U8", "1", "1", "0"), 1, KL_ERR_FORMAT, {"'a'", "bytes 1 to 0"}},
    {A("U8", "4", "0", "4"), 3, KL_ERR_FORMAT, {"'a'", "bytes 0 to 4 of a buffer of 3"}},
    {A("U8", "1", "9223372036854775806", "9223372036854775807"), 1, KL_ERR_FORMAT, {"9223372036854775807"}},
    {A("F32", "2", "0", "4"), 4, KL_ERR_FORMAT, {"'a'", "F32 [2]", "4 bytes, expected 8"}},
    {A("U8", "1", "0,1", "2"), 1, KL_ERR_FORMAT, {"'data_offsets'"}},
    {A("U8", "4", "0", "4"), 5, KL_ERR_FORMAT, {"end at byte 4", "buffer of 5"}},
    {"{}", 1, KL_ERR_FORMAT, {"end at byte 0", "buffer of 1"}},
    {TWO("0", "4", "4", "8"), 9, KL_ERR_FORMAT, {"buffer of 9"}},
    {TWO("0", "4", "5", "9"), 9, KL_ERR_FORMAT, {"'b'", "byte 5", "a hole"}},
    {TWO("1", "5", "5", "9"), 9, KL_ERR_FORMAT, {"'a'", "byte 1", "a hole"}},
    {TWO("0", "4", "3", "7"), 7, KL_ERR_FORMAT, {"'b'", "byte 3", "an overlap"}},
    {TWO("0", "4", "0", "4"), 4, KL_ERR_FORMAT, {"byte 0", "expected 4", "an overlap"}},
    {"{" ENTRY("a", "U8", "4", "0", "4") "," ENTRY("z", "U8", "0", "2", "2") "}", 4, KL_ERR_FORMAT, {"'z'", "overlap"}},
    /* metadata */
    {"{\"__metadata__\":[]}", 0, KL_ERR_FORMAT, {"__metadata__", "'{'"}},
    {"{\"__metadata__\":{\"a\":1}}", 0, KL_ERR_FORMAT, {"__metadata__", "found 1", "a string"}},
    {"{\"__metadata__\":{\"a\":\"\",\"a\":\"\"}}", 0, KL_ERR_FORMAT, {"'a'", "twice"}},
    {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, KL_ERR_FORMAT, {"'__metadata__'", "twice"}},
    {"{\"__metadata__\":{\"a\":\"\"}", 0, KL_ERR_FORMAT, {"found the end"}},
};

static void every_fault_gets_its_sentence(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        const struct fault *f = &faults[i];
        struct kt_image file;
        struct kl__store *st;
        void *copy;
        kl_error err = {0};
        make(&file, f->header, f->buffer);
        int n_word = 0;
        while (n_word < 3 && f->word[n_word])
            n_word++;
        kl_status status = open_bytes(&st, file.data, file.n, &copy, &err);
        if (status == KL_OK)
            fail_msg("opened: %s", f->header);
        kt_assert_failed(status, f->status, &err, f->word, n_word);
        assert_non_null(strstr(err.text, name_of_file));
    }
}

/* What the eight bytes at the front may claim. */
static void the_length_of_the_header(void **state)
{
    (void)state;
    static const struct {
        uint64_t length;
        const char *word[2];
    } claim[] = {
        {0, {"begin with '{'", ""}},
        {3, {"3 bytes", "has 2 behind"}},
        {100000000, {"100000000 bytes", "has 2 behind"}},
        {100000001, {"100000001 bytes", "allowed are 100000000"}},
        {UINT64_MAX, {"18446744073709551615", "allowed are 100000000"}},
        {UINT64_MAX - 7, {"18446744073709551608", "allowed"}},
    };
    struct kt_image file;
    struct kl__store *st;
    kl_error err;
    void *copy;
    for (size_t i = 0; i < sizeof claim / sizeof *claim; i++) {
        make(&file, "{}", 0);
        memcpy(file.data, &claim[i].length, 8);
        kt_assert_failed(open_bytes(&st, file.data, file.n, &copy, &err), KL_ERR_FORMAT, &err, claim[i].word, 2);
    }
    KT_ASSERT_FAILED(open_bytes(&st, file.data, 7, &copy, &err), KL_ERR_FORMAT, &err, "7 bytes", "too few");
    KT_ASSERT_FAILED(open_bytes(&st, file.data, 0, &copy, &err), KL_ERR_FORMAT, &err, "0 bytes", "too few");
}

/* Brackets are counted before anything is built, so a deep text costs nothing. */
static void deep_and_long_texts(void **state)
{
    (void)state;
    enum { N = 1 << 20 };
    char *text = malloc(8 + N);
    struct kl__store *st;
    kl_error err;
    assert_non_null(text);
    for (int kind = 0; kind < 3; kind++) {
        uint64_t n = N;
        memcpy(text, &n, 8);
        memset(text + 8, kind == 0 ? '[' : kind == 1 ? ',' : '{', N);
        memcpy(text + 8, "{\"a\":[", 6);
        if (kind == 1)
            for (int i = 6; i < N - 2; i += 2)
                text[8 + i] = '1';
        memcpy(text + 8 + N - 2, "]}", 2);
        KT_ASSERT_FAILED(kl__store_open_bytes(&st, name_of_file, text, 8 + N, NULL, &err), KL_ERR_UNSUPPORTED, &err,
                         kind == 1 ? "values, limit 65536" : "more than 32 brackets");
    }
    free(text);
}

static void too_much_metadata(void **state)
{
    (void)state;
    static struct kt_image file;
    struct kl__store *st;
    kl_error err;
    uint64_t n;
    kt_put_u64(&file, 0);
    kt_put_text(&file, "{\"__metadata__\":{\"\":\"\"");
    for (int i = 0; i < 4096; i++)
        kt_put_text(&file, ",\"\":\"\"");
    kt_put_text(&file, "}}");
    n = file.n - 8;
    memcpy(file.data, &n, sizeof n);
    KT_ASSERT_FAILED(kl__store_open_bytes(&st, name_of_file, file.data, file.n, NULL, &err), KL_ERR_UNSUPPORTED, &err,
                     "__metadata__", "4097 entries", "4096");
}

static void cut_at_every_byte(void **state)
{
    (void)state;
    struct kt_image file;
    make(&file, good, 20);
    for (size_t n = 0; n < file.n; n++) {
        struct kl__store *st;
        void *copy;
        kl_error err = {0};
        kl_status status = open_bytes(&st, file.data, n, &copy, &err);
        if (status != KL_ERR_FORMAT)
            fail_msg("cut to %zu bytes: %s", n, kl_status_name(status));
    }
}

static void any_byte_changed(void **state)
{
    (void)state;
    static const unsigned char change[] = {0x01, 0x02, 0x80, 0xff, 0x20};
    struct kt_image file;
    make(&file, good, 20);
    for (size_t i = 0; i < 8 + strlen(good); i++)
        for (size_t k = 0; k < sizeof change; k++) {
            struct kl__store *st;
            void *copy;
            kl_error err = {0};
            file.data[i] ^= change[k];
            kl_status status = open_bytes(&st, file.data, file.n, &copy, &err);
            file.data[i] ^= change[k];
            if (status == KL_OK) {
                kl__store_close(st);
                free(copy);
            } else {
                assert_true(err.text[0]);
            }
        }
}

static void memory_that_is_not_there(void **state)
{
    (void)state;
    struct kt_image file;
    make(&file, good, 20);
    for (int64_t fail_at = 1;; fail_at++) {
        struct kt_heap heap;
        struct kl__store *st;
        kl_error err = {0};
        kt_heap_init(&heap, fail_at);
        kl_status status = kl__store_open_bytes(&st, name_of_file, file.data, file.n, &heap.alloc, &err);
        if (status == KL_OK)
            kl__store_close(st);
        else
            KT_ASSERT_FAILED(status, KL_ERR_MEMORY, &err, name_of_file);
        assert_int_equal(heap.n_out, 0);
        if (status == KL_OK) {
            assert_true(fail_at > 5);
            return;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_small_file),
        cmocka_unit_test(every_fault_gets_its_sentence),
        cmocka_unit_test(the_length_of_the_header),
        cmocka_unit_test(deep_and_long_texts),
        cmocka_unit_test(too_much_metadata),
        cmocka_unit_test(cut_at_every_byte),
        cmocka_unit_test(any_byte_changed),
        cmocka_unit_test(memory_that_is_not_there),
    };
    const struct CMUnitTest without[] = {cmocka_unit_test(without_json)};
    if (KT_WITH_JANSSON)
        return cmocka_run_group_tests(tests, NULL, NULL);
    print_message("skipped: all but one test, since klinear was built without jansson\n");
    return cmocka_run_group_tests(without, NULL, NULL);
}
