#include "base/error.h"
#include "base/memory.h"
#include "format/safetensors.h"
#include "format/writer_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

kl_status kl__safetensors_put_meta(struct kl__writer *w, const struct kl__meta *m, kl_error *err)
{
    if (m->type != KL__META_STRING)
        return kl__writer_fail(w, err, KL_ERR_UNSUPPORTED, "key", m->key, "is no string; safetensors holds no other");
    if (!kl__utf8_valid(m->s) || (m->s.bytes && memchr(m->s.at, 0, m->s.bytes)))
        return kl__writer_fail(w, err, KL_ERR_ARGUMENT, "key", m->key, "has a value that is not UTF-8 text");
    kl__buffer_put_text(&w->meta, w->meta.bytes ? "," : "");
    kl__buffer_put_json(&w->meta, m->key);
    kl__buffer_put_text(&w->meta, ":");
    kl__buffer_put_json(&w->meta, m->s);
    return KL_OK;
}

/* Numbers with more bytes first, so that each lies at a multiple of its size; then by name. */
static int by_size_and_name(const void *a, const void *b)
{
    const struct kl__stored *x = &(*(struct kl__written *const *)a)->t, *y = &(*(struct kl__written *const *)b)->t;
    int size_x = kl__type_info(x->type)->bytes, size_y = kl__type_info(y->type)->bytes;
    if (size_x != size_y)
        return size_x > size_y ? -1 : 1;
    int order = memcmp(x->name.at, y->name.at, x->name.bytes < y->name.bytes ? x->name.bytes : y->name.bytes);
    return order ? order : x->name.bytes < y->name.bytes ? -1 : 1;
}

static void put_number(struct kl__buffer *b, const char *before, uint64_t n)
{
    char text[40];
    snprintf(text, sizeof text, "%s%llu", before, (unsigned long long)n);
    kl__buffer_put_text(b, text);
}

static void put_entry(struct kl__buffer *b, const struct kl__stored *t, uint64_t begin, uint64_t end)
{
    kl__buffer_put_json(b, t->name);
    kl__buffer_put_text(b, ":{\"dtype\":\"");
    kl__buffer_put_text(b, kl__type_info(t->type)->name);
    kl__buffer_put_text(b, "\",\"shape\":[");
    for (int d = 0; d < t->n_dim; d++)
        put_number(b, d ? "," : "", (uint64_t)t->dim[d]);
    put_number(b, "],\"data_offsets\":[", begin);
    put_number(b, ",", end);
    kl__buffer_put_text(b, "]}");
}

static kl_status put_entries(struct kl__writer *w, struct kl__written **sorted, kl_error *err)
{
    uint64_t at = 0;
    for (int64_t i = 0; i < w->n_tensor; i++)
        sorted[i] = kl__written(w, i);
    qsort(sorted, (size_t)w->n_tensor, sizeof *sorted, by_size_and_name);
    for (int64_t i = 0; i < w->n_tensor; i++) {
        struct kl__stored *t = &sorted[i]->t;
        if (!kl__type_info(t->type)->in_safetensors)
            return kl__writer_fail(w, err, KL_ERR_UNSUPPORTED, "tensor", t->name,
                                   "has a type that safetensors files do not hold");
        sorted[i]->at = at;
        if (__builtin_add_overflow(at, t->bytes, &at) || at > INT64_MAX - KL__SAFETENSORS_HEADER_BYTES - 8)
            return kl__writer_fail(w, err, KL_ERR_UNSUPPORTED, "tensor", t->name, "makes the file too large");
        kl__buffer_put_text(&w->header, w->header.bytes > 9 ? "," : "");
        put_entry(&w->header, t, sorted[i]->at, at);
    }
    w->end = at;
    return KL_OK;
}

kl_status kl__safetensors_lay_out(struct kl__writer *w, kl_error *err)
{
    struct kl__written **sorted = kl__alloc(w->alloc, (size_t)w->n_tensor * sizeof *sorted);
    if (!sorted)
        return kl__fail(err, KL_ERR_MEMORY, "%s: no memory to write it", kl__shown_path(w->path).text);
    kl__buffer_put(&w->header, "\0\0\0\0\0\0\0\0{", 9);
    if (w->n_meta) {
        kl__buffer_put_text(&w->header, "\"" KL__SAFETENSORS_META "\":{");
        kl__buffer_put(&w->header, w->meta.data, w->meta.bytes);
        kl__buffer_put_text(&w->header, "}");
    }
    kl_status status = put_entries(w, sorted, err);
    kl__release(w->alloc, sorted);
    KL_TRY(status);
    kl__buffer_put_text(&w->header, "}");
    while (w->header.bytes % 8 && !w->header.failed)
        kl__buffer_put_text(&w->header, " ");
    if (w->header.failed)
        return KL_OK; /* which the writer looks at next */
    uint64_t json_bytes = w->header.bytes - 8;
    if (json_bytes > KL__SAFETENSORS_HEADER_BYTES)
        return kl__fail(err, KL_ERR_UNSUPPORTED, "%s: the header would have %llu bytes, allowed are %d",
                        kl__shown_path(w->path).text, (unsigned long long)json_bytes, KL__SAFETENSORS_HEADER_BYTES);
    memcpy(w->header.data, &json_bytes, sizeof json_bytes);
    for (int64_t i = 0; i < w->n_tensor; i++)
        kl__written(w, i)->at += w->header.bytes;
    w->end += w->header.bytes;
    return KL_OK;
}
