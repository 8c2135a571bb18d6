/* A model in several safetensors files: model.safetensors.index.json says which tensor is in which of them.
 *
 *      {"metadata": {..}, "weight_map": {"TENSOR": "FILE", ..}}
 *
 * The files lie beside the index; a name that would lead elsewhere is refused.  (A link in that directory may lead
 * elsewhere: whoever made it could have put the file there.)  Every tensor of the map has to be in its file; a file
 * may hold more. */
#include "base/error.h"
#include "base/memory.h"
#include "format/format.h"
#include "format/json.h"
#include "format/safetensors.h"

#include <string.h>

enum { INDEX_BYTES = KL__SAFETENSORS_HEADER_BYTES };

struct entry {
    struct kl__str tensor; /* first: kl__names looks here */
    int file;
};

struct shard {
    struct kl__str name;
};

struct index {
    struct kl__store *store;
    const char *path;
    struct kl__map map;
    struct kl__str weights; /* the object under "weight_map" */
    char *text;             /* names, spelled out */
    struct entry *entry;    /* [n_entry] */
    int64_t n_entry;
    struct kl__names names;
    struct shard *shard; /* [KL__STORE_FILES] */
    int n_shard;
    struct kl__names shard_names;
    kl_error *err;
};

static kl_status fail_index(const struct index *x, kl_status status, const char *what, struct kl__str name,
                            const char *expected)
{
    return kl__fail(x->err, status, "%s: %s '%s', expected %s", kl__shown_path(x->path).text, what,
                    kl__shown(name).text, expected);
}

/* What stands beside the map is not used, but has to be JSON. */
static kl_status check_value(struct index *x, struct kl__str text)
{
    struct json_t *value;
    KL_TRY(kl__json_parse(&value, text, x->path, "index", x->err));
    kl__json_free(value);
    return KL_OK;
}

static kl_status find_weights(struct index *x)
{
    struct kl__json_walk w;
    struct kl__str text = {(const char *)x->map.data, x->map.bytes}, key, value;
    if (text.bytes > INDEX_BYTES)
        return kl__fail(x->err, KL_ERR_FORMAT, "%s: has %zu bytes, allowed are %d", kl__shown_path(x->path).text,
                        text.bytes, INDEX_BYTES);
    KL_TRY(kl__json_walk(&w, text, x->path, "index", x->err));
    for (;;) {
        KL_TRY(kl__json_next(&w, &key, &value));
        if (!key.at)
            break;
        if (!kl__str_same(key, kl__str("\"weight_map\""))) {
            KL_TRY(check_value(x, value));
            continue;
        }
        if (x->weights.at)
            return kl__fail(x->err, KL_ERR_FORMAT, "%s: 'weight_map' stands in it twice", kl__shown_path(x->path).text);
        x->weights = value;
    }
    if (!x->weights.at)
        return kl__fail(x->err, KL_ERR_FORMAT, "%s: 'weight_map' is missing", kl__shown_path(x->path).text);
    return KL_OK;
}

static kl_status count_weights(struct index *x)
{
    struct kl__json_walk w;
    struct kl__str key, value;
    KL_TRY(kl__json_walk(&w, x->weights, x->path, "weight_map", x->err));
    for (;; x->n_entry++) {
        KL_TRY(kl__json_next(&w, &key, &value));
        if (!key.at)
            break;
    }
    if (x->n_entry == 0 || x->n_entry > INT32_MAX)
        return kl__fail(x->err, KL_ERR_FORMAT, "%s: 'weight_map' names %lld tensors, expected at least 1",
                        kl__shown_path(x->path).text, (long long)x->n_entry);
    return KL_OK;
}

/* A file name that stays in its directory. */
static bool stays(struct kl__str name)
{
    bool dots = kl__str_same(name, kl__str(".")) || kl__str_same(name, kl__str(".."));
    return name.bytes > 0 && name.bytes < 256 && !dots && !memchr(name.at, '/', name.bytes) &&
           !memchr(name.at, '\\', name.bytes) && !memchr(name.at, 0, name.bytes);
}

/* The number of the shard with this name, which is new or known. */
static kl_status shard_of(struct index *x, struct kl__str name, int *file)
{
    if (!stays(name))
        return fail_index(x, KL_ERR_FORMAT, "'weight_map' names the file", name, "a file name without directories");
    int64_t known = kl__names_find(&x->shard_names, name);
    if (known < 0 && x->n_shard == KL__STORE_FILES)
        return fail_index(x, KL_ERR_UNSUPPORTED, "'weight_map' names more than 4096 files, one of them", name, "fewer");
    if (known < 0) {
        x->shard[x->n_shard].name = name;
        known = (int64_t)kl__names_add(&x->shard_names, (size_t)x->n_shard++);
    }
    *file = (int)known;
    return KL_OK;
}

static kl_status read_weights(struct index *x)
{
    struct kl__json_walk w;
    struct kl__str key, value, file;
    char *room = x->text;
    KL_TRY(kl__json_walk(&w, x->weights, x->path, "weight_map", x->err));
    for (int64_t i = 0; i < x->n_entry; i++) {
        struct entry *e = &x->entry[i];
        KL_TRY(kl__json_next(&w, &key, &value));
        KL_TRY(kl__json_copy_string(&room, &e->tensor, key, x->path, "weight_map", x->err));
        KL_TRY(kl__json_copy_string(&room, &file, value, x->path, "weight_map", x->err));
        if (kl__names_add(&x->names, (size_t)i) != (size_t)i)
            return fail_index(x, KL_ERR_FORMAT, "'weight_map' names twice the tensor", e->tensor, "once");
        KL_TRY(shard_of(x, file, &e->file));
    }
    return KL_OK;
}

static kl_status add_shard(struct index *x, struct kl__str name)
{
    const char *slash = strrchr(x->path, '/');
    size_t directory = slash ? (size_t)(slash + 1 - x->path) : 0;
    char *path = kl__alloc(x->store->alloc, directory + name.bytes + 1);
    if (!path)
        return kl__fail(x->err, KL_ERR_MEMORY, "%s: no memory to read it", kl__shown_path(x->path).text);
    memcpy(path, x->path, directory);
    memcpy(path + directory, name.at, name.bytes);
    kl_status status = kl__store_add_file(x->store, path, x->err);
    kl__release(x->store->alloc, path);
    return status;
}

static kl_status check_weights(const struct index *x)
{
    const struct kl__store *s = x->store;
    for (int64_t i = 0; i < x->n_entry; i++) {
        int64_t found = kl__names_find(&s->names, x->entry[i].tensor);
        if (found >= 0 && s->tensor[found].file == x->entry[i].file)
            continue;
        return kl__fail(x->err, KL_ERR_FORMAT, "%s: tensor '%s' is not in the file where 'weight_map' has it, %s",
                        kl__shown_path(x->path).text, kl__shown(x->entry[i].tensor).text,
                        kl__shown(x->shard[x->entry[i].file].name).text);
    }
    return KL_OK;
}

static kl_status take_memory(struct index *x)
{
    const kl_allocator *alloc = x->store->alloc;
    x->text = kl__alloc(alloc, x->weights.bytes);
    x->entry = kl__alloc(alloc, (size_t)x->n_entry * sizeof *x->entry);
    int64_t n_shard = x->n_entry < KL__STORE_FILES ? x->n_entry : KL__STORE_FILES;
    x->shard = kl__alloc(alloc, (size_t)n_shard * sizeof *x->shard);
    bool all = x->text && x->entry && x->shard &&
               kl__names_open(&x->names, x->entry, sizeof *x->entry, (size_t)x->n_entry, alloc) &&
               kl__names_open(&x->shard_names, x->shard, sizeof *x->shard, (size_t)n_shard, alloc);
    return all ? KL_OK : kl__fail(x->err, KL_ERR_MEMORY, "%s: no memory to read it", kl__shown_path(x->path).text);
}

static kl_status read_index(struct index *x)
{
    KL_TRY(kl__map_open(&x->map, x->path, x->err));
    KL_TRY(find_weights(x));
    KL_TRY(count_weights(x));
    KL_TRY(take_memory(x));
    KL_TRY(read_weights(x));
    for (int i = 0; i < x->n_shard; i++)
        KL_TRY(add_shard(x, x->shard[i].name));
    KL_TRY(kl__safetensors_read(x->store, x->err));
    return check_weights(x);
}

kl_status kl__safetensors_read_index(struct kl__store *s, const char *path, kl_error *err)
{
    struct index x = {.store = s, .path = path, .err = err};
    kl_status status = read_index(&x);
    kl__names_close(&x.names, s->alloc);
    kl__names_close(&x.shard_names, s->alloc);
    kl__release(s->alloc, x.shard);
    kl__release(s->alloc, x.entry);
    kl__release(s->alloc, x.text);
    kl__map_close(&x.map);
    return status;
}
