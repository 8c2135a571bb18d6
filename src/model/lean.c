/* Weights under a limit: matrices that every token meets are read into memory once, experts when they are chosen. */
#include "base/error.h"
#include "format/format.h"
#include "model/model.h"
#include "model/shelf.h"

enum { READERS = 8 }; /* enough to keep a disk's queue filled; they only wait */

/* -------------------------------------------------------------------------------------------------- what is kept -- */

/* How a matrix lies in memory: packed, as in the file, or both (an embedding that is the head as well). */
struct kept {
    size_t raw, packed; /* bytes; 0: not so */
    size_t file;        /* bytes in the file */
};

static struct kept kept_of(const kl_model *m, int layer, int p)
{
    const struct kl__weight *w = kl__model_weight(m, layer, p);
    struct kept k = {0};
    if (kl__param_info((enum kl__param)p)->form != KL__FORM_MATRIX || !w->data)
        return k;
    kl__type_bytes(w->type, w->n_out * w->n_in, &k.file);
    k.packed = kl__model_multiplies(m, p) ? kl__weight_packed_bytes(m->net.be, w) : 0;
    k.raw = k.packed && p != KL__EMBED ? 0 : kl__read_room(k.file);
    return k;
}

/* Calls `each` for every matrix that is kept, with the memory that it gets. */
struct keeping {
    kl_model *m;
    struct kl__carver carver;
    struct kl__read temp; /* room for the largest matrix that is packed */
    bool settle;          /* the second time: matrices are where they belong */
    kl_error *err;
};

static kl_status fill(struct keeping *g, const struct kl__weight *w, struct kept k, char *raw, void *packed)
{
    struct kl__read r = {.bytes = k.file, .room = raw ? raw : g->temp.room};
    kl__store_place(g->m->store, w->data, &r.file, &r.at);
    KL_TRY(kl__reader_whole(g->m->reader, &r, g->err));
    struct kl__weight here = *w;
    here.data = kl__read_data(&r);
    if (packed)
        kl__weight_pack(g->m->net.be, packed, &here);
    return KL_OK;
}

static void settle(const struct keeping *g, struct kl__weight *w, char *raw, void *packed)
{
    struct kl__read r = {.room = raw};
    kl__store_place(g->m->store, w->data, &r.file, &r.at);
    if (raw)
        w->data = kl__read_data(&r);
    w->packed = packed;
}

static char *carve_room(struct kl__carver *c, size_t bytes)
{
    char *room = kl__carve(c, bytes + KL__READ_ALIGN, 1);
    return room ? room + (KL__READ_ALIGN - (uintptr_t)room % KL__READ_ALIGN) % KL__READ_ALIGN : NULL;
}

static kl_status keep_all(struct keeping *g)
{
    for (int i = -1; i < g->m->net.c.n_layer; i++)
        for (int p = 0; p < KL__N_PARAM; p++) {
            struct kept k = kept_of(g->m, i, p);
            char *raw = k.raw ? carve_room(&g->carver, k.raw) : NULL;
            void *packed = k.packed ? kl__carve(&g->carver, k.packed, 1) : NULL;
            struct kl__weight *w = kl__model_weight(g->m, i, p);
            if (!raw && k.packed && kl__read_room(k.file) > g->temp.bytes)
                g->temp.bytes = kl__read_room(k.file);
            if (!g->carver.base || !(k.raw || k.packed))
                continue;
            if (g->settle)
                settle(g, w, raw, packed);
            else
                KL_TRY(fill(g, w, k, raw, packed));
        }
    return KL_OK;
}

/* ----------------------------------------------------------------------------------------------------- the split -- */

kl_model_split kl_model_split_of(const kl_model *m)
{
    struct keeping g = {.m = (kl_model *)(uintptr_t)m};
    kl_status status = keep_all(&g); /* only counts, so it cannot fail */
    (void)status;
    kl_model_split s = {
        .fixed_bytes = (int64_t)g.carver.bytes,
        .expert_bytes = (int64_t)kl__shelf_slot_bytes(&m->net),
        .n_expert = kl__shelf_experts(&m->net),
    };
    const kl_config *c = &m->net.c;
    s.token_experts = c->n_expert ? s.n_expert / c->n_expert * c->n_expert_used : 0;
    /* Packing goes by way of memory that is given back before experts are read. */
    int64_t experts = s.n_expert ? c->n_expert_used * s.expert_bytes : 0, temp = (int64_t)g.temp.bytes;
    s.least_bytes = s.fixed_bytes + (experts > temp ? experts : temp);
    return s;
}

/* ----------------------------------------------------------------------------------------------------- the limit -- */

static bool place(const void *user, const void *data, int *file, uint64_t *at)
{
    return kl__store_place(user, data, file, at);
}

static kl_status open_reader(kl_model *m, kl_error *err)
{
    KL_TRY(kl__reader_open(&m->reader, READERS, m->alloc, err));
    for (int i = 0; i < m->store->n_file; i++) {
        if (m->store->file[i].borrowed)
            return kl__fail(err, KL_ERR_UNSUPPORTED, "%s: lies in memory, expected a file to read experts from",
                            kl__shown_file(m->store, i).text);
        KL_TRY(kl__reader_add(m->reader, m->store->file[i].path, &m->store->file[i].map, err));
    }
    return KL_OK;
}

static kl_status keep_fixed(kl_model *m, kl_error *err)
{
    struct keeping g = {.m = m, .err = err};
    KL_TRY(keep_all(&g));
    if (g.carver.bytes == 0)
        return KL_OK;
    m->fixed_bytes = g.carver.bytes;
    m->fixed = kl__alloc_large(m->alloc, m->fixed_bytes);
    void *temp = kl__alloc_large(m->alloc, g.temp.bytes + KL__READ_ALIGN);
    kl_status status = KL_ERR_MEMORY;
    if (!m->fixed || !temp)
        kl__fail(err, status, "no memory for %zu bytes of matrices", m->fixed_bytes + g.temp.bytes);
    else {
        struct kl__carver c = {.base = temp};
        g.temp.room = carve_room(&c, g.temp.bytes);
        g.carver = (struct kl__carver){.base = m->fixed};
        status = keep_all(&g);
    }
    kl__release(m->alloc, temp);
    if (status != KL_OK)
        return status;
    g.carver = (struct kl__carver){.base = m->fixed};
    g.settle = true;
    return keep_all(&g);
}

/* What binding has read of the files is in memory of its own. */
static void forget_files(const kl_model *m)
{
    for (int i = 0; i < m->store->n_file; i++)
        kl__store_forget(m->store, m->store->file[i].map.data, m->store->file[i].map.bytes);
}

void kl__model_close_lean(kl_model *m)
{
    kl__shelf_close(m->net.shelf);
    kl__reader_close(m->reader);
    kl__release(m->alloc, m->fixed);
    m->net.shelf = NULL;
    m->reader = NULL;
    m->fixed = NULL;
    m->fixed_bytes = 0;
}

static kl_status limit(kl_model *m, int64_t bytes, const kl_model_split *s, kl_error *err)
{
    KL_TRY(open_reader(m, err));
    if (s->n_expert) {
        int64_t n = (bytes - s->fixed_bytes) / s->expert_bytes;
        n = n < s->n_expert ? n : s->n_expert;
        KL_TRY(kl__shelf_open(&m->net.shelf, &m->net, n, m->reader, place, m->store, m->alloc, err));
    }
    return keep_fixed(m, err);
}

kl_status kl_model_limit(kl_model *m, int64_t bytes, kl_error *err)
{
    if (m->packed || m->reader)
        return kl__fail(err, KL_ERR_ARGUMENT, "kl_model_limit: the weights have been %s already",
                        m->packed ? "packed" : "limited");
    kl_model_split s = kl_model_split_of(m);
    if (bytes < s.least_bytes)
        return kl__fail(err, KL_ERR_MEMORY,
                        "weights may take %lld bytes, expected at least %lld: %lld for matrices that every token "
                        "meets, %lld for each of %d experts",
                        (long long)bytes, (long long)s.least_bytes, (long long)s.fixed_bytes,
                        (long long)s.expert_bytes, m->net.c.n_expert_used);
    kl_status status = limit(m, bytes, &s, err);
    if (status != KL_OK)
        kl__model_close_lean(m);
    else
        forget_files(m);
    return status;
}

kl_expert_traffic kl_model_traffic(const kl_model *m)
{
    return m->net.shelf ? kl__shelf_traffic(m->net.shelf) : (kl_expert_traffic){0};
}
