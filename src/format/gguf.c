/* Reading GGUF.  First the head and the metadata of every part (a model may be split over several files), then, with
 * room for all of them, the descriptions of the tensors. */
#include "format/gguf.h"
#include "base/error.h"
#include "base/memory.h"
#include "format/format.h"

#include <stdio.h>
#include <string.h>

bool kl__gguf_claims(const struct kl__map *map)
{
    return map->bytes >= 4 && memcmp(map->data, KL__GGUF_MAGIC, 4) == 0;
}

/* -------------------------------------------------------------------------------------------------------- a part -- */

struct part {
    struct kl__store *store;
    int file; /* index in store->file */
    const unsigned char *data;
    size_t bytes;
    size_t at; /* the next byte to read, at most `bytes` */
    int64_t n_tensor, n_kv;
    uint64_t alignment;
    struct kl__meta_table *table;
    kl_error *err;
};

static struct kl__shown path_of(const struct part *p)
{
    return kl__shown_file(p->store, p->file);
}

/* The next `n` bytes, which are (part of) `what`; NULL, with a sentence, when there are fewer. */
static const unsigned char *take(struct part *p, size_t n, const char *what)
{
    if (n > p->bytes - p->at) {
        kl__fail(p->err, KL_ERR_FORMAT, "%s: the file ends inside %s: %zu bytes wanted at byte %zu of %zu",
                 path_of(p).text, what, n, p->at, p->bytes);
        return NULL;
    }
    p->at += n;
    return p->data + p->at - n;
}

/* The next number of `n` bytes. */
static kl_status take_number(struct part *p, const char *what, void *value, size_t n)
{
    const unsigned char *bytes = take(p, n, what);
    if (!bytes)
        return KL_ERR_FORMAT;
    memcpy(value, bytes, n);
    return KL_OK;
}

static kl_status take_u32(struct part *p, const char *what, uint32_t *value)
{
    return take_number(p, what, value, sizeof *value);
}

static kl_status take_u64(struct part *p, const char *what, uint64_t *value)
{
    return take_number(p, what, value, sizeof *value);
}

static kl_status take_str(struct part *p, const char *what, struct kl__str *s)
{
    uint64_t n = 0;
    KL_TRY(take_u64(p, what, &n));
    if (n > p->bytes - p->at)
        return kl__fail(p->err, KL_ERR_FORMAT, "%s: %s is said to have %llu bytes, but only %zu are left in the file",
                        path_of(p).text, what, (unsigned long long)n, p->bytes - p->at);
    *s = (struct kl__str){(const char *)p->data + p->at, (size_t)n};
    p->at += (size_t)n;
    return KL_OK;
}

/* Keys and names of tensors are text. */
static kl_status check_text(struct part *p, const char *what, int64_t i, struct kl__str s, size_t most)
{
    if (s.bytes == 0 || s.bytes > most)
        return kl__fail(p->err, KL_ERR_FORMAT, "%s: %s %lld has %zu bytes, expected 1 to %zu", path_of(p).text, what,
                        (long long)i, s.bytes, most);
    if (!kl__utf8_valid(s) || memchr(s.at, 0, s.bytes))
        return kl__fail(p->err, KL_ERR_FORMAT, "%s: %s %lld, '%s', is not UTF-8 text", path_of(p).text, what,
                        (long long)i, kl__shown(s).text);
    return KL_OK;
}

/* A count of things that take at least `least` bytes each, checked against the bytes that are left. */
static kl_status take_count(struct part *p, const char *what, size_t least, int64_t *count)
{
    uint64_t n = 0;
    KL_TRY(take_u64(p, what, &n));
    size_t most = (p->bytes - p->at) / least;
    most = most < INT32_MAX ? most : INT32_MAX;
    if (n > most)
        return kl__fail(p->err, KL_ERR_FORMAT, "%s: %s is %lld, but the file has room for %zu at most", path_of(p).text,
                        what, (long long)n, most);
    *count = (int64_t)n;
    return KL_OK;
}

/* What is counted, at its smallest: a key of one byte with a value of one, a name of one byte with one dimension. */
enum { LEAST_KV = 8 + 1 + 4 + 1, LEAST_TENSOR = 8 + 1 + 4 + 8 + 4 + 8 };

static kl_status read_head(struct part *p)
{
    char magic[4];
    uint32_t version = 0;
    KL_TRY(take_number(p, "the magic", magic, sizeof magic));
    if (memcmp(magic, KL__GGUF_MAGIC, sizeof magic) != 0)
        return kl__fail(p->err, KL_ERR_FORMAT, "%s: begins with '%s', expected 'GGUF'", path_of(p).text,
                        kl__shown((struct kl__str){magic, sizeof magic}).text);
    KL_TRY(take_u32(p, "the version", &version));
    if (version && (version & 0xffff) == 0)
        return kl__fail(p->err, KL_ERR_UNSUPPORTED, "%s: is a big-endian GGUF file, expected little-endian",
                        path_of(p).text);
    /* Version 2 has the same layout; version 1 counts in 32 bits. */
    if (version != 2 && version != KL__GGUF_VERSION)
        return kl__fail(p->err, KL_ERR_UNSUPPORTED, "%s: is GGUF version %u, expected 2 or 3", path_of(p).text,
                        version);
    KL_TRY(take_count(p, "the number of tensors", LEAST_TENSOR, &p->n_tensor));
    KL_TRY(take_count(p, "the number of keys", LEAST_KV, &p->n_kv));
    if (p->n_tensor <= KL__GGUF_TENSORS && p->n_kv <= KL__GGUF_KEYS)
        return KL_OK;
    return kl__fail(p->err, KL_ERR_UNSUPPORTED, "%s: has %lld tensors, limit %d, and %lld keys, limit %d",
                    path_of(p).text, (long long)p->n_tensor, KL__GGUF_TENSORS, (long long)p->n_kv, KL__GGUF_KEYS);
}

/* ------------------------------------------------------------------------------------------------------ metadata -- */

/* What is being read, for sentences: "the value of key 'KEY'". */
struct label {
    char text[120];
};

static struct label value_of(const struct kl__meta *m)
{
    struct label l;
    snprintf(l.text, sizeof l.text, "the value of key '%s'", kl__shown(m->key).text);
    return l;
}

static kl_status fail_value(struct part *p, const struct kl__meta *m, kl_status status, const char *is, long long found,
                            const char *expected)
{
    return kl__fail(p->err, status, "%s: key '%s' %s %lld, expected %s", path_of(p).text, kl__shown(m->key).text, is,
                    found, expected);
}

static kl_status check_bools(struct part *p, const struct kl__meta *m, const unsigned char *b, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        if (b[i] > 1)
            return fail_value(p, m, KL_ERR_FORMAT, "has the bool", b[i], "0 or 1");
    return KL_OK;
}

static kl_status read_strings(struct part *p, struct kl__meta *m, const char *what)
{
    if (m->n_item == 0)
        return KL_OK;
    struct kl__str *text = kl__alloc(p->store->alloc, (size_t)m->n_item * sizeof *text);
    if (!text)
        return kl__fail(p->err, KL_ERR_MEMORY, "%s: no memory for %s", path_of(p).text, what);
    m->text = text; /* from here on the table frees it */
    for (uint64_t i = 0; i < m->n_item; i++)
        KL_TRY(take_str(p, what, &text[i]));
    return KL_OK;
}

static kl_status read_array(struct part *p, struct kl__meta *m, const char *what)
{
    uint32_t element = 0;
    int64_t n_item = 0;
    KL_TRY(take_u32(p, what, &element));
    if (element >= KL__N_META)
        return fail_value(p, m, KL_ERR_FORMAT, "is an array of type", element, "0 to 12");
    if (element == KL__META_ARRAY)
        return fail_value(p, m, KL_ERR_UNSUPPORTED, "is an array of arrays, type", element, "numbers or strings");
    size_t item_bytes = kl__meta_type_bytes(element);
    KL_TRY(take_count(p, what, item_bytes ? item_bytes : sizeof(uint64_t), &n_item));
    m->element = element;
    m->n_item = (uint64_t)n_item;
    if (element == KL__META_STRING)
        return read_strings(p, m, what);
    m->number = take(p, (size_t)n_item * item_bytes, what);
    if (!m->number)
        return KL_ERR_FORMAT;
    return element == KL__META_BOOL ? check_bools(p, m, m->number, m->n_item) : KL_OK;
}

static kl_status read_value(struct part *p, struct kl__meta *m)
{
    struct label what = value_of(m);
    uint32_t type = 0;
    KL_TRY(take_u32(p, what.text, &type));
    if (type >= KL__N_META)
        return fail_value(p, m, KL_ERR_FORMAT, "has type", type, "0 to 12");
    if (type == KL__META_ARRAY || type == KL__META_STRING) {
        struct kl__meta v = {.key = m->key, .type = type};
        *m = v;
        return type == KL__META_ARRAY ? read_array(p, m, what.text) : take_str(p, what.text, &m->s);
    }
    const unsigned char *bytes = take(p, kl__meta_type_bytes(type), what.text);
    if (!bytes)
        return KL_ERR_FORMAT;
    struct kl__str key = m->key;
    *m = kl__meta_of_bytes(type, bytes);
    m->key = key;
    return type == KL__META_BOOL ? check_bools(p, m, bytes, 1) : KL_OK;
}

static kl_status read_metadata(struct part *p)
{
    if (!kl__meta_table_open(p->table, p->n_kv, p->store->alloc))
        return kl__fail(p->err, KL_ERR_MEMORY, "%s: no memory for its %lld keys", path_of(p).text, (long long)p->n_kv);
    for (int64_t i = 0; i < p->n_kv; i++) {
        struct kl__meta *m = &p->table->meta[i];
        KL_TRY(take_str(p, "a key", &m->key));
        KL_TRY(check_text(p, "key", i, m->key, KL__GGUF_KEY_BYTES));
        if (kl__names_add(&p->table->names, (size_t)i) != (size_t)i)
            return kl__fail(p->err, KL_ERR_FORMAT, "%s: key '%s' stands in the file twice", path_of(p).text,
                            kl__shown(m->key).text);
        KL_TRY(read_value(p, m));
    }
    return KL_OK;
}

static kl_status read_alignment(struct part *p)
{
    const struct kl__meta *m = kl__meta_find(p->table, KL__GGUF_ALIGNMENT_KEY);
    p->alignment = KL__GGUF_ALIGNMENT;
    if (!m)
        return KL_OK;
    if (m->type != KL__META_U32)
        return kl__fail(p->err, KL_ERR_FORMAT, "%s: key '%s' is of type %s, expected u32", path_of(p).text,
                        KL__GGUF_ALIGNMENT_KEY, kl__meta_type_name(m->type));
    if (m->u == 0 || (m->u & (m->u - 1)))
        return fail_value(p, m, KL_ERR_FORMAT, "is", (long long)m->u, "a power of two");
    p->alignment = m->u;
    return KL_OK;
}

/* Everything in front of the tensors' descriptions. */
static kl_status open_part(struct part *p, struct kl__store *s, int file, struct kl__meta_table *table, kl_error *err)
{
    const struct kl__map *map = &s->file[file].map;
    *p = (struct part){.store = s, .file = file, .data = map->data, .bytes = map->bytes, .table = table, .err = err};
    KL_TRY(read_head(p));
    KL_TRY(read_metadata(p));
    return read_alignment(p);
}

/* ------------------------------------------------------------------------------------------------------- tensors -- */

static kl_status fail_tensor(struct part *p, const struct kl__stored *t, kl_status status, const char *is,
                             long long found, const char *expected)
{
    return kl__fail(p->err, status, "%s: tensor '%s' %s %lld, expected %s", path_of(p).text, kl__shown(t->name).text,
                    is, found, expected);
}

static kl_status read_shape(struct part *p, struct kl__stored *t)
{
    uint32_t n_dim = 0;
    uint64_t dim = 0;
    KL_TRY(take_u32(p, "the shape of a tensor", &n_dim));
    if (n_dim < 1 || n_dim > KL__GGUF_DIMS)
        return fail_tensor(p, t, KL_ERR_FORMAT, "has a number of dimensions of", n_dim, "1 to 4");
    t->n_dim = (int)n_dim;
    for (int d = t->n_dim - 1; d >= 0; d--) {
        KL_TRY(take_u64(p, "the shape of a tensor", &dim));
        if (dim < 1 || dim > INT64_MAX)
            return fail_tensor(p, t, KL_ERR_FORMAT, "has a dimension of", (long long)dim, "at least 1");
        t->dim[d] = (int64_t)dim;
    }
    return KL_OK;
}

static kl_status read_type(struct part *p, struct kl__stored *t)
{
    uint32_t id = 0;
    KL_TRY(take_u32(p, "the type of a tensor", &id));
    t->type = kl__type_of_gguf(id);
    if (t->type == KL__N_TYPE)
        return fail_tensor(p, t, KL_ERR_UNSUPPORTED, "has type", id,
                           "one of F32 F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q2_K to Q6_K IQ4_NL IQ4_XS MXFP4");
    return KL_OK;
}

static bool round_up(uint64_t *value, uint64_t alignment)
{
    if (__builtin_add_overflow(*value, alignment - 1, value))
        return false;
    *value &= ~(alignment - 1);
    return true;
}

/* The end of tensor t, which begins at `offset`, and the padding behind it. */
static kl_status pass(struct part *p, const struct kl__stored *t, uint64_t *offset)
{
    if (__builtin_add_overflow(*offset, t->bytes, offset) || !round_up(offset, p->alignment))
        return fail_tensor(p, t, KL_ERR_FORMAT, "has a number of bytes of", (long long)t->bytes,
                           "fewer: its end cannot be counted");
    return KL_OK;
}

/* One description.  Tensors lie one behind the other: `offset` is where this one has to be. */
static kl_status read_tensor(struct part *p, int64_t i, uint64_t *offset)
{
    struct kl__stored *t = &p->store->tensor[i];
    uint64_t found = 0;
    t->file = p->file;
    KL_TRY(take_str(p, "the name of a tensor", &t->name));
    KL_TRY(check_text(p, "the name of tensor", i, t->name, KL__GGUF_NAME_BYTES));
    KL_TRY(read_shape(p, t));
    KL_TRY(read_type(p, t));
    KL_TRY(take_u64(p, "the offset of a tensor", &found));
    KL_TRY(kl__store_enter(p->store, i, p->err));
    if (found != *offset)
        return kl__fail(
            p->err, KL_ERR_FORMAT, "%s: tensor '%s' is at offset %llu, expected %llu, the end of the one before it",
            path_of(p).text, kl__shown(t->name).text, (unsigned long long)found, (unsigned long long)*offset);
    return pass(p, t, offset);
}

/* Gives the tensors from..from+n_tensor-1 their place behind the descriptions. */
static kl_status place_tensors(struct part *p, int64_t from)
{
    uint64_t at = p->at;
    if (!round_up(&at, p->alignment) || (p->n_tensor && at > p->bytes))
        return kl__fail(p->err, KL_ERR_FORMAT, "%s: the file ends before its tensors: it has %zu bytes",
                        path_of(p).text, p->bytes);
    for (int64_t i = from; i < from + p->n_tensor; i++) {
        struct kl__stored *t = &p->store->tensor[i];
        if (at > p->bytes || t->bytes > p->bytes - at)
            return kl__fail(p->err, KL_ERR_FORMAT,
                            "%s: the file ends inside tensor '%s': %zu bytes wanted at byte %llu of %zu",
                            path_of(p).text, kl__shown(t->name).text, t->bytes, (unsigned long long)at, p->bytes);
        t->data = p->data + at;
        KL_TRY(pass(p, t, &at));
    }
    return KL_OK;
}

static kl_status read_tensors(struct part *p)
{
    int64_t from = p->store->n_tensor;
    uint64_t offset = 0;
    for (int64_t i = from; i < from + p->n_tensor; i++)
        KL_TRY(read_tensor(p, i, &offset));
    return place_tensors(p, from);
}

/* --------------------------------------------------------------------------------------------------- split files -- */

/* How the name of part 1 of n ends; the digits of the others count up. */
static bool first_part_ending(char ending[24], int64_t n_part, int64_t part)
{
    return snprintf(ending, 24, "-%05d-of-%05d.gguf", (int)part, (int)n_part) < 24;
}

static kl_status add_part(struct kl__store *s, int64_t n_part, int64_t part, kl_error *err)
{
    char first[24], other[24];
    const char *path = s->file[0].path;
    size_t bytes = strlen(path), tail = 20;
    bool named = first_part_ending(first, n_part, 1) && first_part_ending(other, n_part, part) && bytes >= tail &&
                 strcmp(path + bytes - tail, first) == 0;
    if (!named)
        return kl__fail(err, KL_ERR_FORMAT, "%s: is the first of %lld parts, but its name does not end in '%s'",
                        kl__shown_file(s, 0).text, (long long)n_part, first);
    char *name = kl__alloc(s->alloc, bytes + 1);
    if (!name)
        return kl__fail(err, KL_ERR_MEMORY, "%s: no memory to open it", kl__shown_file(s, 0).text);
    memcpy(name, path, bytes - tail);
    memcpy(name + bytes - tail, other, tail + 1);
    kl_status status = kl__store_add_file(s, name, err);
    kl__release(s->alloc, name);
    return status;
}

/* The integer value of a key that need not be there. */
static int64_t value_or(const struct part *p, const char *key, int64_t absent)
{
    const struct kl__meta *m = kl__meta_find(p->table, key);
    int64_t v;
    return m && kl__meta_int(m, &v) ? v : absent;
}

static const char number_key[] = "split.no", count_key[] = "split.count", total_key[] = "split.tensors.count";

/* Parts that were joined say 0. */
static int64_t part_count(const struct part *p)
{
    int64_t count = value_or(p, count_key, 1);
    return count ? count : 1;
}

/* The part says of itself that it is number `i` of `n_part`. */
static kl_status check_part(const struct part *p, int64_t i, int64_t n_part)
{
    int64_t number = value_or(p, number_key, 0), count = part_count(p);
    if (number == i && count == n_part)
        return KL_OK;
    return kl__fail(p->err, KL_ERR_FORMAT, "%s: is part %lld of %lld, expected part %lld of %lld", path_of(p).text,
                    (long long)number + 1, (long long)count, (long long)i + 1, (long long)n_part);
}

/* Opens parts 1..n_part-1, whose metadata is only checked. */
static kl_status open_rest(struct kl__store *s, struct part *part, int64_t n_part, kl_error *err)
{
    for (int64_t i = 1; i < n_part; i++) {
        struct kl__meta_table table = {0};
        KL_TRY(add_part(s, n_part, i + 1, err));
        kl_status status = open_part(&part[i], s, (int)i, &table, err);
        if (status == KL_OK)
            status = check_part(&part[i], i, n_part);
        kl__meta_table_close(&table, s->alloc);
        part[i].table = NULL;
        KL_TRY(status);
    }
    return KL_OK;
}

static kl_status read_all(struct kl__store *s, const struct part *first, struct part *part, int64_t n_part,
                          kl_error *err)
{
    int64_t n_tensor = 0;
    part[0] = *first;
    KL_TRY(open_rest(s, part, n_part, err));
    for (int64_t i = 0; i < n_part; i++)
        n_tensor += part[i].n_tensor;
    int64_t expected = value_or(first, total_key, n_tensor);
    if (n_tensor != expected)
        return kl__fail(err, KL_ERR_FORMAT, "%s: key '%s' is %lld, but the parts hold %lld tensors",
                        kl__shown_file(s, 0).text, total_key, (long long)expected, (long long)n_tensor);
    KL_TRY(kl__store_reserve(s, n_tensor, err));
    for (int64_t i = 0; i < n_part; i++)
        KL_TRY(read_tensors(&part[i]));
    return KL_OK;
}

kl_status kl__gguf_read(struct kl__store *s, kl_error *err)
{
    struct part first;
    KL_TRY(open_part(&first, s, 0, &s->meta, err));
    int64_t n_part = part_count(&first);
    if (n_part < 1 || n_part > KL__STORE_FILES)
        return kl__fail(err, KL_ERR_FORMAT, "%s: key '%s' is %lld, expected 1 to %d", kl__shown_file(s, 0).text,
                        count_key, (long long)n_part, KL__STORE_FILES);
    KL_TRY(check_part(&first, 0, n_part));
    struct part *part = kl__alloc(s->alloc, (size_t)n_part * sizeof *part);
    if (!part)
        return kl__fail(err, KL_ERR_MEMORY, "%s: no memory to open it", kl__shown_file(s, 0).text);
    kl_status status = read_all(s, &first, part, n_part, err);
    kl__release(s->alloc, part);
    return status;
}
