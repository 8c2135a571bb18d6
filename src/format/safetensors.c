/* Reading one safetensors file.  The header is walked twice, first to count its entries, then to read them; each entry
 * is parsed alone, so that memory stays in proportion to the file. */
#include "format/safetensors.h"
#include "base/error.h"
#include "base/memory.h"
#include "format/format.h"
#include "format/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t header_bytes(const struct kl__map *map)
{
    uint64_t n = 0;
    if (map->bytes >= sizeof n)
        memcpy(&n, map->data, sizeof n);
    return n;
}

bool kl__safetensors_claims(const struct kl__map *map)
{
    return map->bytes > 8 && header_bytes(map) <= map->bytes - 8 && map->data[8] == '{';
}

/* One file while it is read. */
struct header {
    struct kl__store *store;
    int file;
    struct kl__str text; /* the JSON */
    const unsigned char *buffer;
    size_t buffer_bytes;
    int64_t n_entry;
    int64_t n_meta; /* values under "__metadata__" */
    char *names;    /* free room for names; never more than the header is long */
    struct kl__meta_table *table;
    kl_error *err;
};

static struct kl__shown path_of(const struct header *h)
{
    return kl__shown_file(h->store, h->file);
}

static const char *raw_path(const struct header *h)
{
    return h->store->file[h->file].path;
}

static kl_status find_header(struct header *h)
{
    const struct kl__map *map = &h->store->file[h->file].map;
    uint64_t n = header_bytes(map);
    if (map->bytes < 8)
        return kl__fail(h->err, KL_ERR_FORMAT, "%s: has %zu bytes, too few for the length of a header", path_of(h).text,
                        map->bytes);
    if (n > KL__SAFETENSORS_HEADER_BYTES)
        return kl__fail(h->err, KL_ERR_FORMAT, "%s: the header is said to have %llu bytes, allowed are %d",
                        path_of(h).text, (unsigned long long)n, KL__SAFETENSORS_HEADER_BYTES);
    if (n > map->bytes - 8)
        return kl__fail(h->err, KL_ERR_FORMAT, "%s: the header is said to have %llu bytes, the file has %zu behind it",
                        path_of(h).text, (unsigned long long)n, map->bytes - 8);
    h->text = (struct kl__str){(const char *)map->data + 8, (size_t)n};
    h->buffer = map->data + 8 + n;
    h->buffer_bytes = map->bytes - 8 - (size_t)n;
    if (n == 0 || h->text.at[0] != '{')
        return kl__fail(h->err, KL_ERR_FORMAT, "%s: the header does not begin with '{'", path_of(h).text);
    size_t end = h->text.bytes;
    while (end > 0 && h->text.at[end - 1] == ' ')
        end--;
    if (h->text.at[end - 1] != '}')
        return kl__fail(h->err, KL_ERR_FORMAT, "%s: the header ends with byte 0x%02x, expected '}' and spaces",
                        path_of(h).text, (unsigned char)h->text.at[end - 1]);
    return KL_OK;
}

static bool is_meta(struct kl__str key)
{
    static const char meta[] = "\"" KL__SAFETENSORS_META "\"";
    return kl__str_same(key, kl__str(meta));
}

/* -------------------------------------------------------------------------------------------------------- counts -- */

static kl_status count_members(struct header *h, struct kl__str object, const char *what, int64_t *n)
{
    struct kl__json_walk w;
    struct kl__str key, value;
    KL_TRY(kl__json_walk(&w, object, raw_path(h), what, h->err));
    for (*n = 0;; ++*n) {
        KL_TRY(kl__json_next(&w, &key, &value));
        if (!key.at)
            return KL_OK;
    }
}

static kl_status count_entries(struct header *h)
{
    struct kl__json_walk w;
    struct kl__str key, value;
    bool meta_seen = false;
    KL_TRY(kl__json_walk(&w, h->text, raw_path(h), "header", h->err));
    for (;;) {
        KL_TRY(kl__json_next(&w, &key, &value));
        if (!key.at)
            return KL_OK;
        if (!is_meta(key)) {
            h->n_entry++;
            continue;
        }
        if (meta_seen)
            return kl__fail(h->err, KL_ERR_FORMAT, "%s: '%s' stands in the header twice", path_of(h).text,
                            KL__SAFETENSORS_META);
        meta_seen = true;
        KL_TRY(count_members(h, value, KL__SAFETENSORS_META, &h->n_meta));
        if (h->n_meta > KL__SAFETENSORS_META_ENTRIES)
            return kl__fail(h->err, KL_ERR_UNSUPPORTED, "%s: '%s' has %lld entries, limit %d", path_of(h).text,
                            KL__SAFETENSORS_META, (long long)h->n_meta, KL__SAFETENSORS_META_ENTRIES);
    }
}

/* ------------------------------------------------------------------------------------------------------ metadata -- */

static kl_status read_metadata(struct header *h, struct kl__str object)
{
    struct kl__json_walk w;
    struct kl__str key, value;
    KL_TRY(kl__json_walk(&w, object, raw_path(h), KL__SAFETENSORS_META, h->err));
    for (int64_t i = 0; i < h->n_meta; i++) {
        struct kl__meta *m = &h->table->meta[i];
        KL_TRY(kl__json_next(&w, &key, &value));
        m->type = KL__META_STRING;
        KL_TRY(kl__json_copy_string(&h->names, &m->key, key, raw_path(h), KL__SAFETENSORS_META, h->err));
        KL_TRY(kl__json_copy_string(&h->names, &m->s, value, raw_path(h), KL__SAFETENSORS_META, h->err));
        if (kl__names_add(&h->table->names, (size_t)i) != (size_t)i)
            return kl__fail(h->err, KL_ERR_FORMAT, "%s: key '%s' stands in '%s' twice", path_of(h).text,
                            kl__shown(m->key).text, KL__SAFETENSORS_META);
    }
    return KL_OK;
}

/* ------------------------------------------------------------------------------------------------------- entries -- */

static kl_status fail_entry(const struct header *h, const struct kl__stored *t, const char *field, struct kl__str found,
                            const char *expected)
{
    return kl__fail(h->err, KL_ERR_FORMAT, "%s: tensor '%s': %s is %s, expected %s", path_of(h).text,
                    kl__shown(t->name).text, field, found.at ? kl__shown(found).text : "missing", expected);
}

/* Integers from 0 up, at most `most` of them; returns how many, -1 when the value is anything else. */
static int integers(int64_t *to, int most, const struct json_t *array)
{
    size_t n = kl__json_items(array);
    if (!kl__json_is_array(array) || n > (size_t)most)
        return -1;
    for (size_t i = 0; i < n; i++)
        if (!kl__json_int(kl__json_item(array, i), &to[i]) || to[i] < 0)
            return -1;
    return (int)n;
}

static kl_status read_fields(struct header *h, int64_t i, const struct json_t *entry, struct kl__str text)
{
    struct kl__stored *t = &h->store->tensor[i];
    struct kl__str dtype = {0};
    int64_t offset[2];
    if (!kl__json_string(kl__json_member(entry, "dtype"), &dtype))
        return fail_entry(h, t, "the entry", text, "an object with a string 'dtype'");
    t->type = kl__type_of_safetensors(dtype.at, dtype.bytes);
    if (t->type == KL__N_TYPE)
        return fail_entry(h, t, "'dtype'", dtype, "a type such as BF16 or F32");
    t->n_dim = integers(t->dim, KL__STORE_DIMS, kl__json_member(entry, "shape"));
    if (t->n_dim < 0)
        return fail_entry(h, t, "the entry", text, "a 'shape' of at most 6 integers from 0 up");
    if (integers(offset, 2, kl__json_member(entry, "data_offsets")) != 2)
        return fail_entry(h, t, "the entry", text, "'data_offsets' of two integers from 0 up");
    KL_TRY(kl__store_enter(h->store, i, h->err));
    if (offset[0] > offset[1] || (uint64_t)offset[1] > h->buffer_bytes)
        return kl__fail(h->err, KL_ERR_FORMAT, "%s: tensor '%s' lies at bytes %lld to %lld of a buffer of %zu",
                        path_of(h).text, kl__shown(t->name).text, (long long)offset[0], (long long)offset[1],
                        h->buffer_bytes);
    if ((uint64_t)(offset[1] - offset[0]) != t->bytes)
        return kl__fail(h->err, KL_ERR_FORMAT, "%s: tensor '%s' %s %s lies in %lld bytes, expected %zu",
                        path_of(h).text, kl__shown(t->name).text, kl__type_info(t->type)->name,
                        kl__shown_shape(t->n_dim, t->dim).text, (long long)(offset[1] - offset[0]), t->bytes);
    t->data = h->buffer + offset[0];
    return KL_OK;
}

static kl_status read_entry(struct header *h, int64_t i, struct kl__str key, struct kl__str value)
{
    struct kl__stored *t = &h->store->tensor[i];
    char what[100];
    struct json_t *entry;
    t->file = h->file;
    KL_TRY(kl__json_copy_string(&h->names, &t->name, key, raw_path(h), "the name of a tensor", h->err));
    snprintf(what, sizeof what, "tensor '%s'", kl__shown(t->name).text);
    KL_TRY(kl__json_parse(&entry, value, raw_path(h), what, h->err));
    kl_status status = read_fields(h, i, entry, value);
    kl__json_free(entry);
    return status;
}

static kl_status read_entries(struct header *h)
{
    struct kl__json_walk w;
    struct kl__str key, value;
    int64_t i = h->store->n_tensor;
    KL_TRY(kl__json_walk(&w, h->text, raw_path(h), "header", h->err));
    for (;;) {
        KL_TRY(kl__json_next(&w, &key, &value));
        if (!key.at)
            return KL_OK;
        if (is_meta(key))
            KL_TRY(read_metadata(h, value));
        else if (i < h->store->n_reserved)
            KL_TRY(read_entry(h, i++, key, value));
        else
            return kl__fail(h->err, KL_ERR_IO, "%s: changed while it was read", path_of(h).text);
    }
}

/* -------------------------------------------------------------------------------------------------------- tiling -- */

static int by_place(const void *a, const void *b)
{
    const struct kl__stored *const *x = a, *const *y = b;
    if ((*x)->data != (*y)->data)
        return (*x)->data < (*y)->data ? -1 : 1;
    return (*x)->bytes < (*y)->bytes ? -1 : (*x)->bytes > (*y)->bytes;
}

/* Sorted by place, each tensor begins where the one before it ends, and the last one ends with the file. */
static kl_status check_tiles(const struct header *h, const struct kl__stored **sorted, int64_t from)
{
    size_t at = 0;
    for (int64_t i = 0; i < h->n_entry; i++)
        sorted[i] = &h->store->tensor[from + i];
    qsort(sorted, (size_t)h->n_entry, sizeof *sorted, by_place);
    for (int64_t i = 0; i < h->n_entry; i++) {
        size_t begin = (size_t)((const unsigned char *)sorted[i]->data - h->buffer);
        if (begin != at)
            return kl__fail(h->err, KL_ERR_FORMAT, "%s: tensor '%s' begins at byte %zu of the buffer, expected %zu: %s",
                            path_of(h).text, kl__shown(sorted[i]->name).text, begin, at,
                            begin > at ? "a hole" : "an overlap");
        at += sorted[i]->bytes;
    }
    if (at != h->buffer_bytes)
        return kl__fail(h->err, KL_ERR_FORMAT, "%s: the tensors end at byte %zu of a buffer of %zu", path_of(h).text,
                        at, h->buffer_bytes);
    return KL_OK;
}

static kl_status check_tiling(struct header *h, int64_t from)
{
    const struct kl__stored **sorted = kl__alloc(h->store->alloc, (size_t)h->n_entry * sizeof *sorted);
    if (!sorted)
        return kl__fail(h->err, KL_ERR_MEMORY, "%s: no memory to check it", path_of(h).text);
    kl_status status = check_tiles(h, sorted, from);
    kl__release(h->store->alloc, sorted);
    return status;
}

/* --------------------------------------------------------------------------------------------------------- files -- */

static kl_status count_file(struct kl__store *s, int file, int64_t *n_tensor, kl_error *err)
{
    struct header h = {.store = s, .file = file, .err = err};
    KL_TRY(find_header(&h));
    KL_TRY(count_entries(&h));
    *n_tensor += h.n_entry;
    return KL_OK;
}

/* The metadata of the first file becomes the store's, that of the others is only checked. */
static kl_status read_file(struct kl__store *s, int file, kl_error *err)
{
    struct kl__meta_table other = {0};
    struct header h = {.store = s, .file = file, .table = file ? &other : &s->meta, .err = err};
    int64_t from = s->n_tensor;
    KL_TRY(find_header(&h));
    KL_TRY(count_entries(&h));
    h.names = s->file[file].names = kl__alloc(s->alloc, h.text.bytes);
    if (!h.names || !kl__meta_table_open(h.table, h.n_meta, s->alloc)) {
        kl__meta_table_close(&other, s->alloc);
        return kl__fail(err, KL_ERR_MEMORY, "%s: no memory for its header", kl__shown_file(s, file).text);
    }
    kl_status status = read_entries(&h);
    kl__meta_table_close(&other, s->alloc);
    KL_TRY(status);
    return check_tiling(&h, from);
}

kl_status kl__safetensors_read(struct kl__store *s, kl_error *err)
{
    int64_t n_tensor = 0;
    for (int i = 0; i < s->n_file; i++)
        KL_TRY(count_file(s, i, &n_tensor, err));
    if (n_tensor > INT32_MAX)
        return kl__fail(err, KL_ERR_UNSUPPORTED, "%s: the model has %lld tensors, limit %d", kl__shown_file(s, 0).text,
                        (long long)n_tensor, INT32_MAX);
    KL_TRY(kl__store_reserve(s, n_tensor, err));
    for (int i = 0; i < s->n_file; i++)
        KL_TRY(read_file(s, i, err));
    return KL_OK;
}
