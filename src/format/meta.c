#include "format/meta.h"
#include "base/memory.h"

static const struct {
    const char *name;
    size_t bytes;
} types[] = {
    [KL__META_U8] = {"u8", 1},   [KL__META_I8] = {"i8", 1},       [KL__META_U16] = {"u16", 2},
    [KL__META_I16] = {"i16", 2}, [KL__META_U32] = {"u32", 4},     [KL__META_I32] = {"i32", 4},
    [KL__META_F32] = {"f32", 4}, [KL__META_BOOL] = {"bool", 1},   [KL__META_STRING] = {"string", 0},
    [KL__META_U64] = {"u64", 8}, [KL__META_ARRAY] = {"array", 0}, [KL__META_I64] = {"i64", 8},
    [KL__META_F64] = {"f64", 8},
};

const char *kl__meta_type_name(enum kl__meta_type type)
{
    return (unsigned)type < KL__N_META ? types[type].name : "?";
}

size_t kl__meta_type_bytes(enum kl__meta_type type)
{
    return (unsigned)type < KL__N_META ? types[type].bytes : 0;
}

static bool is_signed(enum kl__meta_type t)
{
    return t == KL__META_I8 || t == KL__META_I16 || t == KL__META_I32 || t == KL__META_I64;
}

static bool is_unsigned(enum kl__meta_type t)
{
    return t == KL__META_U8 || t == KL__META_U16 || t == KL__META_U32 || t == KL__META_U64;
}

bool kl__meta_int(const struct kl__meta *m, int64_t *value)
{
    if (!is_signed(m->type) && !(is_unsigned(m->type) && m->u <= INT64_MAX))
        return false;
    *value = m->i;
    return true;
}

bool kl__meta_number(const struct kl__meta *m, double *value)
{
    if (m->type == KL__META_F32 || m->type == KL__META_F64)
        *value = m->f;
    else if (is_signed(m->type))
        *value = (double)m->i;
    else if (is_unsigned(m->type))
        *value = (double)m->u;
    else
        return false;
    return true;
}

static uint64_t little_endian(const unsigned char *bytes, size_t n)
{
    uint64_t v = 0;
    memcpy(&v, bytes, n);
    return v;
}

struct kl__meta kl__meta_of_bytes(enum kl__meta_type type, const unsigned char *bytes)
{
    struct kl__meta m = {.type = type};
    size_t n = kl__meta_type_bytes(type);
    if (type == KL__META_F32) {
        float f;
        memcpy(&f, bytes, sizeof f);
        m.f = (double)f;
    } else if (type == KL__META_F64) {
        memcpy(&m.f, bytes, sizeof m.f);
    } else {
        m.u = little_endian(bytes, n);
        if (is_signed(type) && n < 8 && m.u >> (8 * n - 1))
            m.u |= UINT64_MAX << 8 * n;
    }
    return m;
}

struct kl__meta kl__meta_item(const struct kl__meta *m, uint64_t i)
{
    if (m->element == KL__META_STRING)
        return (struct kl__meta){.type = KL__META_STRING, .s = m->text[i]};
    return kl__meta_of_bytes(m->element, m->number + i * kl__meta_type_bytes(m->element));
}

struct kl__meta kl__meta_u32(const char *key, uint32_t value)
{
    return (struct kl__meta){.key = kl__str(key), .type = KL__META_U32, .u = value};
}

struct kl__meta kl__meta_f32(const char *key, float value)
{
    return (struct kl__meta){.key = kl__str(key), .type = KL__META_F32, .f = (double)value};
}

struct kl__meta kl__meta_bool(const char *key, bool value)
{
    return (struct kl__meta){.key = kl__str(key), .type = KL__META_BOOL, .u = value};
}

struct kl__meta kl__meta_string(const char *key, struct kl__str value)
{
    return (struct kl__meta){.key = kl__str(key), .type = KL__META_STRING, .s = value};
}

struct kl__meta kl__meta_numbers(const char *key, enum kl__meta_type element, const void *number, uint64_t n_item)
{
    return (struct kl__meta){
        .key = kl__str(key), .type = KL__META_ARRAY, .element = element, .n_item = n_item, .number = number};
}

struct kl__meta kl__meta_strings(const char *key, const struct kl__str *text, uint64_t n_item)
{
    return (struct kl__meta){
        .key = kl__str(key), .type = KL__META_ARRAY, .element = KL__META_STRING, .n_item = n_item, .text = text};
}

bool kl__meta_table_open(struct kl__meta_table *t, int64_t n_meta, const kl_allocator *alloc)
{
    *t = (struct kl__meta_table){.n_meta = n_meta};
    t->meta = kl__alloc(alloc, (size_t)n_meta * sizeof *t->meta);
    return t->meta && kl__names_open(&t->names, t->meta, sizeof *t->meta, (size_t)n_meta, alloc);
}

void kl__meta_table_close(struct kl__meta_table *t, const kl_allocator *alloc)
{
    for (int64_t i = 0; t->meta && i < t->n_meta; i++)
        if (t->meta[i].type == KL__META_ARRAY && t->meta[i].element == KL__META_STRING)
            kl__release(alloc, (void *)(uintptr_t)t->meta[i].text);
    kl__release(alloc, t->meta);
    kl__names_close(&t->names, alloc);
    *t = (struct kl__meta_table){0};
}

const struct kl__meta *kl__meta_find(const struct kl__meta_table *t, const char *key)
{
    int64_t i = kl__names_find(&t->names, kl__str(key));
    return i < 0 ? NULL : &t->meta[i];
}
