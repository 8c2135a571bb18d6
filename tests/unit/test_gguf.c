/* GGUF: what is read is what was written, and a file that breaks any rule is refused with a sentence. */
#include "support/kt_file.h"

#include "format/gguf.h"
#include "format/store.h"

#include <stdlib.h>
#include <string.h>

/* -------------------------------------------------------------------------------------------------- a small file -- */

/* Where the fields of the file are, so that faults can be planted. */
enum field {
    MAGIC,
    VERSION,
    N_TENSOR,
    N_KV,
    KEY_BYTES,
    KEY,
    VALUE_TYPE,
    STRING_BYTES,
    ALIGNMENT_TYPE,
    ALIGNMENT,
    BOOL,
    BOOLS,
    ARRAY_TYPE,
    ARRAY_ITEMS,
    TEXTS_TYPE,
    TEXTS_ITEMS,
    TEXT_BYTES,
    LAST_KEY,
    NAME_BYTES,
    NAME,
    N_DIM,
    DIM_0,
    DIM_1,
    TYPE,
    OFFSET,
    NEXT_NAME,
    NEXT_DIM,
    NEXT_TYPE,
    NEXT_OFFSET,
    DATA,
    N_FIELD
};

struct small {
    struct kt_image file;
    size_t at[N_FIELD];
};

static void mark(struct small *s, enum field f)
{
    s->at[f] = s->file.n;
}

static void put_str(struct kt_image *b, const char *text)
{
    kt_put_u64(b, strlen(text));
    kt_put_text(b, text);
}

static void put_key(struct kt_image *b, const char *key, enum kl__meta_type type)
{
    put_str(b, key);
    kt_put_u32(b, type);
}

static void put_metadata(struct small *s)
{
    struct kt_image *b = &s->file;
    mark(s, KEY_BYTES);
    kt_put_u64(b, strlen("general.name"));
    mark(s, KEY);
    kt_put_text(b, "general.name");
    mark(s, VALUE_TYPE);
    kt_put_u32(b, KL__META_STRING);
    mark(s, STRING_BYTES);
    put_str(b, "small");
    put_str(b, "general.alignment");
    mark(s, ALIGNMENT_TYPE);
    kt_put_u32(b, KL__META_U32);
    mark(s, ALIGNMENT);
    kt_put_u32(b, 32);
    put_key(b, "yes", KL__META_BOOL);
    mark(s, BOOL);
    kt_put(b, "\1", 1);
    put_key(b, "many", KL__META_ARRAY);
    kt_put_u32(b, KL__META_BOOL);
    kt_put_u64(b, 2);
    mark(s, BOOLS);
    kt_put(b, "\0\1", 2);
    put_key(b, "ints", KL__META_ARRAY);
    mark(s, ARRAY_TYPE);
    kt_put_u32(b, KL__META_I32);
    mark(s, ARRAY_ITEMS);
    kt_put_u64(b, 3);
    kt_put_u32(b, 1);
    kt_put_u32(b, (uint32_t)-2);
    kt_put_u32(b, 3);
    put_key(b, "texts", KL__META_ARRAY);
    mark(s, TEXTS_TYPE);
    kt_put_u32(b, KL__META_STRING);
    mark(s, TEXTS_ITEMS);
    kt_put_u64(b, 2);
    mark(s, TEXT_BYTES);
    put_str(b, "one");
    put_str(b, "");
    kt_put_u64(b, strlen("general.last"));
    kt_put_text(b, "general.");
    mark(s, LAST_KEY);
    kt_put_text(b, "last");
    kt_put_u32(b, KL__META_F32);
    float f = 1e-5f;
    kt_put(b, &f, sizeof f);
}

static void put_tensors(struct small *s)
{
    struct kt_image *b = &s->file;
    mark(s, NAME_BYTES);
    kt_put_u64(b, 1);
    mark(s, NAME);
    kt_put_text(b, "a");
    mark(s, N_DIM);
    kt_put_u32(b, 2);
    mark(s, DIM_0);
    kt_put_u64(b, 3);
    mark(s, DIM_1);
    kt_put_u64(b, 2);
    mark(s, TYPE);
    kt_put_u32(b, 0);
    mark(s, OFFSET);
    kt_put_u64(b, 0);
    kt_put_u64(b, 1);
    mark(s, NEXT_NAME);
    kt_put_text(b, "b");
    kt_put_u32(b, 1);
    mark(s, NEXT_DIM);
    kt_put_u64(b, 64);
    mark(s, NEXT_TYPE);
    kt_put_u32(b, 8);
    mark(s, NEXT_OFFSET);
    kt_put_u64(b, 32);
}

static void make_small(struct small *s)
{
    struct kt_image *b = &s->file;
    *s = (struct small){0};
    kt_put_text(b, "GGUF");
    mark(s, VERSION);
    kt_put_u32(b, 3);
    mark(s, N_TENSOR);
    kt_put_u64(b, 2);
    mark(s, N_KV);
    kt_put_u64(b, 7);
    put_metadata(s);
    put_tensors(s);
    b->n = (b->n + 31) / 32 * 32;
    mark(s, DATA);
    const float x[6] = {1, 2, 3, 4, 5, 6};
    kt_put(b, x, sizeof x);
    b->n += 32 - sizeof x;
    for (int i = 0; i < 68; i++)
        kt_put(b, &(unsigned char){(unsigned char)(i % 34 == 1 ? 0x3c : i % 34 == 0 ? 0 : i)}, 1);
}

/* Opens the first `n` bytes, from memory of exactly that size, so that a read past the end is seen. */
static kl_status open_bytes(struct kl__store **store, const void *data, size_t n, void **copy, kl_error *err)
{
    *copy = malloc(n ? n : 1);
    assert_non_null(*copy);
    memcpy(*copy, data, n);
    kl_status status = kl__store_open_bytes(store, "small.gguf", *copy, n, NULL, err);
    if (status != KL_OK)
        free(*copy);
    return status;
}

static void a_small_file(void **state)
{
    (void)state;
    struct small s;
    struct kl__store *st;
    void *copy;
    make_small(&s);
    KT_OK(open_bytes(&st, s.file.data, s.file.n, &copy, KT_ERR));
    assert_string_equal(st->format, "gguf");
    assert_int_equal(st->n_tensor, 2);
    assert_int_equal(st->meta.n_meta, 7);

    const struct kl__stored *a = kl__store_find(st, "a"), *b = kl__store_find(st, "b");
    assert_true(a && b && !kl__store_find(st, "c"));
    assert_true(a->type == KL__TYPE_F32 && a->n_dim == 2 && a->dim[0] == 2 && a->dim[1] == 3 && a->bytes == 24);
    assert_true(b->type == KL__TYPE_Q8_0 && b->n_dim == 1 && b->dim[0] == 64 && b->bytes == 68);
    assert_true((const char *)a->data - (char *)copy == (ptrdiff_t)s.at[DATA]);
    float x[64];
    kl__decode(a->type, x, a->data, 6);
    assert_true(x[0] == 1 && x[5] == 6);
    kl__decode(b->type, x, b->data, 64);
    assert_true(x[0] == 2 && x[31] == 33 && x[32] == 36);

    int64_t i;
    double f;
    bool yes;
    struct kl__str text;
    const struct kl__meta *m;
    KT_OK(kl__store_int(&i, st, "general.alignment", KT_ERR));
    KT_OK(kl__store_number(&f, st, "general.last", KT_ERR));
    KT_OK(kl__store_bool(&yes, st, "yes", KT_ERR));
    KT_OK(kl__store_string(&text, st, "general.name", KT_ERR));
    assert_true(i == 32 && (float)f == 1e-5f && yes && kl__str_same(text, kl__str("small")));
    KT_OK(kl__store_array(&m, st, "ints", KL__META_I64, KT_ERR));
    assert_int_equal(m->n_item, 3);
    struct kl__meta item = kl__meta_item(m, 1);
    assert_true(kl__meta_int(&item, &i) && i == -2);
    KT_OK(kl__store_array(&m, st, "texts", KL__META_STRING, KT_ERR));
    item = kl__meta_item(m, 0);
    assert_true(kl__str_same(item.s, kl__str("one")));
    item = kl__meta_item(m, 1);
    assert_int_equal(item.s.bytes, 0);
    kl__store_close(st);
    free(copy);
}

static void what_is_asked_for_is_checked(void **state)
{
    (void)state;
    struct small s;
    struct kl__store *st;
    void *copy;
    kl_error err;
    int64_t i;
    double f;
    bool yes;
    struct kl__str text;
    const struct kl__meta *m;
    const struct kl__stored *t;
    make_small(&s);
    KT_OK(open_bytes(&st, s.file.data, s.file.n, &copy, KT_ERR));
    KT_OK(kl__store_need(&t, st, "a", 3, (int64_t[]){2, 1, 3}, KT_ERR));
    KT_ASSERT_FAILED(kl__store_need(&t, st, "c", 1, (int64_t[]){2}, &err), KL_ERR_FORMAT, &err, "small.gguf", "'c'",
                     "missing");
    KT_ASSERT_FAILED(kl__store_need(&t, st, "a", 2, (int64_t[]){3, 2}, &err), KL_ERR_SHAPE, &err, "small.gguf", "'a'",
                     "[2][3]", "[3][2]");
    KT_ASSERT_FAILED(kl__store_need(&t, st, "b", 2, (int64_t[]){64, 2}, &err), KL_ERR_SHAPE, &err, "[64]", "[64][2]");
    KT_ASSERT_FAILED(kl__store_int(&i, st, "none", &err), KL_ERR_FORMAT, &err, "small.gguf", "'none'", "missing");
    KT_ASSERT_FAILED(kl__store_int(&i, st, "yes", &err), KL_ERR_FORMAT, &err, "'yes'", "bool", "integer");
    KT_ASSERT_FAILED(kl__store_number(&f, st, "general.name", &err), KL_ERR_FORMAT, &err, "string", "a number");
    KT_ASSERT_FAILED(kl__store_bool(&yes, st, "ints", &err), KL_ERR_FORMAT, &err, "array of i32", "bool");
    KT_ASSERT_FAILED(kl__store_string(&text, st, "general.alignment", &err), KL_ERR_FORMAT, &err, "u32", "string");
    KT_ASSERT_FAILED(kl__store_array(&m, st, "texts", KL__META_I64, &err), KL_ERR_FORMAT, &err, "array of string");
    KT_ASSERT_FAILED(kl__store_array(&m, st, "many", KL__META_I64, &err), KL_ERR_FORMAT, &err, "array of bool");
    kl__store_close(st);
    free(copy);
}

/* -------------------------------------------------------------------------------------------------------- faults -- */

struct patch {
    enum field field;
    int bytes;
    uint64_t value;
};

struct fault {
    struct patch patch[2]; /* the second: 0 bytes when there is none */
    kl_status status;
    const char *word[3];
};

static const struct fault faults[] = {
    /* the head */
    {{{MAGIC, 4, 0x47475547}}, KL_ERR_FORMAT, {"small.gguf", "'GUGG'", "'GGUF'"}},
    {{{VERSION, 4, 1}}, KL_ERR_UNSUPPORTED, {"version 1", "2 or 3"}},
    {{{VERSION, 4, 4}}, KL_ERR_UNSUPPORTED, {"version 4", "2 or 3"}},
    {{{VERSION, 4, 0x03000000}}, KL_ERR_UNSUPPORTED, {"big-endian"}},
    /* counts that no file could hold, and whose product with anything would overflow */
    {{{N_TENSOR, 8, UINT64_C(1) << 61}}, KL_ERR_FORMAT, {"number of tensors", "2305843009213693952", "room for"}},
    {{{N_TENSOR, 8, UINT64_MAX}}, KL_ERR_FORMAT, {"number of tensors", "-1"}},
    {{{N_TENSOR, 8, 100}}, KL_ERR_FORMAT, {"number of tensors", "100"}},
    {{{N_KV, 8, UINT64_C(1) << 60}}, KL_ERR_FORMAT, {"number of keys", "1152921504606846976"}},
    {{{N_KV, 8, 200}}, KL_ERR_FORMAT, {"number of keys", "200"}},
    /* keys */
    {{{KEY_BYTES, 8, UINT64_MAX}}, KL_ERR_FORMAT, {"a key", "18446744073709551615", "left in the file"}},
    {{{KEY_BYTES, 8, 0}}, KL_ERR_FORMAT, {"key 0 has 0 bytes", "1 to 65535"}},
    {{{KEY, 1, 0xff}}, KL_ERR_FORMAT, {"key 0", "UTF-8"}},
    {{{KEY, 1, 0}}, KL_ERR_FORMAT, {"key 0", "UTF-8"}},
    {{{LAST_KEY, 4, 0x656d616e}}, KL_ERR_FORMAT, {"'general.name'", "twice"}},
    /* values */
    {{{VALUE_TYPE, 4, 13}}, KL_ERR_FORMAT, {"'general.name'", "type 13", "0 to 12"}},
    {{{VALUE_TYPE, 4, 0xffffffff}}, KL_ERR_FORMAT, {"type 4294967295"}},
    {{{STRING_BYTES, 8, 1 << 20}}, KL_ERR_FORMAT, {"the value of key 'general.name'", "1048576", "left in the file"}},
    {{{BOOL, 1, 2}}, KL_ERR_FORMAT, {"'yes'", "bool 2", "0 or 1"}},
    {{{BOOLS, 1, 255}}, KL_ERR_FORMAT, {"'many'", "bool 255"}},
    {{{ARRAY_TYPE, 4, 9}}, KL_ERR_UNSUPPORTED, {"'ints'", "array of arrays"}},
    {{{ARRAY_TYPE, 4, 77}}, KL_ERR_FORMAT, {"'ints'", "type 77"}},
    {{{ARRAY_ITEMS, 8, UINT64_C(1) << 62}}, KL_ERR_FORMAT, {"'ints'", "4611686018427387904", "room for"}},
    {{{TEXTS_ITEMS, 8, UINT64_C(1) << 62}}, KL_ERR_FORMAT, {"'texts'", "4611686018427387904", "room for"}},
    {{{TEXT_BYTES, 8, UINT64_C(1) << 63}}, KL_ERR_FORMAT, {"'texts'", "9223372036854775808"}},
    /* the alignment */
    {{{ALIGNMENT, 4, 0}}, KL_ERR_FORMAT, {"'general.alignment' is 0", "power of two"}},
    {{{ALIGNMENT, 4, 48}}, KL_ERR_FORMAT, {"'general.alignment' is 48", "power of two"}},
    {{{ALIGNMENT, 4, UINT32_C(1) << 31}}, KL_ERR_FORMAT, {"'b'", "offset 32", "2147483648"}},
    {{{ALIGNMENT_TYPE, 4, 5}}, KL_ERR_FORMAT, {"'general.alignment'", "i32", "u32"}},
    /* tensors */
    {{{NAME_BYTES, 8, 0}}, KL_ERR_FORMAT, {"name of tensor 0 has 0 bytes"}},
    {{{NAME_BYTES, 8, 64}}, KL_ERR_FORMAT, {"name of tensor 0 has 64 bytes", "63"}},
    {{{NAME, 1, 0x80}}, KL_ERR_FORMAT, {"UTF-8"}},
    {{{NEXT_NAME, 1, 'a'}}, KL_ERR_FORMAT, {"'a'", "twice"}},
    {{{N_DIM, 4, 5}}, KL_ERR_FORMAT, {"'a'", "dimensions of 5", "1 to 4"}},
    {{{N_DIM, 4, 0}}, KL_ERR_FORMAT, {"'a'", "dimensions of 0"}},
    {{{N_DIM, 4, 0xffffffff}}, KL_ERR_FORMAT, {"'a'", "4294967295"}},
    {{{DIM_0, 8, 0}}, KL_ERR_FORMAT, {"'a'", "dimension of 0", "at least 1"}},
    {{{DIM_1, 8, (uint64_t)-3}}, KL_ERR_FORMAT, {"'a'", "dimension of -3"}},
    {{{DIM_0, 8, UINT64_C(1) << 32}, {DIM_1, 8, UINT64_C(1) << 32}}, KL_ERR_FORMAT, {"'a'", "63 bits"}},
    {{{DIM_0, 8, UINT64_C(1) << 31}, {DIM_1, 8, UINT64_C(1) << 31}}, KL_ERR_FORMAT, {"'a'", "63 bits"}},
    {{{DIM_0, 8, UINT64_C(1) << 30}, {DIM_1, 8, UINT64_C(1) << 31}},
     KL_ERR_FORMAT,
     {"'a'", "[2147483648][1073741824]"}},
    {{{DIM_0, 8, 1000}}, KL_ERR_FORMAT, {"'b' is at offset 32", "expected 8000"}},
    {{{TYPE, 4, 4}}, KL_ERR_UNSUPPORTED, {"'a'", "type 4", "Q8_0"}},
    {{{TYPE, 4, 0xffffffff}}, KL_ERR_UNSUPPORTED, {"'a'", "type 4294967295"}},
    {{{NEXT_DIM, 8, 65}}, KL_ERR_FORMAT, {"'b'", "Q8_0", "[65]"}},
    {{{NEXT_DIM, 8, 96}}, KL_ERR_FORMAT, {"ends inside tensor 'b'", "102 bytes"}},
    {{{OFFSET, 8, 32}}, KL_ERR_FORMAT, {"'a' is at offset 32", "expected 0"}},
    {{{NEXT_OFFSET, 8, 0}}, KL_ERR_FORMAT, {"'b' is at offset 0", "expected 32"}},
    {{{NEXT_OFFSET, 8, 33}}, KL_ERR_FORMAT, {"'b' is at offset 33", "expected 32"}},
    {{{NEXT_OFFSET, 8, 64}}, KL_ERR_FORMAT, {"'b' is at offset 64", "expected 32"}},
    {{{NEXT_OFFSET, 8, UINT64_MAX}}, KL_ERR_FORMAT, {"'b' is at offset 18446744073709551615"}},
};

static void plant(struct small *s, const struct patch *p)
{
    memcpy(s->file.data + s->at[p->field], &p->value, (size_t)p->bytes);
}

static void every_fault_gets_its_sentence(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        const struct fault *f = &faults[i];
        struct small s;
        struct kl__store *st;
        void *copy;
        kl_error err = {0};
        make_small(&s);
        plant(&s, &f->patch[0]);
        plant(&s, &f->patch[1]);
        int n_word = 0;
        while (n_word < 3 && f->word[n_word])
            n_word++;
        kl_status status = open_bytes(&st, s.file.data, s.file.n, &copy, &err);
        kt_assert_failed(status, f->status, &err, f->word, n_word);
        assert_int_equal(strlen(err.text) < sizeof err.text - 1, 1);
    }
}

/* Cut anywhere, the file is refused, and nothing past its end is read. */
static void cut_at_every_byte(void **state)
{
    (void)state;
    struct small s;
    make_small(&s);
    for (size_t n = 0; n < s.file.n; n++) {
        struct kl__store *st;
        void *copy;
        kl_error err = {0};
        kl_status status = open_bytes(&st, s.file.data, n, &copy, &err);
        if (status != KL_ERR_FORMAT)
            fail_msg("cut to %zu bytes: %s", n, kl_status_name(status));
        assert_non_null(strstr(err.text, "small.gguf"));
    }
}

/* With any byte changed, opening ends, with a store whose tensors can be read, or with a sentence. */
static void any_byte_changed(void **state)
{
    (void)state;
    static const unsigned char change[] = {0x01, 0x80, 0xff, 0x55};
    struct small s;
    make_small(&s);
    for (size_t i = 0; i < s.at[DATA]; i++)
        for (size_t k = 0; k < sizeof change; k++) {
            struct kl__store *st;
            void *copy;
            kl_error err = {0};
            s.file.data[i] ^= change[k];
            kl_status status = open_bytes(&st, s.file.data, s.file.n, &copy, &err);
            s.file.data[i] ^= change[k];
            if (status != KL_OK) {
                assert_true(err.text[0]);
                continue;
            }
            for (int64_t t = 0; t < st->n_tensor; t++) {
                volatile unsigned char last = ((const unsigned char *)st->tensor[t].data)[st->tensor[t].bytes - 1];
                (void)last;
            }
            kl__store_close(st);
            free(copy);
        }
}

static void memory_that_is_not_there(void **state)
{
    (void)state;
    struct small s;
    make_small(&s);
    for (int64_t fail_at = 1;; fail_at++) {
        struct kt_heap heap;
        struct kl__store *st;
        kl_error err = {0};
        kt_heap_init(&heap, fail_at);
        kl_status status = kl__store_open_bytes(&st, "small.gguf", s.file.data, s.file.n, &heap.alloc, &err);
        if (status == KL_OK)
            kl__store_close(st);
        else
            KT_ASSERT_FAILED(status, KL_ERR_MEMORY, &err, "small.gguf");
        assert_int_equal(heap.n_out, 0);
        if (status == KL_OK) {
            assert_true(fail_at > 5);
            return;
        }
    }
}

/* Counts that the file has room for and no model has: no memory is taken for them. */
static void too_many_keys(void **state)
{
    (void)state;
    enum { N = KL__GGUF_KEYS + 1, BYTES = 24 + 14 * N };
    unsigned char *data = kt_bytes(BYTES);
    const uint32_t version = 3;
    const uint64_t n = N;
    struct kl__store *st;
    kl_error err;
    memset(data, 0, BYTES);
    memcpy(data, "GGUF", 4);
    memcpy(data + 4, &version, sizeof version);
    memcpy(data + 16, &n, sizeof n);
    KT_ASSERT_FAILED(kl__store_open_bytes(&st, "small.gguf", data, BYTES, NULL, &err), KL_ERR_UNSUPPORTED, &err,
                     "small.gguf", "limit 65536");
    kt_free_all();
}

/* Version 2 has the same layout. */
static void version_two(void **state)
{
    (void)state;
    struct small s;
    struct kl__store *st;
    void *copy;
    make_small(&s);
    s.file.data[s.at[VERSION]] = 2;
    KT_OK(open_bytes(&st, s.file.data, s.file.n, &copy, KT_ERR));
    assert_int_equal(st->n_tensor, 2);
    kl__store_close(st);
    free(copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_small_file),
        cmocka_unit_test(what_is_asked_for_is_checked),
        cmocka_unit_test(every_fault_gets_its_sentence),
        cmocka_unit_test(cut_at_every_byte),
        cmocka_unit_test(any_byte_changed),
        cmocka_unit_test(memory_that_is_not_there),
        cmocka_unit_test(too_many_keys),
        cmocka_unit_test(version_two),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
