#include "format/writer.h"
#include "base/error.h"
#include "base/memory.h"
#include "format/writer_parts.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* ------------------------------------------------------------------------------------------------------- buffers -- */

static bool grow(struct kl__buffer *b, size_t bytes)
{
    size_t need, room = b->room ? b->room : 256;
    if (__builtin_add_overflow(b->bytes, bytes, &need) || need > SIZE_MAX / 2)
        return false;
    while (room < need)
        room *= 2;
    if (room == b->room)
        return true;
    char *data = kl__alloc(b->alloc, room);
    if (!data)
        return false;
    if (b->bytes)
        memcpy(data, b->data, b->bytes);
    kl__release(b->alloc, b->data);
    b->data = data;
    b->room = room;
    return true;
}

void kl__buffer_put(struct kl__buffer *b, const void *data, size_t bytes)
{
    b->failed = b->failed || !grow(b, bytes);
    if (b->failed || bytes == 0)
        return;
    memcpy(b->data + b->bytes, data, bytes);
    b->bytes += bytes;
}

void kl__buffer_put_text(struct kl__buffer *b, const char *text)
{
    kl__buffer_put(b, text, strlen(text));
}

void kl__buffer_put_json(struct kl__buffer *b, struct kl__str s)
{
    char code[8];
    kl__buffer_put_text(b, "\"");
    for (size_t i = 0; i < s.bytes; i++) {
        unsigned char c = (unsigned char)s.at[i];
        if (c < ' ') {
            snprintf(code, sizeof code, "\\u%04x", c);
            kl__buffer_put_text(b, code);
            continue;
        }
        if (c == '"' || c == '\\')
            kl__buffer_put_text(b, "\\");
        kl__buffer_put(b, &s.at[i], 1);
    }
    kl__buffer_put_text(b, "\"");
}

void kl__buffer_free(struct kl__buffer *b)
{
    kl__release(b->alloc, b->data);
    b->data = NULL;
}

/* -------------------------------------------------------------------------------------------------------- writer -- */

kl_status kl__writer_fail(const struct kl__writer *w, kl_error *err, kl_status status, const char *what,
                          struct kl__str name, const char *why)
{
    return kl__fail(err, status, "%s: %s '%s' %s", kl__shown_path(w->path).text, what, kl__shown(name).text, why);
}

static kl_status fail_memory(const struct kl__writer *w, kl_error *err)
{
    return kl__fail(err, KL_ERR_MEMORY, "%s: no memory to write it", kl__shown_path(w->path).text);
}

static void close_writer(struct kl__writer *w)
{
    for (int64_t i = 0; i < w->n_tensor; i++)
        kl__release(w->alloc, (void *)(uintptr_t)kl__written(w, i)->t.name.at);
    const struct kl__str *key = (const void *)w->keys.data;
    for (int64_t i = 0; i < w->n_meta; i++)
        kl__release(w->alloc, (void *)(uintptr_t)key[i].at);
    kl__buffer_free(&w->keys);
    kl__buffer_free(&w->meta);
    kl__buffer_free(&w->tensor);
    kl__buffer_free(&w->header);
    kl__release(w->alloc, w->path);
    kl__release(w->alloc, w);
}

static struct kl__writer *new_writer(const char *path, const struct kl__format *format, const kl_allocator *alloc)
{
    struct kl__writer *w = kl__alloc(alloc, sizeof *w);
    char *copy = kl__alloc(alloc, strlen(path) + 1);
    if (!w || !copy) {
        kl__release(alloc, w);
        kl__release(alloc, copy);
        return NULL;
    }
    struct kl__buffer empty = {.alloc = alloc};
    *w = (struct kl__writer){.alloc = alloc,
                             .format = format,
                             .path = memcpy(copy, path, strlen(path) + 1),
                             .keys = empty,
                             .meta = empty,
                             .tensor = empty,
                             .header = empty};
    return w;
}

/* Who names a file of another kind as the place of a new one has made a mistake. */
static kl_status check_place(const char *path, const struct kl__format *f, kl_error *err)
{
    struct stat s;
    struct kl__map map;
    if (stat(path, &s) != 0 || !S_ISREG(s.st_mode) || s.st_size == 0)
        return KL_OK;
    KL_TRY(kl__map_open(&map, path, err));
    bool same = f->claims(&map);
    kl__map_close(&map);
    if (same)
        return KL_OK;
    return kl__fail(err, KL_ERR_ARGUMENT, "%s: is there already and no %s file, expected a new name, or such a file",
                    kl__shown_path(path).text, f->name);
}

kl_status kl__writer_open(struct kl__writer **writer, const char *path, const char *format, const kl_allocator *alloc,
                          kl_error *err)
{
    const struct kl__format *f = kl__format_named(format);
    if (!f)
        return kl__fail(err, KL_ERR_ARGUMENT, "%s: the format is '%s', expected gguf or safetensors",
                        kl__shown_path(path).text, kl__shown(kl__str(format)).text);
    KL_TRY(check_place(path, f, err));
    struct kl__writer *w = new_writer(path, f, alloc);
    if (!w)
        return kl__fail(err, KL_ERR_MEMORY, "%s: no memory to write it", kl__shown_path(path).text);
    kl_status status = kl__out_open(&w->out, path, alloc, err);
    if (status == KL_OK)
        *writer = w;
    else
        close_writer(w);
    return status;
}

/* A copy that lives as long as the writer. */
static bool copy_text(const struct kl__writer *w, struct kl__str *copy, struct kl__str text)
{
    char *room = kl__alloc(w->alloc, text.bytes);
    if (!room)
        return false;
    if (text.bytes)
        memcpy(room, text.at, text.bytes);
    *copy = (struct kl__str){room, text.bytes};
    return true;
}

/* What both formats ask of keys and names. */
static kl_status check_text(const struct kl__writer *w, const char *what, struct kl__str text, kl_error *err)
{
    if (text.bytes == 0 || !kl__utf8_valid(text) || memchr(text.at, 0, text.bytes))
        return kl__writer_fail(w, err, KL_ERR_ARGUMENT, what, text, "is no text, expected UTF-8 and not nothing");
    return KL_OK;
}

kl_status kl__writer_meta(struct kl__writer *w, const struct kl__meta *m, kl_error *err)
{
    struct kl__str key;
    assert(!w->begun);
    KL_TRY(check_text(w, "key", m->key, err));
    KL_TRY(w->format->put_meta(w, m, err));
    if (w->meta.failed || !copy_text(w, &key, m->key))
        return fail_memory(w, err);
    kl__buffer_put(&w->keys, &key, sizeof key);
    if (w->keys.failed) {
        kl__release(w->alloc, (void *)(uintptr_t)key.at);
        return fail_memory(w, err);
    }
    w->n_meta++;
    return KL_OK;
}

static kl_status measure(const struct kl__writer *w, struct kl__stored *t, int n_dim, const int64_t *dim, kl_error *err)
{
    int64_t n = 1;
    bool fits = n_dim >= 0 && n_dim <= KL__STORE_DIMS;
    t->n_dim = fits ? n_dim : 0;
    for (int d = 0; d < t->n_dim && fits; d++) {
        t->dim[d] = dim[d];
        fits = dim[d] >= 0 && !__builtin_mul_overflow(n, dim[d], &n);
    }
    int64_t row = t->n_dim ? t->dim[t->n_dim - 1] : 1;
    if (fits && row % kl__type_info(t->type)->elements == 0 && kl__type_bytes(t->type, n, &t->bytes))
        return KL_OK;
    return kl__fail(err, KL_ERR_SHAPE, "%s: tensor '%s' of shape %s cannot be stored as %s",
                    kl__shown_path(w->path).text, kl__shown(t->name).text, kl__shown_shape(t->n_dim, t->dim).text,
                    kl__type_info(t->type)->name);
}

kl_status kl__writer_tensor(struct kl__writer *w, const char *name, enum kl__type type, int n_dim, const int64_t *dim,
                            kl_error *err)
{
    struct kl__written new = {.t = {.name = kl__str(name), .type = type}};
    assert(!w->begun);
    KL_TRY(check_text(w, "tensor", new.t.name, err));
    KL_TRY(measure(w, &new.t, n_dim, dim, err));
    if (!copy_text(w, &new.t.name, new.t.name))
        return fail_memory(w, err);
    kl__buffer_put(&w->tensor, &new, sizeof new);
    if (w->tensor.failed) {
        kl__release(w->alloc, (void *)(uintptr_t) new.t.name.at);
        return fail_memory(w, err);
    }
    w->n_tensor++;
    return KL_OK;
}

/* No two of the records, which begin with their names, have the same. */
static kl_status check_names(const struct kl__writer *w, const char *what, const char *record, size_t record_bytes,
                             int64_t n, kl_error *err)
{
    struct kl__names names;
    kl_status status = KL_OK;
    if (!kl__names_open(&names, record, record_bytes, (size_t)n, w->alloc))
        return fail_memory(w, err);
    for (int64_t i = 0; i < n && status == KL_OK; i++)
        if (kl__names_add(&names, (size_t)i) != (size_t)i) {
            struct kl__str name;
            memcpy(&name, record + (size_t)i * record_bytes, sizeof name);
            status = kl__writer_fail(w, err, KL_ERR_ARGUMENT, what, name, "is written twice");
        }
    kl__names_close(&names, w->alloc);
    return status;
}

kl_status kl__writer_begin(struct kl__writer *w, kl_error *err)
{
    assert(!w->begun);
    w->begun = true;
    KL_TRY(check_names(w, "key", w->keys.data, sizeof(struct kl__str), w->n_meta, err));
    KL_TRY(check_names(w, "tensor", w->tensor.data, sizeof(struct kl__written), w->n_tensor, err));
    KL_TRY(w->format->lay_out(w, err));
    if (w->header.failed)
        return fail_memory(w, err);
    return kl__out_write(w->out, 0, w->header.data, w->header.bytes, err);
}

kl_status kl__writer_append(struct kl__writer *w, int64_t i, const void *data, size_t bytes, kl_error *err)
{
    assert(w->begun && i >= 0 && i < w->n_tensor);
    struct kl__written *t = kl__written(w, i);
    if (bytes > t->t.bytes - t->done)
        return kl__writer_fail(w, err, KL_ERR_ARGUMENT, "tensor", t->t.name, "is given more bytes than it takes");
    KL_TRY(kl__out_write(w->out, t->at + t->done, data, bytes, err));
    t->done += bytes;
    return KL_OK;
}

static kl_status check_complete(const struct kl__writer *w, kl_error *err)
{
    assert(w->begun);
    for (int64_t i = 0; i < w->n_tensor; i++)
        if (kl__written(w, i)->done < kl__written(w, i)->t.bytes)
            return kl__writer_fail(w, err, KL_ERR_ARGUMENT, "tensor", kl__written(w, i)->t.name, "is not complete");
    return KL_OK;
}

kl_status kl__writer_finish(struct kl__writer *w, kl_error *err)
{
    kl_status status = check_complete(w, err);
    if (status == KL_OK)
        status = kl__out_commit(w->out, w->end, err);
    else
        kl__out_abandon(w->out);
    close_writer(w);
    return status;
}

void kl__writer_abandon(struct kl__writer *w)
{
    if (!w)
        return;
    kl__out_abandon(w->out);
    close_writer(w);
}
