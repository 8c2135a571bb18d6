/* Sessions on disk.  A file is, at multiples of 64 bytes,
 *      header | tokens i32 | fixed block | pages | bytes of the caller
 * little-endian, as they lie in memory.  The checksum covers everything but itself. */
#include "engine/session_file.h"
#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/str.h"

#include <stdio.h>
#include <string.h>

static const char magic[8] = {'K', 'L', 'S', 'E', 'S', 'S', 'N', '\n'};

enum { VERSION = 1 };

struct header {
    char magic[8];
    uint32_t version;
    uint32_t cache_type;
    uint8_t fingerprint[16]; /* of the model */
    uint8_t checksum[16];    /* of the header with zeros here, and of all that follows */
    int64_t n_token, n_page, fixed_bytes, page_bytes, extra_bytes;
    char rest[40];
};
_Static_assert(sizeof(struct header) == 128, "the header is part of the format");

enum { N_PART = 5 };

/* Where the parts lie. */
struct places {
    uint64_t at[N_PART], bytes[N_PART], total;
};

/* False when the sizes cannot be those of a file. */
static bool place(struct places *p, const struct header *h)
{
    const int64_t count[N_PART] = {1, h->n_token, 1, h->n_page, 1};
    const int64_t each[N_PART] = {sizeof *h, sizeof(int32_t), h->fixed_bytes, h->page_bytes, h->extra_bytes};
    p->total = 0;
    for (int i = 0; i < N_PART; i++) {
        p->at[i] = (p->total + 63) / 64 * 64;
        if (count[i] < 0 || each[i] < 0 ||
            __builtin_mul_overflow((uint64_t)count[i], (uint64_t)each[i], &p->bytes[i]) ||
            p->bytes[i] > INT64_MAX / 2 || p->at[i] > INT64_MAX / 2)
            return false;
        p->total = p->at[i] + p->bytes[i];
    }
    return true;
}

/* ------------------------------------------------------------------------------------------------------- writing -- */

static const char zeros[64];

struct writing {
    struct kl__out *out;
    struct kl__hash *hash;
    uint64_t hashed; /* position up to which the file is in the checksum */
    kl_error *err;
};

/* Bytes at `at`; what lies between the last ones and these is zero. */
static kl_status add(struct writing *w, uint64_t at, const void *data, size_t bytes)
{
    kl__hash_add(w->hash, zeros, (size_t)(at - w->hashed));
    kl__hash_add(w->hash, data, bytes);
    w->hashed = at + bytes;
    return kl__out_write(w->out, at, data, bytes, w->err);
}

static kl_status write_parts(struct writing *w, struct header *h, const struct kl__timeline *t, const void *extra)
{
    struct places p;
    place(&p, h);
    KL_TRY(add(w, 0, h, sizeof *h));
    KL_TRY(add(w, p.at[1], t->token, p.bytes[1]));
    KL_TRY(add(w, p.at[2], t->fixed, p.bytes[2]));
    for (int64_t i = 0; i < h->n_page; i++)
        KL_TRY(
            add(w, p.at[3] + (uint64_t)(i * h->page_bytes), kl__page_at(t->pages, t->page[i]), (size_t)h->page_bytes));
    KL_TRY(add(w, p.at[4], extra, p.bytes[4]));
    kl__hash_value(w->hash, h->checksum);
    return kl__out_write(w->out, 0, h, sizeof *h, w->err);
}

static struct header header_of(const kl_session *s, size_t extra_bytes)
{
    const struct kl__timeline *t = &s->line;
    struct header h = {.version = VERSION, .cache_type = (uint32_t)s->engine->cache_type};
    memcpy(h.magic, magic, sizeof magic);
    kl_model_fingerprint(s->engine->model, h.fingerprint);
    h.n_token = t->length;
    h.n_page = kl__timeline_pages(t, t->length);
    h.fixed_bytes = (int64_t)t->fixed_bytes;
    h.page_bytes = t->pages->page_bytes;
    h.extra_bytes = (int64_t)extra_bytes;
    return h;
}

kl_status kl_session_save(const kl_session *s, const char *path, const void *extra, size_t extra_bytes, kl_error *err)
{
    if (s->broken)
        return kl__fail(err, KL_ERR_NUMERIC, "kl_session_save: the session's numbers are not finite any more");
    if (extra_bytes > INT64_MAX / 4)
        return kl__fail(err, KL_ERR_ARGUMENT, "kl_session_save: extra_bytes is %zu, expected a size", extra_bytes);
    struct header h = header_of(s, extra_bytes);
    struct places p;
    place(&p, &h);
    struct writing w = {.hash = kl__hash_open(), .err = err};
    if (!w.hash)
        return kl__fail(err, KL_ERR_MEMORY, "%s: no memory for a checksum", path);
    kl_status status = kl__out_open(&w.out, path, s->engine->alloc, err);
    if (status == KL_OK)
        status = write_parts(&w, &h, &s->line, extra);
    kl__hash_close(w.hash);
    if (status == KL_OK)
        return kl__out_commit(w.out, p.total, err);
    kl__out_abandon(w.out);
    return status;
}

/* ------------------------------------------------------------------------------------------------------- reading -- */

/* A file that is being looked at: nothing of it is used before everything has been checked. */
struct reading {
    const char *path;
    struct kl__map map;
    struct header h;
    struct places p;
    kl_engine *engine;
    kl_error *err;
};

static kl_status refuse(const struct reading *r, const char *what)
{
    return kl__fail(r->err, KL_ERR_FORMAT, "%s: %s", kl__shown_path(r->path).text, what);
}

static kl_status check_sizes(struct reading *r)
{
    if (r->map.bytes < sizeof r->h || memcmp(r->map.data, magic, sizeof magic) != 0)
        return refuse(r, "this is not a session file of klinear");
    memcpy(&r->h, r->map.data, sizeof r->h);
    if (r->h.version != VERSION)
        return kl__fail(r->err, KL_ERR_FORMAT, "%s: the session has format version %u, expected %d",
                        kl__shown_path(r->path).text, r->h.version, VERSION);
    if (!place(&r->p, &r->h))
        return refuse(r, "the session's header holds sizes that no file has");
    if (r->p.total != r->map.bytes)
        return kl__fail(r->err, KL_ERR_FORMAT, "%s: the session has %zu bytes, expected %llu: it is %s",
                        kl__shown_path(r->path).text, r->map.bytes, (unsigned long long)r->p.total,
                        r->p.total > r->map.bytes ? "truncated" : "too long");
    return KL_OK;
}

/* False: no memory. */
static bool sum_of(uint8_t sum[16], const struct header *header, const void *data, size_t bytes)
{
    struct kl__hash *hash = kl__hash_open();
    if (!hash)
        return false;
    struct header h = *header;
    memset(h.checksum, 0, sizeof h.checksum);
    kl__hash_add(hash, &h, sizeof h);
    kl__hash_add(hash, (const char *)data + sizeof h, bytes - sizeof h);
    kl__hash_value(hash, sum);
    kl__hash_close(hash);
    return true;
}

static kl_status check_sum(const struct reading *r)
{
    uint8_t sum[16];
    if (!sum_of(sum, &r->h, r->map.data, r->map.bytes))
        return kl__fail(r->err, KL_ERR_MEMORY, "%s: no memory for a checksum", kl__shown_path(r->path).text);
    return memcmp(sum, r->h.checksum, sizeof sum) == 0 ? KL_OK
                                                       : refuse(r, "the session was changed: its checksum is wrong");
}

/* The session is of this model, with this kind of cache. */
static kl_status check_model(const struct reading *r)
{
    const kl_engine *e = r->engine;
    uint8_t fingerprint[16];
    kl_model_fingerprint(e->model, fingerprint);
    if (memcmp(fingerprint, r->h.fingerprint, sizeof fingerprint) != 0)
        return refuse(r, "the session is of another model");
    if (r->h.cache_type != (uint32_t)e->cache_type)
        return kl__fail(r->err, KL_ERR_FORMAT, "%s: the session's cache is %s, expected the engine's %s",
                        kl__shown_path(r->path).text, kl_cache_type_name((kl_cache_type)r->h.cache_type),
                        kl_cache_type_name(e->cache_type));
    struct kl__timeline empty = {.pages = &r->engine->pages};
    if (r->h.fixed_bytes != (int64_t)e->fixed_bytes || r->h.page_bytes != e->pages.page_bytes ||
        r->h.n_page != kl__timeline_pages(&empty, r->h.n_token))
        return refuse(r, "the session's sizes are not those of its model");
    const unsigned char *token = r->map.data + r->p.at[1];
    for (int64_t i = 0; i < r->h.n_token; i++) {
        int32_t id;
        memcpy(&id, token + i * (int64_t)sizeof id, sizeof id);
        if (id < 0 || id >= e->model->net.c.n_vocab)
            return kl__fail(r->err, KL_ERR_FORMAT, "%s: token %lld is %d, expected 0 .. %d",
                            kl__shown_path(r->path).text, (long long)i, (int)id, e->model->net.c.n_vocab - 1);
    }
    return KL_OK;
}

static kl_status fill(const struct reading *r, kl_session *s)
{
    struct kl__timeline *t = &s->line;
    KL_TRY(kl__timeline_reserve(t, r->h.n_token, r->err));
    if (r->p.bytes[1])
        memcpy(t->token, r->map.data + r->p.at[1], r->p.bytes[1]);
    memcpy(t->fixed, r->map.data + r->p.at[2], r->p.bytes[2]);
    for (int64_t i = 0; i < r->h.n_page; i++)
        memcpy(kl__page_at(t->pages, t->page[i]), r->map.data + r->p.at[3] + i * r->h.page_bytes,
               (size_t)r->h.page_bytes);
    t->length = r->h.n_token;
    return KL_OK;
}

static kl_status read_file(struct reading *r, kl_session **session, void *extra, size_t extra_room, size_t *extra_bytes)
{
    KL_TRY(check_sizes(r));
    if (extra_bytes)
        *extra_bytes = (size_t)r->h.extra_bytes;
    if (extra && (uint64_t)r->h.extra_bytes > extra_room)
        return kl__fail(r->err, KL_ERR_WORKSPACE, "%s: the caller's bytes are %lld, expected at most %zu",
                        kl__shown_path(r->path).text, (long long)r->h.extra_bytes, extra_room);
    KL_TRY(check_sum(r));
    KL_TRY(check_model(r));
    kl_session *s;
    KL_TRY(kl_session_open(&s, r->engine, r->err));
    kl_status status = fill(r, s);
    if (status != KL_OK) {
        kl_session_close(s);
        return status;
    }
    if (extra && r->p.bytes[4])
        memcpy(extra, r->map.data + r->p.at[4], r->p.bytes[4]);
    *session = s;
    return KL_OK;
}

kl_status kl__session_load_bytes(kl_session **session, kl_engine *engine, const void *data, size_t bytes, kl_error *err)
{
    struct reading r = {.path = "bytes", .map = {.data = data, .bytes = bytes}, .engine = engine, .err = err};
    return read_file(&r, session, NULL, 0, NULL);
}

void kl__session_seal(void *data, size_t bytes)
{
    struct header h;
    if (bytes < sizeof h)
        return;
    memcpy(&h, data, sizeof h);
    sum_of(h.checksum, &h, data, bytes);
    memcpy(data, &h, sizeof h);
}

kl_status kl_session_load(kl_session **session, kl_engine *engine, const char *path, void *extra, size_t extra_room,
                          size_t *extra_bytes, kl_error *err)
{
    struct reading r = {.path = path, .engine = engine, .err = err};
    KL_TRY(kl__map_open(&r.map, path, err));
    kl_status status = read_file(&r, session, extra, extra_room, extra_bytes);
    kl__map_close(&r.map);
    return status;
}
