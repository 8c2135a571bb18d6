#include "train/shard.h"

#include "base/error.h"
#include "base/hash.h"
#include "base/str.h"

#include <string.h>

static kl_status refuse(kl_error *err, const char *path, const char *what)
{
    return kl__fail(err, KL_ERR_FORMAT, "%s: %s", kl__shown_path(path).text, what);
}

/* Where the starts lie; false when the numbers cannot be those of a file of this size. */
static bool places(const struct kl__shard_header *h, size_t bytes, size_t *starts)
{
    if (h->n_token < 0 || h->n_document < 0 || (uint64_t)h->n_token > bytes / h->width ||
        (uint64_t)h->n_document > bytes / 8)
        return false;
    *starts = (sizeof *h + (size_t)h->n_token * h->width + 7) / 8 * 8;
    return *starts + ((size_t)h->n_document + 1) * sizeof(int64_t) == bytes;
}

static kl_status check_header(const struct kl__shard_header *h, size_t bytes, const char *path, int64_t n_vocab,
                              size_t *starts, kl_error *err)
{
    if (h->version != KL__SHARD_VERSION)
        return kl__fail(err, KL_ERR_FORMAT, "%s: has version %u, expected %d", kl__shown_path(path).text, h->version,
                        KL__SHARD_VERSION);
    if (h->width != 2 && h->width != 4)
        return kl__fail(err, KL_ERR_FORMAT, "%s: has tokens of %u bytes, expected 2 or 4", kl__shown_path(path).text,
                        h->width);
    if (!places(h, bytes, starts))
        return kl__fail(err, KL_ERR_FORMAT,
                        "%s: has %zu bytes, which is not what %lld tokens and %lld documents take; it is cut short, or "
                        "damaged",
                        kl__shown_path(path).text, bytes, (long long)h->n_token, (long long)h->n_document);
    if (h->n_vocab > n_vocab)
        return kl__fail(err, KL_ERR_FORMAT, "%s: has a vocabulary of %lld, expected at most the model's %lld",
                        kl__shown_path(path).text, (long long)h->n_vocab, (long long)n_vocab);
    return KL_OK;
}

static kl_status check_sum(const struct kl__shard_header *header, const struct kl__map *map, const char *path,
                           kl_error *err)
{
    struct kl__shard_header h = *header;
    uint8_t sum[16];
    struct kl__hash *hash = kl__hash_open();
    if (!hash)
        return kl__fail(err, KL_ERR_MEMORY, "%s: no memory for its checksum", kl__shown_path(path).text);
    memset(h.checksum, 0, sizeof h.checksum);
    kl__hash_add(hash, map->data + sizeof h, map->bytes - sizeof h);
    kl__hash_add(hash, &h, sizeof h);
    kl__hash_value(hash, sum);
    kl__hash_close(hash);
    if (memcmp(sum, header->checksum, sizeof sum) != 0)
        return refuse(err, path, "is damaged: its checksum is wrong");
    return KL_OK;
}

static kl_status check_documents(const struct kl__shard *s, const char *path, int64_t n_vocab, kl_error *err)
{
    if (s->n_document == 0 || s->start[0] != 0 || s->start[s->n_document] != s->n_token)
        return refuse(err, path, "has documents that do not hold its tokens");
    for (int64_t i = 0; i < s->n_document; i++)
        if (s->start[i + 1] <= s->start[i])
            return kl__fail(err, KL_ERR_FORMAT, "%s: document %lld is empty", kl__shown_path(path).text, (long long)i);
    for (int64_t i = 0; i < s->n_token; i++) {
        int32_t id = kl__shard_token(s, i);
        if (id < 0 || id >= n_vocab)
            return kl__fail(err, KL_ERR_FORMAT, "%s: token %lld is %d, expected 0 .. %lld", kl__shown_path(path).text,
                            (long long)i, (int)id, (long long)n_vocab - 1);
    }
    return KL_OK;
}

static kl_status read_all(struct kl__shard *s, const char *path, int64_t n_vocab, kl_error *err)
{
    struct kl__shard_header h;
    size_t starts = 0;
    if (s->map.bytes < sizeof h || memcmp(s->map.data, kl__shard_magic, sizeof kl__shard_magic) != 0)
        return refuse(err, path, "is no shard of tokens, which begins with KLTOKEN");
    memcpy(&h, s->map.data, sizeof h);
    KL_TRY(check_header(&h, s->map.bytes, path, n_vocab, &starts, err));
    KL_TRY(check_sum(&h, &s->map, path, err));
    s->token = s->map.data + sizeof h;
    s->start = (const int64_t *)(const void *)(s->map.data + starts);
    s->n_token = h.n_token;
    s->n_document = h.n_document;
    s->width = h.width;
    memcpy(s->checksum, h.checksum, sizeof s->checksum);
    return check_documents(s, path, h.n_vocab, err);
}

kl_status kl__shard_open(struct kl__shard *s, const char *path, int64_t n_vocab, kl_error *err)
{
    *s = (struct kl__shard){0};
    KL_TRY(kl__map_open(&s->map, path, err));
    kl_status status = read_all(s, path, n_vocab, err);
    if (status != KL_OK)
        kl__shard_close(s);
    return status;
}

void kl__shard_close(struct kl__shard *s)
{
    kl__map_close(&s->map);
    *s = (struct kl__shard){0};
}
