#include "base/error.h"
#include "format/gguf.h"
#include "format/writer_parts.h"

#include <string.h>

static void put_u32(struct kl__buffer *b, uint32_t v)
{
    kl__buffer_put(b, &v, sizeof v);
}

static void put_u64(struct kl__buffer *b, uint64_t v)
{
    kl__buffer_put(b, &v, sizeof v);
}

static void put_str(struct kl__buffer *b, struct kl__str s)
{
    put_u64(b, s.bytes);
    kl__buffer_put(b, s.at, s.bytes);
}

static void put_array(struct kl__buffer *b, const struct kl__meta *m)
{
    put_u32(b, m->element);
    put_u64(b, m->n_item);
    if (m->element == KL__META_STRING)
        for (uint64_t i = 0; i < m->n_item; i++)
            put_str(b, m->text[i]);
    else
        kl__buffer_put(b, m->number, (size_t)m->n_item * kl__meta_type_bytes(m->element));
}

static void put_value(struct kl__buffer *b, const struct kl__meta *m)
{
    float f = (float)m->f;
    if (m->type == KL__META_ARRAY)
        put_array(b, m);
    else if (m->type == KL__META_STRING)
        put_str(b, m->s);
    else if (m->type == KL__META_F32)
        kl__buffer_put(b, &f, sizeof f);
    else
        kl__buffer_put(b, &m->u, kl__meta_type_bytes(m->type)); /* the low bytes of an integer; all of an f64 */
}

kl_status kl__gguf_put_meta(struct kl__writer *w, const struct kl__meta *m, kl_error *err)
{
    if (m->key.bytes > KL__GGUF_KEY_BYTES)
        return kl__writer_fail(w, err, KL_ERR_ARGUMENT, "key", m->key, "is longer than 65535 bytes");
    if ((unsigned)m->type >= KL__N_META ||
        (m->type == KL__META_ARRAY && ((unsigned)m->element >= KL__N_META || m->element == KL__META_ARRAY)))
        return kl__writer_fail(w, err, KL_ERR_UNSUPPORTED, "key", m->key, "has a type that GGUF files do not hold");
    if (kl__str_same(m->key, kl__str(KL__GGUF_ALIGNMENT_KEY))) {
        if (m->type != KL__META_U32 || m->u == 0 || (m->u & (m->u - 1)))
            return kl__writer_fail(w, err, KL_ERR_ARGUMENT, "key", m->key, "is no power of two of type u32");
        w->alignment = m->u;
    }
    put_str(&w->meta, m->key);
    put_u32(&w->meta, m->type);
    put_value(&w->meta, m);
    return KL_OK;
}

static kl_status check_tensor(const struct kl__writer *w, const struct kl__stored *t, kl_error *err)
{
    const char *why = NULL;
    if (t->name.bytes > KL__GGUF_NAME_BYTES)
        why = "has a name of more than 63 bytes";
    else if (kl__type_info(t->type)->gguf_id < 0)
        why = "has a type that GGUF files do not hold";
    else if (t->n_dim > KL__GGUF_DIMS)
        why = "has more than 4 dimensions";
    else if (t->bytes == 0)
        why = "is empty";
    return why ? kl__writer_fail(w, err, KL_ERR_UNSUPPORTED, "tensor", t->name, why) : KL_OK;
}

static void put_tensor(struct kl__buffer *b, const struct kl__stored *t, uint64_t offset)
{
    put_str(b, t->name);
    put_u32(b, t->n_dim ? (uint32_t)t->n_dim : 1);
    for (int d = t->n_dim - 1; d >= 0; d--)
        put_u64(b, (uint64_t)t->dim[d]);
    if (t->n_dim == 0)
        put_u64(b, 1);
    put_u32(b, (uint32_t)kl__type_info(t->type)->gguf_id);
    put_u64(b, offset);
}

/* Rounds up; false when the sum is more than a file can have. */
static bool round_up(uint64_t *value, uint64_t alignment)
{
    if (*value > (uint64_t)INT64_MAX - alignment)
        return false;
    *value = (*value + alignment - 1) & ~(alignment - 1);
    return true;
}

/* Tensors one behind the other, in the order in which they were announced. */
static kl_status put_tensors(struct kl__writer *w, kl_error *err)
{
    uint64_t offset = 0;
    for (int64_t i = 0; i < w->n_tensor; i++) {
        struct kl__written *t = kl__written(w, i);
        KL_TRY(check_tensor(w, &t->t, err));
        put_tensor(&w->header, &t->t, offset);
        t->at = offset;
        if (__builtin_add_overflow(offset, t->t.bytes, &offset) || !round_up(&offset, w->alignment))
            return kl__writer_fail(w, err, KL_ERR_UNSUPPORTED, "tensor", t->t.name, "makes the file too large");
    }
    w->end = offset;
    return KL_OK;
}

kl_status kl__gguf_lay_out(struct kl__writer *w, kl_error *err)
{
    w->alignment = w->alignment ? w->alignment : KL__GGUF_ALIGNMENT;
    kl__buffer_put(&w->header, KL__GGUF_MAGIC, 4);
    put_u32(&w->header, KL__GGUF_VERSION);
    put_u64(&w->header, (uint64_t)w->n_tensor);
    put_u64(&w->header, (uint64_t)w->n_meta);
    kl__buffer_put(&w->header, w->meta.data, w->meta.bytes);
    KL_TRY(put_tensors(w, err));
    uint64_t start = w->header.bytes;
    if (!round_up(&start, w->alignment) || __builtin_add_overflow(w->end, start, &w->end) || w->end > INT64_MAX)
        return kl__fail(err, KL_ERR_UNSUPPORTED, "%s: the file would be too large", kl__shown_path(w->path).text);
    for (int64_t i = 0; i < w->n_tensor; i++)
        kl__written(w, i)->at += start;
    return KL_OK;
}
