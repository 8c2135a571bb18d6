/** Shards: tokens of documents in a file. */
#ifndef KL_TRAIN_SHARD_H
#define KL_TRAIN_SHARD_H

#include "base/file.h"
#include "klinear/kl_train.h"

/** A shard is, little-endian, as it lies in memory:
 *      header | tokens u16 or i32, then zeros up to a multiple of 8 bytes | start of each document, and of none i64
 *  The checksum covers everything behind the header, then the header with zeros in its place. */
struct kl__shard_header {
    char magic[8];
    uint32_t version;
    uint32_t width; /* bytes of a token: 2, or 4 where the vocabulary has more than 65536 */
    int64_t n_vocab, n_token, n_document;
    uint8_t checksum[16];
    char rest[8];
};
_Static_assert(sizeof(struct kl__shard_header) == 64, "the header is part of the format");

enum { KL__SHARD_VERSION = 1 };
extern const char kl__shard_magic[8];

struct kl__shard {
    struct kl__map map;
    const unsigned char *token; /* [n_token] of `width` bytes */
    const int64_t *start;       /* [n_document + 1] */
    int64_t n_token, n_document;
    uint32_t width;
    uint8_t checksum[16];
};

/** Maps a shard and reads all of it: nothing in it is wrong afterwards.  The caller closes it.
 *  Errors: KL_ERR_IO, KL_ERR_FORMAT, KL_ERR_MEMORY. */
kl_status kl__shard_open(struct kl__shard *s, const char *path, int64_t n_vocab, kl_error *err);
void kl__shard_close(struct kl__shard *s);

static inline int32_t kl__shard_token(const struct kl__shard *s, int64_t i)
{
    return s->width == 2 ? ((const uint16_t *)(const void *)s->token)[i] : ((const int32_t *)(const void *)s->token)[i];
}

#endif
