#include "session_tokens.h"

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/str.h"

#include <string.h>

struct header {
    char magic[8];
    int64_t created, changed, n;
    uint8_t checksum[16];
};
_Static_assert(sizeof(struct header) == 48, "the header is part of the format");

static const char magic[8] = {'K', 'L', 'T', 'A', 'L', 'K', '1', '\n'};

/* False: no memory. */
static bool sum(struct header *h, const void *token, size_t bytes)
{
    struct kl__hash *hash = kl__hash_open();
    if (!hash)
        return false;
    memset(h->checksum, 0, sizeof h->checksum);
    kl__hash_add(hash, h, sizeof *h);
    kl__hash_add(hash, token, bytes);
    kl__hash_value(hash, h->checksum);
    kl__hash_close(hash);
    return true;
}

kl_status ks_tokens_write(const char *path, const struct ks_session *one, kl_error *err)
{
    struct header h = {.created = one->created, .changed = one->changed, .n = one->n};
    struct kl__out *out;
    size_t bytes = (size_t)one->n * sizeof *one->token;
    memcpy(h.magic, magic, sizeof magic);
    if (!sum(&h, one->token, bytes))
        return kl__fail(err, KL_ERR_MEMORY, "no memory for a checksum");
    KL_TRY(kl__out_open(&out, path, NULL, err));
    kl_status status = kl__out_write(out, 0, &h, sizeof h, err);
    if (status == KL_OK && bytes)
        status = kl__out_write(out, sizeof h, one->token, bytes, err);
    if (status == KL_OK)
        return kl__out_commit(out, sizeof h + bytes, err);
    kl__out_abandon(out);
    return status;
}

kl_status ks_tokens_parse(struct ks_session *one, const char *path, const void *data, size_t bytes, int32_t n_vocab,
                          kl_error *err)
{
    struct header h, right;
    const char *shown = path;
    if (bytes < sizeof h || memcmp(data, magic, sizeof magic) != 0)
        return kl__fail(err, KL_ERR_FORMAT, "%.160s: this is not a session's file of tokens", shown);
    memcpy(&h, data, sizeof h);
    if (h.n < 0 || (uint64_t)h.n > (bytes - sizeof h) / sizeof *one->token ||
        bytes != sizeof h + (size_t)h.n * sizeof *one->token)
        return kl__fail(err, KL_ERR_FORMAT, "%.160s: the file has %zu bytes, expected those of %lld tokens", shown,
                        bytes, (long long)h.n);
    const char *token = (const char *)data + sizeof h;
    right = h;
    if (!sum(&right, token, bytes - sizeof h))
        return kl__fail(err, KL_ERR_MEMORY, "no memory for a checksum");
    if (memcmp(right.checksum, h.checksum, sizeof h.checksum) != 0)
        return kl__fail(err, KL_ERR_FORMAT, "%.160s: the session was changed: its checksum is wrong", shown);
    for (int64_t i = 0; i < h.n; i++) {
        int32_t id;
        memcpy(&id, token + (size_t)i * sizeof id, sizeof id);
        if (id < 0 || id >= n_vocab)
            return kl__fail(err, KL_ERR_FORMAT, "%.160s: token %lld is %d, expected 0 .. %d", shown, (long long)i,
                            (int)id, (int)n_vocab - 1);
        if (!ks_session_add(one, &id, 1))
            return kl__fail(err, KL_ERR_MEMORY, "no memory for a session");
    }
    one->created = h.created;
    one->changed = h.changed;
    return KL_OK;
}

kl_status ks_tokens_read(struct ks_session *one, const char *path, int32_t n_vocab, kl_error *err)
{
    struct kl__map map;
    KL_TRY(kl__map_open(&map, path, err));
    kl_status status = ks_tokens_parse(one, path, map.data, map.bytes, n_vocab, err);
    kl__map_close(&map);
    return status;
}
