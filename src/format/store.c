#include "format/store.h"
#include "base/error.h"
#include "base/memory.h"
#include "format/format.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* ----------------------------------------------------------------------------------------------------- sentences -- */

struct kl__shown kl__shown_file(const struct kl__store *store, int i)
{
    return kl__shown_path(store->file[i].path);
}

struct kl__shown kl__shown_shape(int n_dim, const int64_t *dim)
{
    struct kl__shown s = {"[]"};
    size_t length = 0;
    for (int i = 0; i < n_dim && length < sizeof s.text - 24; i++)
        length += (size_t)snprintf(s.text + length, sizeof s.text - length, "[%lld]", (long long)dim[i]);
    return s;
}

/* ------------------------------------------------------------------------------------------------------- opening -- */

/* A slot for one more file, with a copy of its path. */
static struct kl__store_file *new_file(struct kl__store *s, const char *path)
{
    /* The room doubles whenever the number of files is a power of two. */
    if ((s->n_file & (s->n_file - 1)) == 0) {
        struct kl__store_file *more = kl__alloc(s->alloc, (size_t)(s->n_file ? 2 * s->n_file : 1) * sizeof *more);
        if (!more)
            return NULL;
        if (s->n_file)
            memcpy(more, s->file, (size_t)s->n_file * sizeof *more);
        kl__release(s->alloc, s->file);
        s->file = more;
    }
    struct kl__store_file *f = &s->file[s->n_file];
    *f = (struct kl__store_file){.path = kl__alloc(s->alloc, strlen(path) + 1)};
    if (!f->path)
        return NULL;
    memcpy(f->path, path, strlen(path) + 1);
    s->n_file++;
    return f;
}

static kl_status fail_memory(kl_error *err, const char *path)
{
    return kl__fail(err, KL_ERR_MEMORY, "%s: no memory to open it", kl__shown_path(path).text);
}

kl_status kl__store_add_file(struct kl__store *s, const char *path, kl_error *err)
{
    if (s->n_file == KL__STORE_FILES)
        return kl__fail(err, KL_ERR_UNSUPPORTED, "%s: the model has more than %d files", kl__shown_path(path).text,
                        KL__STORE_FILES);
    struct kl__store_file *f = new_file(s, path);
    return f ? kl__map_open(&f->map, path, err) : fail_memory(err, path);
}

static const struct kl__format formats[] = {
#define ROW(name) {#name, kl__##name##_claims, kl__##name##_read, kl__##name##_put_meta, kl__##name##_lay_out},
#include "format/rows.def"
#undef ROW
};
enum { N_FORMAT = sizeof formats / sizeof *formats };

const struct kl__format *kl__format_named(const char *name)
{
    for (int i = 0; i < N_FORMAT; i++)
        if (strcmp(formats[i].name, name) == 0)
            return &formats[i];
    return NULL;
}

/* What the contents say; failing that, what the name says, so that a damaged file gets a sentence about the damage. */
static const struct kl__format *format_of(const struct kl__store_file *f)
{
    for (int i = 0; i < N_FORMAT; i++)
        if (formats[i].claims(&f->map))
            return &formats[i];
    const char *dot = strrchr(f->path, '.');
    return dot ? kl__format_named(dot + 1) : NULL;
}

static kl_status read_one(struct kl__store *s, kl_error *err)
{
    const struct kl__format *format = format_of(&s->file[0]);
    if (!format)
        return kl__fail(err, KL_ERR_FORMAT, "%s: is neither a GGUF nor a safetensors file", kl__shown_file(s, 0).text);
    s->format = format->name;
    return format->read(s, err);
}

static bool exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0;
}

static bool ends_with(const char *path, const char *ending)
{
    size_t n = strlen(path), m = strlen(ending);
    return n >= m && strcmp(path + n - m, ending) == 0;
}

/* Directory and file joined; what does not fit is no path that could be opened, and stays empty. */
static const char *join(char room[PATH_MAX], const char *directory, const char *name)
{
    int n = snprintf(room, PATH_MAX, "%s/%s", directory, name);
    if (n < 0 || n >= PATH_MAX)
        room[0] = 0;
    return room;
}

static const char one_file[] = "model.safetensors", index_file[] = "model.safetensors.index.json";

static kl_status read_index(struct kl__store *s, const char *path, kl_error *err)
{
    s->format = "safetensors";
    return kl__safetensors_read_index(s, path, err);
}

static kl_status read_directory(struct kl__store *s, const char *path, kl_error *err)
{
    char room[PATH_MAX];
    if (exists(join(room, path, one_file))) {
        KL_TRY(kl__store_add_file(s, room, err));
        return read_one(s, err);
    }
    if (exists(join(room, path, index_file)))
        return read_index(s, room, err);
    return kl__fail(err, KL_ERR_IO, "%s: the directory holds neither %s nor %s", kl__shown_path(path).text, one_file,
                    index_file);
}

static kl_status read_path(struct kl__store *s, const char *path, kl_error *err)
{
    struct stat info;
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode))
        return read_directory(s, path, err);
    if (ends_with(path, ".index.json"))
        return read_index(s, path, err);
    KL_TRY(kl__store_add_file(s, path, err));
    return read_one(s, err);
}

kl_status kl__store_open(struct kl__store **store, const char *path, const kl_allocator *alloc, kl_error *err)
{
    struct kl__store *s = kl__alloc(alloc, sizeof *s);
    if (!s)
        return fail_memory(err, path);
    s->alloc = alloc;
    kl_status status = read_path(s, path, err);
    if (status == KL_OK)
        *store = s;
    else
        kl__store_close(s);
    return status;
}

kl_status kl__store_open_bytes(struct kl__store **store, const char *path, const void *data, size_t bytes,
                               const kl_allocator *alloc, kl_error *err)
{
    struct kl__store *s = kl__alloc(alloc, sizeof *s);
    if (!s)
        return fail_memory(err, path);
    s->alloc = alloc;
    struct kl__store_file *f = new_file(s, path);
    kl_status status = f ? KL_OK : fail_memory(err, path);
    if (f) {
        f->map = (struct kl__map){.data = data, .bytes = bytes};
        f->borrowed = true;
        status = read_one(s, err);
    }
    if (status == KL_OK)
        *store = s;
    else
        kl__store_close(s);
    return status;
}

void kl__store_close(struct kl__store *s)
{
    if (!s)
        return;
    kl__meta_table_close(&s->meta, s->alloc);
    kl__names_close(&s->names, s->alloc);
    kl__release(s->alloc, s->tensor);
    kl__release(s->alloc, s->given);
    for (int i = 0; i < s->n_file; i++) {
        if (!s->file[i].borrowed)
            kl__map_close(&s->file[i].map);
        kl__release(s->alloc, s->file[i].path);
        kl__release(s->alloc, s->file[i].names);
    }
    kl__release(s->alloc, s->file);
    kl__release(s->alloc, s);
}

/* ------------------------------------------------------------------------------------------------------- filling -- */

static kl_status adopt(struct kl__store *s, struct kl__stored *tensor, int64_t n_tensor, kl_error *err)
{
    s->tensor = tensor;
    if (!s->tensor || !kl__names_open(&s->names, s->tensor, sizeof *s->tensor, (size_t)n_tensor, s->alloc))
        return kl__fail(err, KL_ERR_MEMORY, "%s: no memory for its %lld tensors", kl__shown_file(s, 0).text,
                        (long long)n_tensor);
    s->n_reserved = n_tensor;
    return KL_OK;
}

kl_status kl__store_reserve(struct kl__store *s, int64_t n_tensor, kl_error *err)
{
    /* The readers have checked n_tensor against the bytes that describe them, so the product is no news. */
    return adopt(s, kl__alloc(s->alloc, (size_t)n_tensor * sizeof *s->tensor), n_tensor, err);
}

kl_status kl__store_replace(struct kl__store *s, struct kl__stored *tensor, int64_t n, char *given, kl_error *err)
{
    kl__names_close(&s->names, s->alloc);
    kl__release(s->alloc, s->tensor);
    s->n_tensor = 0;
    s->given = given;
    KL_TRY(adopt(s, tensor, n, err));
    for (int64_t i = 0; i < n; i++)
        KL_TRY(kl__store_enter(s, i, err));
    return KL_OK;
}

static kl_status fail_tensor(kl_error *err, const struct kl__store *s, const struct kl__stored *t, kl_status status,
                             const char *what)
{
    return kl__fail(err, status, "%s: tensor '%s' %s %s: %s", kl__shown_file(s, t->file).text, kl__shown(t->name).text,
                    kl__type_info(t->type)->name, kl__shown_shape(t->n_dim, t->dim).text, what);
}

kl_status kl__store_enter(struct kl__store *s, int64_t i, kl_error *err)
{
    struct kl__stored *t = &s->tensor[i];
    if (t->name.bytes == 0)
        return kl__fail(err, KL_ERR_FORMAT, "%s: tensor %lld has an empty name", kl__shown_file(s, t->file).text,
                        (long long)i);
    int64_t n = 1, row = t->n_dim ? t->dim[t->n_dim - 1] : 1;
    for (int d = 0; d < t->n_dim; d++)
        if (__builtin_mul_overflow(n, t->dim[d], &n))
            return fail_tensor(err, s, t, KL_ERR_FORMAT, "its elements cannot be counted in 63 bits");
    if (row % kl__type_info(t->type)->elements)
        return fail_tensor(err, s, t, KL_ERR_FORMAT, "the last dimension is no multiple of the type's block");
    if (!kl__type_bytes(t->type, n, &t->bytes))
        return fail_tensor(err, s, t, KL_ERR_FORMAT, "its bytes cannot be counted in 63 bits");
    size_t first = kl__names_add(&s->names, (size_t)i);
    if (first != (size_t)i)
        return fail_tensor(err, s, t, KL_ERR_FORMAT, "the name stands in the model twice");
    s->n_tensor = i + 1;
    return KL_OK;
}

/* -------------------------------------------------------------------------------------------------------- asking -- */

void kl__store_forget(const struct kl__store *store, const void *data, size_t bytes)
{
    for (int i = 0; i < store->n_file; i++)
        if (!store->file[i].borrowed)
            kl__map_forget(&store->file[i].map, data, bytes);
}

bool kl__store_place(const struct kl__store *store, const void *data, int *file, uint64_t *at)
{
    for (int i = 0; i < store->n_file; i++) {
        const struct kl__map *map = &store->file[i].map;
        if ((uintptr_t)data < (uintptr_t)map->data || (uintptr_t)data - (uintptr_t)map->data >= map->bytes)
            continue;
        *file = i;
        *at = (uint64_t)((uintptr_t)data - (uintptr_t)map->data);
        return true;
    }
    return false;
}

static bool is_file(const struct kl__store_file *f, const struct stat *info)
{
    return !f->borrowed && f->map.device == (uint64_t)info->st_dev && f->map.number == (uint64_t)info->st_ino;
}

kl_status kl__store_check_output(const struct kl__store *s, const char *path, kl_error *err)
{
    struct stat info;
    bool there = stat(path, &info) == 0;
    for (int i = 0; i < s->n_file && there; i++)
        if (is_file(&s->file[i], &info))
            return kl__fail(err, KL_ERR_ARGUMENT, "%s: is a file of the model to read, expected another one to write",
                            kl__shown_path(path).text);
    return KL_OK;
}

const struct kl__stored *kl__store_find(const struct kl__store *s, const char *name)
{
    int64_t i = kl__names_find(&s->names, kl__str(name));
    return i < 0 ? NULL : &s->tensor[i];
}

int64_t kl__stored_elements(const struct kl__stored *t)
{
    int64_t n = 1;
    for (int d = 0; d < t->n_dim; d++)
        n *= t->dim[d];
    return n;
}

/* The dimensions that are not 1, in order; returns how many.  to [n_dim] */
static int squeeze(int64_t *to, int n_dim, const int64_t *dim)
{
    int n = 0;
    for (int d = 0; d < n_dim; d++)
        if (dim[d] != 1)
            to[n++] = dim[d];
    return n;
}

kl_status kl__store_need(const struct kl__stored **tensor, const struct kl__store *s, const char *name, int n_dim,
                         const int64_t *dim, kl_error *err)
{
    const struct kl__stored *t = kl__store_find(s, name);
    if (!t)
        return kl__fail(err, KL_ERR_FORMAT, "%s: tensor '%s' is missing", kl__shown_file(s, 0).text,
                        kl__shown(kl__str(name)).text);
    int64_t found[KL__STORE_DIMS], wanted[KL__STORE_DIMS];
    int n_found = squeeze(found, t->n_dim, t->dim), n_wanted = squeeze(wanted, n_dim, dim);
    if (n_found != n_wanted || memcmp(found, wanted, (size_t)n_found * sizeof *found) != 0)
        return kl__fail(err, KL_ERR_SHAPE, "%s: tensor '%s' is %s, expected %s", kl__shown_file(s, t->file).text,
                        kl__shown(t->name).text, kl__shown_shape(t->n_dim, t->dim).text,
                        kl__shown_shape(n_dim, dim).text);
    *tensor = t;
    return KL_OK;
}

static kl_status need_meta(const struct kl__meta **meta, const struct kl__store *s, const char *key, kl_error *err)
{
    *meta = kl__meta_find(&s->meta, key);
    return *meta ? KL_OK
                 : kl__fail(err, KL_ERR_FORMAT, "%s: key '%s' is missing", kl__shown_file(s, 0).text,
                            kl__shown(kl__str(key)).text);
}

static kl_status fail_type(kl_error *err, const struct kl__store *s, const struct kl__meta *m, const char *expected)
{
    return kl__fail(err, KL_ERR_FORMAT, "%s: key '%s' is of type %s%s%s, expected %s", kl__shown_file(s, 0).text,
                    kl__shown(m->key).text, kl__meta_type_name(m->type), m->type == KL__META_ARRAY ? " of " : "",
                    m->type == KL__META_ARRAY ? kl__meta_type_name(m->element) : "", expected);
}

kl_status kl__store_int(int64_t *value, const struct kl__store *s, const char *key, kl_error *err)
{
    const struct kl__meta *m;
    KL_TRY(need_meta(&m, s, key, err));
    return kl__meta_int(m, value) ? KL_OK : fail_type(err, s, m, "an integer below 2^63");
}

kl_status kl__store_number(double *value, const struct kl__store *s, const char *key, kl_error *err)
{
    const struct kl__meta *m;
    KL_TRY(need_meta(&m, s, key, err));
    return kl__meta_number(m, value) ? KL_OK : fail_type(err, s, m, "a number");
}

kl_status kl__store_bool(bool *value, const struct kl__store *s, const char *key, kl_error *err)
{
    const struct kl__meta *m;
    KL_TRY(need_meta(&m, s, key, err));
    if (m->type != KL__META_BOOL)
        return fail_type(err, s, m, "bool");
    *value = m->u != 0;
    return KL_OK;
}

kl_status kl__store_string(struct kl__str *value, const struct kl__store *s, const char *key, kl_error *err)
{
    const struct kl__meta *m;
    KL_TRY(need_meta(&m, s, key, err));
    if (m->type != KL__META_STRING)
        return fail_type(err, s, m, "string");
    *value = m->s;
    return KL_OK;
}

kl_status kl__store_array(const struct kl__meta **array, const struct kl__store *s, const char *key,
                          enum kl__meta_type element, kl_error *err)
{
    const struct kl__meta *m;
    KL_TRY(need_meta(&m, s, key, err));
    bool fits = m->type == KL__META_ARRAY && m->element == element;
    if (m->type == KL__META_ARRAY && element == KL__META_I64)
        fits = kl__meta_type_bytes(m->element) && m->element != KL__META_F32 && m->element != KL__META_F64 &&
               m->element != KL__META_BOOL;
    if (!fits)
        return fail_type(err, s, m, element == KL__META_I64 ? "array of integers" : "another array");
    *array = m;
    return KL_OK;
}
