#include "base/error.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/str.h"
#include "train/shard.h"

#include <string.h>

const char kl__shard_magic[8] = {'K', 'L', 'T', 'O', 'K', 'E', 'N', '\n'};

enum { BUFFER = 1 << 16 }; /* bytes of tokens that wait to be written */

struct kl_shard_writer {
    const kl_allocator *alloc; /* NULL, or &alloc_copy */
    kl_allocator alloc_copy;
    struct kl__out *out;
    struct kl__hash *hash;
    struct kl__shard_header h;
    char path[84]; /* for sentences */
    uint64_t end;  /* of what has been written */
    int64_t *start, room;
    size_t n_buffer;
    unsigned char buffer[BUFFER];
};

kl_status kl_shard_create(kl_shard_writer **writer, const char *path, int64_t n_vocab, const kl_allocator *alloc,
                          kl_error *err)
{
    if (!writer || !path || n_vocab < 1 || n_vocab > INT32_MAX)
        return kl__fail(err, KL_ERR_ARGUMENT, "kl_shard_create: n_vocab is %lld, expected 1 .. 2^31 - 1, and a path",
                        (long long)n_vocab);
    kl_shard_writer *w = kl__alloc(alloc, sizeof *w);
    if (!w)
        return kl__fail(err, KL_ERR_MEMORY, "%s: no memory to write it", kl__shown_path(path).text);
    if (alloc) {
        w->alloc_copy = *alloc;
        w->alloc = &w->alloc_copy;
    }
    memcpy(w->path, kl__shown_path(path).text, sizeof w->path);
    memcpy(w->h.magic, kl__shard_magic, sizeof w->h.magic);
    w->h.version = KL__SHARD_VERSION;
    w->h.width = n_vocab <= 1 << 16 ? 2 : 4;
    w->h.n_vocab = n_vocab;
    w->end = sizeof w->h;
    w->room = 1024;
    w->start = kl__alloc(w->alloc, (size_t)w->room * sizeof *w->start);
    w->hash = kl__hash_open();
    kl_status status = w->start && w->hash ? kl__out_open(&w->out, path, w->alloc, err)
                                           : kl__fail(err, KL_ERR_MEMORY, "%s: no memory to write it", w->path);
    if (status == KL_OK)
        *writer = w;
    else
        kl_shard_abandon(w);
    return status;
}

void kl_shard_abandon(kl_shard_writer *w)
{
    if (!w)
        return;
    kl__out_abandon(w->out);
    kl__hash_close(w->hash);
    kl__release(w->alloc, w->start);
    kl_allocator copy = w->alloc_copy;
    kl__release(w->alloc ? &copy : NULL, w);
}

static kl_status put(kl_shard_writer *w, const void *data, size_t bytes, kl_error *err)
{
    kl__hash_add(w->hash, data, bytes);
    KL_TRY(kl__out_write(w->out, w->end, data, bytes, err));
    w->end += bytes;
    return KL_OK;
}

static kl_status flush(kl_shard_writer *w, kl_error *err)
{
    size_t bytes = w->n_buffer;
    w->n_buffer = 0;
    return put(w, w->buffer, bytes, err);
}

static kl_status grow(kl_shard_writer *w, kl_error *err)
{
    if (w->h.n_document + 2 <= w->room)
        return KL_OK;
    int64_t *more = kl__alloc(w->alloc, 2 * (size_t)w->room * sizeof *more);
    if (!more)
        return kl__fail(err, KL_ERR_MEMORY, "%s: no memory for %lld documents", w->path, (long long)(2 * w->room));
    memcpy(more, w->start, (size_t)w->room * sizeof *more);
    kl__release(w->alloc, w->start);
    w->start = more;
    w->room *= 2;
    return KL_OK;
}

kl_status kl_shard_add(kl_shard_writer *w, const int32_t *token, int64_t n, kl_error *err)
{
    if (n < 1)
        return kl__fail(err, KL_ERR_ARGUMENT, "%s: document %lld is empty", w->path, (long long)w->h.n_document);
    for (int64_t i = 0; i < n; i++)
        if (token[i] < 0 || token[i] >= w->h.n_vocab)
            return kl__fail(err, KL_ERR_ARGUMENT, "%s: token %lld of document %lld is %d, expected 0 .. %lld", w->path,
                            (long long)i, (long long)w->h.n_document, (int)token[i], (long long)w->h.n_vocab - 1);
    KL_TRY(grow(w, err));
    for (int64_t i = 0; i < n; i++) {
        uint16_t narrow = (uint16_t)token[i];
        memcpy(w->buffer + w->n_buffer, w->h.width == 2 ? (const void *)&narrow : &token[i], w->h.width);
        w->n_buffer += w->h.width;
        if (w->n_buffer == BUFFER)
            KL_TRY(flush(w, err));
    }
    w->h.n_token += n;
    w->start[++w->h.n_document] = w->h.n_token;
    return KL_OK;
}

static kl_status finish(kl_shard_writer *w, kl_error *err)
{
    static const char zeros[8];
    if (w->h.n_document == 0)
        return kl__fail(err, KL_ERR_ARGUMENT, "%s: has no documents, expected at least one", w->path);
    KL_TRY(flush(w, err));
    KL_TRY(put(w, zeros, (8 - w->end % 8) % 8, err));
    KL_TRY(put(w, w->start, (size_t)(w->h.n_document + 1) * sizeof *w->start, err));
    kl__hash_add(w->hash, &w->h, sizeof w->h);
    kl__hash_value(w->hash, w->h.checksum);
    KL_TRY(kl__out_write(w->out, 0, &w->h, sizeof w->h, err));
    struct kl__out *out = w->out;
    w->out = NULL;
    return kl__out_commit(out, w->end, err);
}

kl_status kl_shard_finish(kl_shard_writer *w, kl_error *err)
{
    kl_status status = finish(w, err);
    kl_shard_abandon(w);
    return status;
}
