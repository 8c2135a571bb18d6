#include "model/pack_file.h"

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/str.h"

#include <string.h>

static const char magic[8] = {'K', 'L', 'P', 'A', 'C', 'K', 'S', '\n'};

enum {
    VERSION = 1, /* of this header and of the layout of packed matrices */
    SAMPLES = 2048,
    SAMPLE_BYTES = 64,
    PIECE = 64 << 20, /* written at a time */
};

struct header {
    char magic[8];
    uint32_t version;
    uint32_t data_at;
    uint8_t checksum[16]; /* of the header with zeros here */
    struct kl__pack_id id;
    uint8_t sample[16]; /* hash of parts of the matrices */
    char rest[40];
};
_Static_assert(sizeof(struct header) == 128, "the header is part of the format");

/* Parts from end to end, the first and the last bytes among them.  False: no memory. */
static bool take_sample(uint8_t sum[16], const unsigned char *data, uint64_t bytes)
{
    struct kl__hash *h = kl__hash_open();
    if (!h)
        return false;
    uint64_t last = bytes > SAMPLE_BYTES ? bytes - SAMPLE_BYTES : 0, each = bytes < SAMPLE_BYTES ? bytes : SAMPLE_BYTES;
    for (uint64_t i = 0; i < SAMPLES; i++)
        kl__hash_add(h, data + last / (SAMPLES - 1) * i + last % (SAMPLES - 1) * i / (SAMPLES - 1), (size_t)each);
    kl__hash_value(h, sum);
    kl__hash_close(h);
    return true;
}

static bool take_checksum(uint8_t sum[16], const struct header *header)
{
    struct header h = *header;
    struct kl__hash *hash = kl__hash_open();
    if (!hash)
        return false;
    memset(h.checksum, 0, sizeof h.checksum);
    kl__hash_add(hash, &h, sizeof h);
    kl__hash_value(hash, sum);
    kl__hash_close(hash);
    return true;
}

/* ------------------------------------------------------------------------------------------------------- reading -- */

static kl_status refuse(const char *path, const char *what, kl_error *err)
{
    return kl__fail(err, KL_ERR_FORMAT, "%s: %s", kl__shown_path(path).text, what);
}

static kl_status check_header(const char *path, const struct header *h, size_t bytes, const struct kl__pack_id *want,
                              kl_error *err)
{
    uint8_t sum[16];
    if (h->version != VERSION || h->data_at != KL__PACK_DATA_AT)
        return kl__fail(err, KL_ERR_FORMAT, "%s: the pack has format version %u, expected %d",
                        kl__shown_path(path).text, h->version, VERSION);
    if (!take_checksum(sum, h))
        return kl__fail(err, KL_ERR_MEMORY, "%s: no memory for a checksum", kl__shown_path(path).text);
    if (memcmp(sum, h->checksum, sizeof sum) != 0)
        return refuse(path, "the pack's header has been changed: its checksum is another one", err);
    if (memcmp(h->id.identity, want->identity, sizeof want->identity) != 0)
        return refuse(path, "the pack is of another model, or for other instructions", err);
    if (memcmp(h->id.stamp, want->stamp, sizeof want->stamp) != 0)
        return refuse(path, "the pack is stale: the model's files have been written since", err);
    uint64_t expected = KL__PACK_DATA_AT + want->data_bytes;
    if (h->id.data_bytes != want->data_bytes || bytes != expected)
        return kl__fail(err, KL_ERR_FORMAT, "%s: the pack has %zu bytes, expected %llu: it is %s",
                        kl__shown_path(path).text, bytes, (unsigned long long)expected,
                        bytes < expected ? "truncated" : "too long");
    return KL_OK;
}

kl_status kl__pack_check(const void **data, const char *path, const void *file, size_t bytes,
                         const struct kl__pack_id *want, kl_error *err)
{
    struct header h;
    uint8_t sum[16];
    if (bytes < KL__PACK_DATA_AT || memcmp(file, magic, sizeof magic) != 0)
        return refuse(path, "this is not a pack of klinear", err);
    memcpy(&h, file, sizeof h);
    KL_TRY(check_header(path, &h, bytes, want, err));
    if (!take_sample(sum, (const unsigned char *)file + KL__PACK_DATA_AT, want->data_bytes))
        return kl__fail(err, KL_ERR_MEMORY, "%s: no memory for a checksum", kl__shown_path(path).text);
    if (memcmp(sum, h.sample, sizeof sum) != 0)
        return refuse(path, "the pack's matrices have been changed", err);
    *data = (const char *)file + KL__PACK_DATA_AT;
    return KL_OK;
}

/* ------------------------------------------------------------------------------------------------------- writing -- */

static kl_status write_parts(struct kl__out *out, const struct header *h, const char *data, kl_error *err)
{
    KL_TRY(kl__out_write(out, 0, h, sizeof *h, err));
    for (uint64_t at = 0; at < h->id.data_bytes; at += PIECE) {
        uint64_t rest = h->id.data_bytes - at;
        KL_TRY(kl__out_write(out, KL__PACK_DATA_AT + at, data + at, (size_t)(rest < PIECE ? rest : PIECE), err));
    }
    return KL_OK;
}

kl_status kl__pack_write(const char *path, const void *data, const struct kl__pack_id *id, const kl_allocator *alloc,
                         kl_error *err)
{
    struct header h = {.version = VERSION, .data_at = KL__PACK_DATA_AT, .id = *id};
    memcpy(h.magic, magic, sizeof magic);
    if (!take_sample(h.sample, data, id->data_bytes) || !take_checksum(h.checksum, &h))
        return kl__fail(err, KL_ERR_MEMORY, "%s: no memory for a checksum", kl__shown_path(path).text);
    struct kl__out *out;
    KL_TRY(kl__out_open(&out, path, alloc, err));
    kl_status status = write_parts(out, &h, data, err);
    if (status == KL_OK)
        return kl__out_commit(out, KL__PACK_DATA_AT + id->data_bytes, err);
    kl__out_abandon(out);
    return status;
}

void kl__pack_seal(void *file)
{
    struct header h;
    memcpy(&h, file, sizeof h);
    if (take_checksum(h.checksum, &h))
        memcpy(file, &h, sizeof h);
}
