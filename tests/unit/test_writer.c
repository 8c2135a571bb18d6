/* Model files are written as they will be read, or not at all. */
#include "support/kt_file.h"

#include "format/store.h"
#include "format/writer.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

static const struct kl__str texts[] = {{"a", 1}, {"", 0}, {"\xff\0\"x", 4}};
static const uint8_t u8s[] = {0, 255};
static const int8_t i8s[] = {-128, 127};
static const uint16_t u16s[] = {0, 65535};
static const int16_t i16s[] = {-32768, 32767};
static const uint32_t u32s[] = {0, UINT32_MAX};
static const int32_t i32s[] = {INT32_MIN, INT32_MAX};
static const uint64_t u64s[] = {0, UINT64_MAX};
static const int64_t i64s[] = {INT64_MIN, INT64_MAX};
static const float f32s[] = {-0.0f, 3e38f};
static const double f64s[] = {-0.0, 1e308};
static const uint8_t bools[] = {0, 1};

static const struct {
    enum kl__meta_type type;
    const void *number;
} kinds[] = {
    {KL__META_U8, u8s},   {KL__META_I8, i8s},   {KL__META_U16, u16s},   {KL__META_I16, i16s},
    {KL__META_U32, u32s}, {KL__META_I32, i32s}, {KL__META_U64, u64s},   {KL__META_I64, i64s},
    {KL__META_F32, f32s}, {KL__META_F64, f64s}, {KL__META_BOOL, bools},
};
enum { N_KIND = sizeof kinds / sizeof *kinds };

/* Both numbers of each kind, alone and in an array. */
static void write_all_kinds(struct kl__writer *w)
{
    char key[40];
    for (int k = 0; k < N_KIND; k++) {
        for (int i = 0; i < 2; i++) {
            const unsigned char *number = kinds[k].number;
            struct kl__meta m = kl__meta_of_bytes(kinds[k].type, number + i * (int)kl__meta_type_bytes(kinds[k].type));
            snprintf(key, sizeof key, "one.%s.%d", kl__meta_type_name(kinds[k].type), i);
            m.key = kl__str(key);
            KT_OK(kl__writer_meta(w, &m, KT_ERR));
        }
        snprintf(key, sizeof key, "array.%s", kl__meta_type_name(kinds[k].type));
        struct kl__meta m = kl__meta_numbers(key, kinds[k].type, kinds[k].number, 2);
        KT_OK(kl__writer_meta(w, &m, KT_ERR));
    }
    struct kl__meta m = kl__meta_strings("texts", texts, 3);
    KT_OK(kl__writer_meta(w, &m, KT_ERR));
    m = kl__meta_string("text", texts[2]);
    KT_OK(kl__writer_meta(w, &m, KT_ERR));
    m = kl__meta_numbers("array.empty", KL__META_F64, NULL, 0);
    KT_OK(kl__writer_meta(w, &m, KT_ERR));
}

static void assert_all_kinds(const struct kl__store *st)
{
    char key[40];
    for (int k = 0; k < N_KIND; k++) {
        size_t n = kl__meta_type_bytes(kinds[k].type);
        snprintf(key, sizeof key, "array.%s", kl__meta_type_name(kinds[k].type));
        const struct kl__meta *array;
        KT_OK(kl__store_array(&array, st, key, kinds[k].type, KT_ERR));
        assert_int_equal(array->n_item, 2);
        assert_memory_equal(array->number, kinds[k].number, 2 * n);
        for (unsigned i = 0; i < 2; i++) {
            snprintf(key, sizeof key, "one.%s.%u", kl__meta_type_name(kinds[k].type), i);
            const struct kl__meta *one = kl__meta_find(&st->meta, key);
            assert_non_null(one);
            struct kl__meta item = kl__meta_item(array, i);
            assert_true(one->type == kinds[k].type && item.type == one->type && item.u == one->u);
        }
    }
    const struct kl__meta *m;
    struct kl__str text;
    KT_OK(kl__store_array(&m, st, "texts", KL__META_STRING, KT_ERR));
    assert_int_equal(m->n_item, 3);
    for (int i = 0; i < 3; i++)
        assert_true(kl__str_same(m->text[i], texts[i]));
    KT_OK(kl__store_string(&text, st, "text", KT_ERR));
    assert_true(kl__str_same(text, texts[2]));
    KT_OK(kl__store_array(&m, st, "array.empty", KL__META_F64, KT_ERR));
    assert_int_equal(m->n_item, 0);
}

static const struct {
    const char *name;
    enum kl__type type;
    int n_dim;
    int64_t dim[4];
} tensors[] = {
    {"scalar", KL__TYPE_F32, 0, {0}},        {"vector", KL__TYPE_F16, 1, {7}},
    {"conv", KL__TYPE_F32, 4, {1, 3, 1, 4}}, {"experts", KL__TYPE_Q4_K, 3, {2, 3, 256}},
    {"short", KL__TYPE_Q5_0, 2, {5, 32}},    {"ints", KL__TYPE_I32, 1, {3}},
    {"mx", KL__TYPE_MXFP4, 2, {3, 64}},
};
enum { N_TENSORS = sizeof tensors / sizeof *tensors };

static unsigned char byte_of(int tensor, size_t i)
{
    return (unsigned char)(tensor * 37 + (int)(i * 7));
}

static void write_gguf(const char *path, uint32_t alignment)
{
    struct kl__writer *w;
    KT_OK(kl__writer_open(&w, path, "gguf", NULL, KT_ERR));
    write_all_kinds(w);
    if (alignment) {
        struct kl__meta m = kl__meta_u32("general.alignment", alignment);
        KT_OK(kl__writer_meta(w, &m, KT_ERR));
    }
    for (int i = 0; i < N_TENSORS; i++)
        KT_OK(kl__writer_tensor(w, tensors[i].name, tensors[i].type, tensors[i].n_dim, tensors[i].dim, KT_ERR));
    KT_OK(kl__writer_begin(w, KT_ERR));
    /* Backwards, and in pieces. */
    for (int i = N_TENSORS - 1; i >= 0; i--) {
        int64_t n = 1;
        size_t bytes;
        for (int d = 0; d < tensors[i].n_dim; d++)
            n *= tensors[i].dim[d];
        assert_true(kl__type_bytes(tensors[i].type, n, &bytes));
        for (size_t b = 0; b < bytes; b++) {
            unsigned char byte = byte_of(i, b);
            KT_OK(kl__writer_append(w, i, &byte, 1, KT_ERR));
        }
    }
    KT_OK(kl__writer_finish(w, KT_ERR));
}

static void gguf_is_read_as_written(void **state)
{
    (void)state;
    for (int k = 0; k < 3; k++) {
        uint32_t alignment = k == 0 ? 0 : k == 1 ? 1 : 4096;
        const char *path = kt_path("all.gguf");
        struct kl__store *st;
        write_gguf(path, alignment);
        KT_OK(kl__store_open(&st, path, NULL, KT_ERR));
        assert_all_kinds(st);
        assert_int_equal(st->n_tensor, N_TENSORS);
        for (int i = 0; i < N_TENSORS; i++) {
            const struct kl__stored *t;
            KT_OK(kl__store_need(&t, st, tensors[i].name, tensors[i].n_dim, tensors[i].dim, KT_ERR));
            assert_int_equal(t->type, tensors[i].type);
            assert_int_equal(((const unsigned char *)t->data - st->file[0].map.data) % (alignment ? alignment : 32), 0);
            for (size_t b = 0; b < t->bytes; b++)
                assert_int_equal(((const unsigned char *)t->data)[b], byte_of(i, b));
        }
        assert_int_equal(st->file[0].map.bytes % (alignment ? alignment : 32), 0);
        kl__store_close(st);
    }
    kt_remove_files();
}

static void safetensors_is_read_as_written(void **state)
{
    (void)state;
    if (!KT_WITH_JANSSON) {
        print_message("skipped: klinear was built without jansson\n");
        skip();
    }
    const char *path = kt_path("w.safetensors"), odd[] = "q\"\\\n\x01\xc3\xa9";
    struct kl__writer *w;
    struct kl__store *st;
    struct kl__meta m = kl__meta_string("format", kl__str("pt")), escaped = kl__meta_string(odd, kl__str(odd));
    int64_t shape[] = {3, 5};
    KT_OK(kl__writer_open(&w, path, "safetensors", NULL, KT_ERR));
    KT_OK(kl__writer_meta(w, &m, KT_ERR));
    KT_OK(kl__writer_meta(w, &escaped, KT_ERR));
    KT_OK(kl__writer_tensor(w, "z", KL__TYPE_BF16, 2, shape, KT_ERR));
    KT_OK(kl__writer_tensor(w, odd, KL__TYPE_U8, 1, shape, KT_ERR));
    KT_OK(kl__writer_tensor(w, "scalar", KL__TYPE_F64, 0, NULL, KT_ERR));
    KT_OK(kl__writer_tensor(w, "y", KL__TYPE_F32, 1, shape, KT_ERR));
    KT_OK(kl__writer_tensor(w, "zz", KL__TYPE_BF16, 2, (int64_t[]){0, 9}, KT_ERR));
    KT_OK(kl__writer_begin(w, KT_ERR));
    unsigned char data[4][30];
    static const size_t bytes[] = {30, 3, 8, 12};
    for (int i = 3; i >= 0; i--) {
        memset(data[i], 'a' + i, sizeof data[i]);
        KT_OK(kl__writer_append(w, i, data[i], 2, KT_ERR));
        KT_OK(kl__writer_append(w, i, data[i] + 2, bytes[i] - 2, KT_ERR));
    }
    KT_OK(kl__writer_finish(w, KT_ERR));

    KT_OK(kl__store_open(&st, path, NULL, KT_ERR));
    assert_int_equal(st->n_tensor, 5);
    const char *const name[] = {"z", odd, "scalar", "y"};
    for (int i = 0; i < 4; i++) {
        const struct kl__stored *t = kl__store_find(st, name[i]);
        assert_true(t && t->bytes == bytes[i]);
        assert_memory_equal(t->data, data[i], bytes[i]);
        /* Every number at a multiple of its size. */
        assert_int_equal(
            (size_t)((const unsigned char *)t->data - st->file[0].map.data) % (size_t)kl__type_info(t->type)->bytes, 0);
    }
    struct kl__str text;
    KT_OK(kl__store_string(&text, st, odd, KT_ERR));
    assert_true(kl__str_same(text, kl__str(odd)));
    kl__store_close(st);
    kt_remove_files();
}

/* A writer of a file in an empty directory. */
static struct kl__writer *new_writer(const char *format)
{
    struct kl__writer *w;
    kt_remove_files();
    KT_OK(kl__writer_open(&w, kt_path("w"), format, NULL, KT_ERR));
    return w;
}

static void assert_nothing_left(void)
{
    char directory[600];
    snprintf(directory, sizeof directory, "%s", kt_path("w"));
    *strrchr(directory, '/') = 0;
    assert_int_equal(kt_count_files(directory), 0);
}

static void what_is_announced_is_checked(void **state)
{
    (void)state;
    kl_error err;
    struct kl__writer *w = NULL;
    KT_ASSERT_FAILED(kl__writer_open(&w, "/tmp/w", "pickle", NULL, &err), KL_ERR_ARGUMENT, &err, "pickle", "gguf");
    KT_ASSERT_FAILED(kl__writer_open(&w, "/no/such/w", "gguf", NULL, &err), KL_ERR_IO, &err, "/no/such/w");
    w = new_writer("gguf");
    struct kl__meta m = kl__meta_u32("general.alignment", 12);
    KT_ASSERT_FAILED(kl__writer_meta(w, &m, &err), KL_ERR_ARGUMENT, &err, "general.alignment", "power of two");
    m = kl__meta_u32("", 1);
    KT_ASSERT_FAILED(kl__writer_meta(w, &m, &err), KL_ERR_ARGUMENT, &err, "key ''", "UTF-8");
    m = kl__meta_u32("\xff", 1);
    KT_ASSERT_FAILED(kl__writer_meta(w, &m, &err), KL_ERR_ARGUMENT, &err, "UTF-8");
    m = kl__meta_numbers("a", KL__META_ARRAY, NULL, 0);
    KT_ASSERT_FAILED(kl__writer_meta(w, &m, &err), KL_ERR_UNSUPPORTED, &err, "'a'", "type");
    KT_ASSERT_FAILED(kl__writer_tensor(w, "t", KL__TYPE_Q4_K, 2, (int64_t[]){3, 128}, &err), KL_ERR_SHAPE, &err, "'t'",
                     "[3][128]", "Q4_K");
    KT_ASSERT_FAILED(kl__writer_tensor(w, "t", KL__TYPE_F32, 1, (int64_t[]){-1}, &err), KL_ERR_SHAPE, &err, "[-1]");
    KT_ASSERT_FAILED(kl__writer_tensor(w, "t", KL__TYPE_F32, 2, (int64_t[]){INT64_C(1) << 40, INT64_C(1) << 40}, &err),
                     KL_ERR_SHAPE, &err, "'t'");
    KT_ASSERT_FAILED(kl__writer_tensor(w, "t", KL__TYPE_F32, 7, (int64_t[]){1, 1, 1, 1, 1, 1, 1}, &err), KL_ERR_SHAPE,
                     &err, "'t'");
    kl__writer_abandon(w);
    assert_nothing_left();
    w = new_writer("safetensors");
    m = kl__meta_u32("a", 1);
    KT_ASSERT_FAILED(kl__writer_meta(w, &m, &err), KL_ERR_UNSUPPORTED, &err, "'a'", "string");
    m = kl__meta_string("a", kl__str("\xff"));
    KT_ASSERT_FAILED(kl__writer_meta(w, &m, &err), KL_ERR_ARGUMENT, &err, "'a'", "UTF-8");
    kl__writer_abandon(w);
    kl__writer_abandon(NULL);
    kt_remove_files();
}

/* Each of these is accepted when it is announced, and refused when the file is laid out. */
static void what_a_format_cannot_hold(void **state)
{
    (void)state;
    static const char long_name[] = "a123456789012345678901234567890123456789012345678901234567890123";
    static const struct {
        const char *format, *name;
        enum kl__type type;
        int n_dim;
        int64_t dim[5];
        kl_status status;
        const char *word;
    } bad[] = {
        {"gguf", long_name, KL__TYPE_F32, 1, {1}, KL_ERR_UNSUPPORTED, "63 bytes"},
        {"gguf", "t", KL__TYPE_U8, 1, {1}, KL_ERR_UNSUPPORTED, "type"},
        {"gguf", "t", KL__TYPE_F32, 5, {1, 1, 1, 1, 1}, KL_ERR_UNSUPPORTED, "4 dimensions"},
        {"gguf", "t", KL__TYPE_F32, 1, {0}, KL_ERR_UNSUPPORTED, "empty"},
        {"gguf", "t", KL__TYPE_I8, 1, {INT64_MAX}, KL_ERR_UNSUPPORTED, "too large"},
        {"gguf", "twin", KL__TYPE_F32, 1, {1}, KL_ERR_ARGUMENT, "twice"},
        {"safetensors", "t", KL__TYPE_Q8_0, 1, {32}, KL_ERR_UNSUPPORTED, "type"},
        {"safetensors", "t", KL__TYPE_I8, 1, {INT64_MAX}, KL_ERR_UNSUPPORTED, "too large"},
        {"safetensors", "twin", KL__TYPE_F32, 1, {1}, KL_ERR_ARGUMENT, "twice"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        kl_error err;
        struct kl__writer *w = new_writer(bad[i].format);
        KT_OK(kl__writer_tensor(w, "twin", KL__TYPE_F32, 1, (int64_t[]){1}, KT_ERR));
        KT_OK(kl__writer_tensor(w, bad[i].name, bad[i].type, bad[i].n_dim, bad[i].dim, KT_ERR));
        KT_ASSERT_FAILED(kl__writer_begin(w, &err), bad[i].status, &err, bad[i].word, bad[i].name);
        kl__writer_abandon(w);
        assert_nothing_left();
    }
    kl_error err;
    struct kl__writer *w = new_writer("gguf");
    struct kl__meta m = kl__meta_u32("twin", 1);
    KT_OK(kl__writer_meta(w, &m, KT_ERR));
    KT_OK(kl__writer_meta(w, &m, KT_ERR));
    KT_ASSERT_FAILED(kl__writer_begin(w, &err), KL_ERR_ARGUMENT, &err, "'twin'", "twice");
    kl__writer_abandon(w);
    kt_remove_files();
}

static void too_much_and_too_little(void **state)
{
    (void)state;
    kl_error err;
    static const char *const format[] = {"gguf", "safetensors"};
    for (int i = 0; i < 2; i++) {
        struct kl__writer *w = new_writer(format[i]);
        KT_OK(kl__writer_tensor(w, "t", KL__TYPE_F32, 1, (int64_t[]){2}, KT_ERR));
        KT_OK(kl__writer_begin(w, KT_ERR));
        KT_OK(kl__writer_append(w, 0, "12345", 5, KT_ERR));
        KT_ASSERT_FAILED(kl__writer_append(w, 0, "6789", 4, &err), KL_ERR_ARGUMENT, &err, "'t'", "more bytes");
        KT_ASSERT_FAILED(kl__writer_finish(w, &err), KL_ERR_ARGUMENT, &err, "'t'", "not complete");
        assert_nothing_left();
    }
    kt_remove_files();
}

/* All of a small file, with memory that runs out at the `fail_at`-th call. */
static kl_status write_small(const char *format, const kl_allocator *alloc, kl_error *err)
{
    struct kl__writer *w;
    struct kl__meta m = kl__meta_string("k", kl__str("v"));
    kl_status status = kl__writer_open(&w, kt_path("w"), format, alloc, err);
    if (status != KL_OK)
        return status;
    status = kl__writer_meta(w, &m, err);
    for (int i = 0; i < 9 && status == KL_OK; i++) {
        char name[16];
        snprintf(name, sizeof name, "t%d", i);
        status = kl__writer_tensor(w, name, KL__TYPE_F32, 1, (int64_t[]){2}, err);
    }
    status = status == KL_OK ? kl__writer_begin(w, err) : status;
    for (int i = 0; i < 9 && status == KL_OK; i++)
        status = kl__writer_append(w, i, "12345678", 8, err);
    if (status == KL_OK)
        return kl__writer_finish(w, err);
    kl__writer_abandon(w);
    return status;
}

static void memory_that_is_not_there(void **state)
{
    (void)state;
    static const char *const format[] = {"gguf", "safetensors"};
    for (int i = 0; i < 2; i++)
        for (int64_t fail_at = 1;; fail_at++) {
            struct kt_heap heap;
            kl_error err = {0};
            kt_remove_files();
            kt_heap_init(&heap, fail_at);
            kl_status status = write_small(format[i], &heap.alloc, &err);
            assert_int_equal(heap.n_out, 0);
            if (status == KL_OK) {
                assert_true(fail_at > 15);
                break;
            }
            KT_ASSERT_FAILED(status, KL_ERR_MEMORY, &err, "/w");
            assert_nothing_left();
        }
    kt_remove_files();
}

/* A full disk is an error with a sentence, and leaves nothing. */
static void a_full_disk(void **state)
{
    (void)state;
    struct rlimit old, small = {4096, 0};
    kl_error err;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small.rlim_max = old.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    struct kl__writer *w = new_writer("gguf");
    static float x[4096];
    KT_OK(kl__writer_tensor(w, "t", KL__TYPE_F32, 1, (int64_t[]){4096}, KT_ERR));
    KT_OK(kl__writer_begin(w, KT_ERR));
    kl_status status = kl__writer_append(w, 0, x, sizeof x, &err);
    kl__writer_abandon(w);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, SIG_DFL);
    KT_ASSERT_FAILED(status, KL_ERR_IO, &err, "/w", "cannot be written", "too large");
    assert_nothing_left();
    kt_remove_files();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gguf_is_read_as_written),
        cmocka_unit_test(safetensors_is_read_as_written),
        cmocka_unit_test(what_is_announced_is_checked),
        cmocka_unit_test(what_a_format_cannot_hold),
        cmocka_unit_test(too_much_and_too_little),
        cmocka_unit_test(memory_that_is_not_there),
        cmocka_unit_test(a_full_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
