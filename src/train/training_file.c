/* A training in a file.  One after the other, little-endian, as they lie in memory:
 *      header | bytes of the caller | values | first moments | second moments
 * The checksum covers everything but itself. */
#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/str.h"
#include "model/config_write.h"
#include "train/trainer.h"

#include <string.h>

static const char magic[8] = {'K', 'L', 'T', 'R', 'A', 'I', 'N', '\n'};

enum { VERSION = 1, N_PART = 4 };

struct header {
    char magic[8];
    uint32_t version;
    uint32_t optimiser;
    uint8_t model[16];    /* hash of names and shapes of the parameters */
    uint8_t checksum[16]; /* of the header with zeros here, and of all that follows */
    int64_t n_float;      /* of each arena */
    int64_t extra_bytes;
    int64_t n_step;
    struct kl__usual loss, norm;
    uint8_t config[8]; /* hash of the configuration; zeros, of older files: not known */
};
_Static_assert(sizeof(struct header) == 128, "the header is part of the format");

static kl_status hash_of_model(const kl_trainer *t, uint8_t value[16], kl_error *err)
{
    struct kl__hash *h = kl__hash_open();
    if (!h)
        return kl__fail(err, KL_ERR_MEMORY, "no memory for a checksum");
    for (int64_t i = 0; i < t->layout.n_place; i++) {
        const struct kl__place *p = &t->layout.place[i];
        const char *name = kl__param_info(p->param)->name;
        const int64_t number[] = {p->layer, p->n_dim, p->n_matrix, p->rows, p->columns};
        kl__hash_add(h, name, strlen(name));
        kl__hash_add(h, number, sizeof number);
    }
    kl__hash_value(h, value);
    kl__hash_close(h);
    return KL_OK;
}

/* What names and shapes do not show: positions, gates, the router, eps, as config.json has them.  How long sequences
 * are and which tokens are special changes nothing that is computed. */
static kl_status hash_of_config(const kl_trainer *t, uint8_t value[8], kl_error *err)
{
    uint8_t all[16];
    kl_config c = t->layout.c;
    struct kl__buffer b = {.alloc = t->alloc};
    c.n_context = 0;
    c.bos = c.eos = c.pad = -1;
    kl__config_put_json(&b, &c, KL__TYPE_F32);
    struct kl__hash *h = b.failed ? NULL : kl__hash_open();
    if (h) {
        kl__hash_add(h, b.data, b.bytes);
        kl__hash_value(h, all);
        memcpy(value, all, 8);
    }
    kl__buffer_free(&b);
    kl__hash_close(h);
    return h ? KL_OK : kl__fail(err, KL_ERR_MEMORY, "no memory for a checksum");
}

static kl_status header_of(const kl_trainer *t, struct header *h, size_t extra_bytes, kl_error *err)
{
    *h = (struct header){.version = VERSION,
                         .optimiser = (uint32_t)t->optimiser,
                         .n_float = t->layout.n,
                         .extra_bytes = (int64_t)extra_bytes,
                         .n_step = t->n_step,
                         .loss = t->loss,
                         .norm = t->norm};
    memcpy(h->magic, magic, sizeof magic);
    KL_TRY(hash_of_config(t, h->config, err));
    return hash_of_model(t, h->model, err);
}

/* What follows the header. */
struct parts {
    const void *data[N_PART];
    size_t bytes[N_PART];
};

static struct parts parts_of(const kl_trainer *t, const void *extra, size_t extra_bytes)
{
    static const enum kl__arena arena[] = {KL__VALUE, KL__MOMENT1, KL__MOMENT2};
    struct parts p = {.data = {extra}, .bytes = {extra_bytes}};
    for (int i = 1; i < N_PART; i++) {
        p.data[i] = t->arena[arena[i - 1]];
        p.bytes[i] = (size_t)t->layout.n * sizeof(float);
    }
    return p;
}

enum { STRETCH = 1 << 22 }; /* bytes of a file that are looked at before they may leave memory */

/* Parts that lie in a map (NULL: in memory) are forgotten as they go by: they would come on top of the trainer. */
static void add_part(struct kl__hash *hash, const struct kl__map *map, const char *data, size_t bytes)
{
    for (size_t at = 0; at < bytes; at += STRETCH) {
        size_t n = bytes - at < STRETCH ? bytes - at : STRETCH;
        kl__hash_add(hash, data + at, n);
        if (map)
            kl__map_forget(map, data + at, n);
    }
}

static void copy_part(char *to, const struct kl__map *map, const char *data, size_t bytes)
{
    for (size_t at = 0; at < bytes; at += STRETCH) {
        size_t n = bytes - at < STRETCH ? bytes - at : STRETCH;
        memcpy(to + at, data + at, n);
        kl__map_forget(map, data + at, n);
    }
}

static kl_status checksum(uint8_t value[16], const struct header *header, const struct parts *p,
                          const struct kl__map *map, kl_error *err)
{
    struct header h = *header;
    struct kl__hash *hash = kl__hash_open();
    if (!hash)
        return kl__fail(err, KL_ERR_MEMORY, "no memory for a checksum");
    memset(h.checksum, 0, sizeof h.checksum);
    kl__hash_add(hash, &h, sizeof h);
    for (int i = 0; i < N_PART; i++)
        add_part(hash, map, p->data[i], p->bytes[i]);
    kl__hash_value(hash, value);
    kl__hash_close(hash);
    return KL_OK;
}

static kl_status write_all(struct kl__out *out, const struct header *h, const struct parts *p, uint64_t *end,
                           kl_error *err)
{
    KL_TRY(kl__out_write(out, 0, h, sizeof *h, err));
    *end = sizeof *h;
    for (int i = 0; i < N_PART; i++) {
        KL_TRY(kl__out_write(out, *end, p->data[i], p->bytes[i], err));
        *end += p->bytes[i];
    }
    return KL_OK;
}

kl_status kl_trainer_save(const kl_trainer *t, const char *path, const void *extra, size_t extra_bytes, kl_error *err)
{
    struct header h;
    struct kl__out *out;
    uint64_t end;
    struct parts p = parts_of(t, extra, extra_bytes);
    KL_TRY(header_of(t, &h, extra_bytes, err));
    KL_TRY(checksum(h.checksum, &h, &p, NULL, err));
    KL_TRY(kl__out_open(&out, path, t->alloc, err));
    kl_status status = write_all(out, &h, &p, &end, err);
    if (status == KL_OK)
        return kl__out_commit(out, end, err);
    kl__out_abandon(out);
    return status;
}

/* ------------------------------------------------------------------------------------------------------- reading -- */

static kl_status refuse(kl_error *err, const char *path, const char *what)
{
    return kl__fail(err, KL_ERR_FORMAT, "%s: %s", kl__shown_path(path).text, what);
}

/* The header fits this trainer, and the file is as long as it says. */
static kl_status check_header(const kl_trainer *t, const struct kl__map *map, const char *path, struct header *h,
                              size_t extra_room, kl_error *err)
{
    static const uint8_t unknown[8];
    struct header want;
    if (map->bytes < sizeof *h || memcmp(map->data, magic, sizeof magic) != 0)
        return refuse(err, path, "is no training, which begins with KLTRAIN");
    memcpy(h, map->data, sizeof *h);
    KL_TRY(header_of(t, &want, 0, err));
    if (h->version != VERSION)
        return kl__fail(err, KL_ERR_FORMAT, "%s: has version %u, expected %d", kl__shown_path(path).text, h->version,
                        VERSION);
    if (memcmp(h->model, want.model, sizeof h->model) != 0 || h->n_float != want.n_float)
        return refuse(err, path, "is the training of a model with other parameters");
    if (memcmp(h->config, unknown, sizeof unknown) != 0 && memcmp(h->config, want.config, sizeof h->config) != 0)
        return refuse(err, path, "is the training of a model with another configuration");
    if (h->optimiser != want.optimiser)
        return refuse(err, path, "is a training with the other optimiser");
    size_t arenas = (N_PART - 1) * (size_t)t->layout.n * sizeof(float);
    if (h->extra_bytes < 0 || h->n_step < 0 || map->bytes - sizeof *h < arenas ||
        (size_t)h->extra_bytes != map->bytes - sizeof *h - arenas)
        return kl__fail(err, KL_ERR_FORMAT, "%s: has %zu bytes, expected %zu and %lld of the caller's",
                        kl__shown_path(path).text, map->bytes, sizeof *h + arenas, (long long)h->extra_bytes);
    if ((size_t)h->extra_bytes > extra_room)
        return kl__fail(err, KL_ERR_FORMAT, "%s: holds %lld bytes of the caller's, expected at most %zu",
                        kl__shown_path(path).text, (long long)h->extra_bytes, extra_room);
    return KL_OK;
}

static kl_status read_all(kl_trainer *t, const struct kl__map *map, const char *path, void *extra, size_t extra_room,
                          size_t *extra_bytes, kl_error *err)
{
    struct header h;
    uint8_t sum[16];
    KL_TRY(check_header(t, map, path, &h, extra_room, err));
    struct parts p = parts_of(t, extra, (size_t)h.extra_bytes), from = p;
    const unsigned char *at = map->data + sizeof h;
    for (int i = 0; i < N_PART; at += from.bytes[i], i++)
        from.data[i] = at;
    KL_TRY(checksum(sum, &h, &from, map, err));
    if (memcmp(sum, h.checksum, sizeof sum) != 0)
        return refuse(err, path, "is damaged: its checksum is wrong");
    for (int i = 0; i < N_PART; i++)
        copy_part((char *)(uintptr_t)p.data[i], map, from.data[i], p.bytes[i]);
    *extra_bytes = (size_t)h.extra_bytes;
    t->n_step = h.n_step;
    t->loss = h.loss;
    t->norm = h.norm;
    kl_trainer_forget_gradients(t);
    return KL_OK;
}

kl_status kl_trainer_load(kl_trainer *t, const char *path, void *extra, size_t extra_room, size_t *extra_bytes,
                          kl_error *err)
{
    struct kl__map map;
    KL_TRY(kl__map_open(&map, path, err));
    kl_status status = read_all(t, &map, path, extra, extra_room, extra_bytes, err);
    kl__map_close(&map);
    return status;
}
