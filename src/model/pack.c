/* Matrices in the layout of products.  Those that are only looked up stay where they are. */
#include "model/model.h"

#include "base/error.h"
#include "base/hash.h"
#include "model/pack_file.h"

#include <stdio.h>
#include <string.h>

bool kl__model_multiplies(const kl_model *m, int p)
{
    enum kl__form form = kl__param_info((enum kl__param)p)->form;
    return (form == KL__FORM_MATRIX || form == KL__FORM_EXPERTS) && (p != KL__EMBED || m->net.c.tied);
}

struct kl__weight *kl__model_weight(const kl_model *m, int layer, int p)
{
    return (struct kl__weight *)(uintptr_t)&(layer < 0 ? &m->net.top : &m->net.layer[layer])->w[p];
}

/* Bytes of one matrix in a packed model; 0: it stays as it is. */
static size_t bytes_of(const kl_model *m, int layer, int p)
{
    const struct kl__weight *w = kl__model_weight(m, layer, p);
    if (!kl__model_multiplies(m, p) || !(w->data || w->each))
        return 0;
    return (kl__weight_packed_bytes(m->net.be, w) + KL_ALIGN - 1) / KL_ALIGN * KL_ALIGN;
}

/* The next matrix that is packed, layer after layer.  False: there is none. */
static bool next_matrix(const kl_model *m, struct kl__packing *at, struct kl__weight **w, size_t *bytes)
{
    for (; at->layer < m->net.c.n_layer; at->layer++, at->param = 0)
        for (; at->param < KL__N_PARAM; at->param++) {
            *bytes = bytes_of(m, at->layer, at->param);
            *w = kl__model_weight(m, at->layer, at->param);
            if (*bytes > 0) {
                at->param++;
                return true;
            }
        }
    return false;
}

int64_t kl_model_packed_bytes(const kl_model *m)
{
    struct kl__packing at = {.layer = -1};
    struct kl__weight *w;
    for (size_t n; next_matrix(m, &at, &w, &n);)
        at.bytes += n;
    return (int64_t)at.bytes;
}

/* The file's part is not needed again; whoever looks finds it all the same. */
static void forget(const kl_model *m, const struct kl__weight *w)
{
    size_t bytes = 0;
    kl__type_bytes(w->type, w->n_out * w->n_in, &bytes);
    if (w->data)
        kl__store_forget(m->store, w->data, bytes * (size_t)w->n_matrix);
    for (int64_t e = 0; w->each && e < w->n_matrix; e++)
        kl__store_forget(m->store, w->each[e], bytes);
}

/* What has been packed already is found. */
static void settle(kl_model *m)
{
    struct kl__weight *w;
    m->packing = (struct kl__packing){.layer = -1};
    for (size_t n; next_matrix(m, &m->packing, &w, &n); m->packing.bytes += n)
        w->packed = (char *)m->packed + m->packing.bytes;
}

static kl_status reserve(kl_model *m, size_t bytes, kl_error *err)
{
    m->packed = kl__alloc_large(m->alloc, bytes);
    if (!m->packed)
        return kl__fail(err, KL_ERR_MEMORY, "no memory for %zu bytes of packed matrices", bytes);
    m->packed_bytes = bytes;
    m->packing = (struct kl__packing){.layer = -1};
    return KL_OK;
}

kl_status kl_model_pack_some(kl_model *m, int64_t bytes, bool *more, kl_error *err)
{
    size_t all = (size_t)kl_model_packed_bytes(m), n;
    struct kl__weight *w;
    *more = false;
    if (m->reader || all == 0)
        return KL_OK;
    if (!m->packed)
        KL_TRY(reserve(m, all, err));
    while (bytes > 0 && next_matrix(m, &m->packing, &w, &n)) {
        char *to = (char *)m->packed + m->packing.bytes;
        kl__weight_pack(m->net.be, to, w);
        forget(m, w);
        w->packed = to;
        m->packing.bytes += n;
        bytes -= (int64_t)n;
    }
    *more = m->packing.bytes < all;
    return KL_OK;
}

kl_status kl_model_pack(kl_model *m, kl_error *err)
{
    bool more;
    return kl_model_pack_some(m, INT64_MAX, &more, err);
}

/* ----------------------------------------------------------------------------------------------------- in a file -- */

/* Parts of a matrix, from end to end. */
static void add_contents(struct kl__hash *h, const struct kl__weight *w)
{
    enum { PARTS = 32, PART_BYTES = 64 };
    size_t one = 0;
    kl__type_bytes(w->type, w->n_out * w->n_in, &one);
    for (int64_t i = 0; i < PARTS; i++) {
        int64_t e = w->n_matrix * i / PARTS;
        const char *from = w->each ? w->each[e] : (const char *)w->data + (size_t)e * one;
        size_t n = one < PART_BYTES ? one : PART_BYTES, at = (one - n) / PARTS * (size_t)i;
        kl__hash_add(h, from + at, n);
    }
}

static void add_model(struct kl__hash *h, const kl_model *m)
{
    const char *isa = kl_backend_isa(m->net.be);
    kl__hash_add(h, isa, strlen(isa));
    kl__hash_add(h, m->fingerprint, sizeof m->fingerprint);
    for (int i = -1; i < m->net.c.n_layer; i++)
        for (int p = 0; p < KL__N_PARAM; p++) {
            const struct kl__weight *w = kl__model_weight(m, i, p);
            const int64_t number[] = {i, p, (int64_t)bytes_of(m, i, p), w->type, w->n_matrix, w->n_out, w->n_in};
            if (number[2] == 0)
                continue;
            kl__hash_add(h, number, sizeof number);
            add_contents(h, w);
        }
}

static void add_files(struct kl__hash *h, const kl_model *m)
{
    for (int i = 0; i < m->store->n_file; i++) {
        const struct kl__map *map = &m->store->file[i].map;
        const int64_t number[] = {(int64_t)map->bytes, map->written_ns};
        kl__hash_add(h, number, sizeof number);
    }
}

static kl_status identify(struct kl__pack_id *id, const kl_model *m, kl_error *err)
{
    struct kl__hash *of_model = kl__hash_open(), *of_files = kl__hash_open();
    if (of_model && of_files) {
        add_model(of_model, m);
        add_files(of_files, m);
        kl__hash_value(of_model, id->identity);
        kl__hash_value(of_files, id->stamp);
        id->data_bytes = (uint64_t)kl_model_packed_bytes(m);
    }
    bool fine = of_model && of_files;
    kl__hash_close(of_model);
    kl__hash_close(of_files);
    return fine ? KL_OK : kl__fail(err, KL_ERR_MEMORY, "no memory for a hash");
}

/* "FOLDER/HASH.pack" */
static char *path_of(const kl_model *m, const char *folder, const struct kl__pack_id *id)
{
    size_t bytes = strlen(folder) + 48;
    char *path = kl__alloc(m->alloc, bytes);
    int n = path ? snprintf(path, bytes, "%s/", folder) : 0;
    for (int i = 0; path && i < 16; i++)
        n += snprintf(path + n, bytes - (size_t)n, "%02x", id->identity[i]);
    if (path)
        snprintf(path + n, bytes - (size_t)n, ".pack");
    return path;
}

/* False: there is none that fits. */
static bool find(kl_model *m, const char *path, const struct kl__pack_id *id)
{
    struct kl__map map;
    const void *data;
    kl_error why; /* there is none, or it is not what it should be: another one is made */
    if (kl__map_open(&map, path, &why) != KL_OK)
        return false;
    if (kl__pack_check(&data, path, map.data, map.bytes, id, &why) != KL_OK) {
        kl__map_close(&map);
        return false;
    }
    m->pack_map = map;
    m->packed = (void *)(uintptr_t)data;
    m->packed_bytes = (size_t)id->data_bytes;
    settle(m);
    return true;
}

kl_status kl_model_pack_in(kl_model *m, const char *folder, bool *found, kl_error *err)
{
    struct kl__pack_id id = {0};
    *found = false;
    if (m->packed)
        return kl_model_pack(m, err);
    if (m->reader || kl_model_packed_bytes(m) == 0)
        return KL_OK;
    KL_TRY(identify(&id, m, err));
    char *path = path_of(m, folder, &id);
    if (!path)
        return kl__fail(err, KL_ERR_MEMORY, "no memory for a path in %s", folder);
    *found = find(m, path, &id);
    kl_status status = *found ? KL_OK : kl_model_pack(m, err);
    if (!*found && status == KL_OK)
        status = kl__pack_write(path, m->packed, &id, m->alloc, err);
    kl__release(m->alloc, path);
    return status;
}
