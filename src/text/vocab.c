#include "text/vocab.h"
#include "base/error.h"
#include "base/memory.h"
#include "text/key.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

/* ------------------------------------------------------------------------------------------------------- hashing -- */

static uint64_t mix(uint64_t h, uint64_t x)
{
    h = (h ^ x) * 0x9e3779b97f4a7c15;
    return h ^ h >> 32;
}

static uint64_t long_key(const struct kl__vocab *v, const unsigned char *p, size_t n)
{
    uint64_t h = v->secret[1] + n;
    for (size_t i = 0; i + 8 < n; i += 8)
        h = mix(h, kl__read64(p + i));
    return mix(h, kl__read64(p + n - 8));
}

/* So that no file can be written whose tokens all collide. */
static void draw_secret(uint64_t secret[2])
{
    if (getrandom(secret, 2 * sizeof *secret, GRND_NONBLOCK) == 2 * sizeof *secret)
        return;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    secret[0] = (uint64_t)now.tv_nsec << 32 ^ (uint64_t)now.tv_sec;
    secret[1] = (uint64_t)(uintptr_t)secret;
}

static bool spells(const struct kl__vocab *v, uint32_t id, const unsigned char *p, size_t bytes)
{
    return memcmp(v->bytes + v->start[id], p, bytes) == 0;
}

/* The slot of these bytes, or the free one where they belong. */
static inline struct kl__slot *slot_of(const struct kl__vocab *v, const unsigned char *p, size_t bytes, uint64_t *key)
{
    *key = bytes <= 8 ? kl__short_key(p, bytes) : long_key(v, p, bytes);
    uint64_t h = mix(v->secret[0] + bytes, *key) * 0xd6e8feb86659fd93;
    for (uint32_t at = (uint32_t)((h >> 32) * v->n_slot >> 32);; at = at + 1 < v->n_slot ? at + 1 : 0) {
        struct kl__slot *slot = &v->slot[at];
        if (!slot->id)
            return slot;
        if (slot->key == *key && slot->bytes == bytes && (bytes <= 8 || spells(v, slot->id - 1, p, bytes)))
            return slot;
    }
}

int32_t kl__vocab_find(const struct kl__vocab *v, const unsigned char *p, size_t bytes)
{
    uint64_t key;
    return bytes > v->longest ? -1 : (int32_t)slot_of(v, p, bytes, &key)->id - 1;
}

/* ------------------------------------------------------------------------------------------------------- filling -- */

kl_status kl__vocab_reserve(struct kl__vocab *v, size_t n_token, size_t n_byte, kl_error *err)
{
    if (n_token > KL__VOCAB_TOKENS || n_byte > UINT32_MAX)
        return kl__fail(err, KL_ERR_UNSUPPORTED, "%s: %zu tokens of %zu bytes; at most %d of %u fit",
                        kl__shown_path(v->path).text, n_token, n_byte, KL__VOCAB_TOKENS, UINT32_MAX);
    v->start = kl__alloc(v->alloc, (n_token + 1) * sizeof *v->start);
    v->kind = kl__alloc(v->alloc, n_token);
    v->bytes = kl__alloc(v->alloc, n_byte);
    v->room = n_byte;
    return v->start && v->kind && v->bytes
               ? KL_OK
               : kl__fail(err, KL_ERR_MEMORY, "%s: no memory for its vocabulary", kl__shown_path(v->path).text);
}

kl_status kl__vocab_add(struct kl__vocab *v, struct kl__str text, enum kl__token_kind kind, kl_error *err)
{
    if ((text.bytes == 0 && kind != KL__TOKEN_UNUSED) || text.bytes > KL__TOKEN_BYTES)
        return kl__fail(err, KL_ERR_FORMAT, "%s: token %d has %zu bytes, expected 1 to %d",
                        kl__shown_path(v->path).text, v->n_token, text.bytes, KL__TOKEN_BYTES);
    uint32_t start = v->start[v->n_token];
    if (text.bytes)
        memcpy(v->bytes + start, text.at, text.bytes);
    v->kind[v->n_token] = (unsigned char)kind;
    v->n_ordinary += kind == KL__TOKEN_ORDINARY;
    v->longest = text.bytes > v->longest ? text.bytes : v->longest;
    v->start[++v->n_token] = start + (uint32_t)text.bytes;
    return KL_OK;
}

/* ----------------------------------------------------------------------------------------------------- finishing -- */

static kl_status fail_token(const struct kl__vocab *v, kl_error *err, int32_t id, const char *what, int32_t other)
{
    char spelled[32] = "";
    if (other >= 0)
        snprintf(spelled, sizeof spelled, " %d", other);
    return kl__fail(err, KL_ERR_FORMAT, "%s: token %d, '%s', %s%s", kl__shown_path(v->path).text, id,
                    kl__shown(kl__vocab_text(v, id)).text, what, spelled);
}

static kl_status enter_ordinary(struct kl__vocab *v, kl_error *err)
{
    for (int32_t id = 0; id < v->n_token; id++) {
        if (v->kind[id] != KL__TOKEN_ORDINARY)
            continue;
        struct kl__str text = kl__vocab_text(v, id);
        uint64_t key;
        struct kl__slot *slot = slot_of(v, (const unsigned char *)text.at, text.bytes, &key);
        if (slot->id)
            return fail_token(v, err, id, "spells the same bytes as token", (int32_t)slot->id - 1);
        *slot = (struct kl__slot){key, (uint32_t)id + 1, (uint32_t)text.bytes};
    }
    for (unsigned byte = 0; byte < 256; byte++) {
        v->byte[byte] = kl__vocab_find(v, &(unsigned char){(unsigned char)byte}, 1);
        if (v->byte[byte] < 0)
            return kl__fail(err, KL_ERR_FORMAT, "%s: no token spells the single byte 0x%02x, expected all 256",
                            kl__shown_path(v->path).text, byte);
    }
    return KL_OK;
}

static int order(const void *left, const void *right)
{
    const struct kl__special *a = left, *b = right;
    size_t n = a->text.bytes < b->text.bytes ? a->text.bytes : b->text.bytes;
    int d = memcmp(a->text.at, b->text.at, n);
    return d ? d : (a->text.bytes > b->text.bytes) - (a->text.bytes < b->text.bytes);
}

static kl_status check_special(const struct kl__vocab *v, kl_error *err)
{
    for (int32_t i = 0; i < v->n_special; i++) {
        const struct kl__special *s = &v->special[i];
        int32_t same = kl__vocab_find(v, (const unsigned char *)s->text.at, s->text.bytes);
        if (same >= 0)
            return fail_token(v, err, s->id, "is special and spells the same bytes as token", same);
        if (i && kl__str_same(s[-1].text, s->text))
            return fail_token(v, err, s->id, "has the name of special token", s[-1].id);
    }
    return KL_OK;
}

static kl_status enter_special(struct kl__vocab *v, kl_error *err)
{
    for (int32_t id = 0; id < v->n_token; id++)
        if (v->kind[id] == KL__TOKEN_SPECIAL)
            v->special[v->n_special++] = (struct kl__special){kl__vocab_text(v, id), id};
    qsort(v->special, (size_t)v->n_special, sizeof *v->special, order);
    for (int32_t i = 0; i < v->n_special; i++)
        v->begins[(unsigned char)v->special[i].text.at[0]] = true;
    return check_special(v, err);
}

kl_status kl__vocab_finish(struct kl__vocab *v, kl_error *err)
{
    v->n_slot = (uint32_t)v->n_ordinary + (uint32_t)v->n_ordinary / 2 + 64;
    v->slot = kl__alloc(v->alloc, v->n_slot * sizeof *v->slot);
    v->special = kl__alloc(v->alloc, (size_t)(v->n_token - v->n_ordinary) * sizeof *v->special);
    if (!v->slot || !v->special)
        return kl__fail(err, KL_ERR_MEMORY, "%s: no memory for its vocabulary", kl__shown_path(v->path).text);
    draw_secret(v->secret);
    KL_TRY(enter_ordinary(v, err));
    return enter_special(v, err);
}

void kl__vocab_close(struct kl__vocab *v)
{
    kl__release(v->alloc, v->start);
    kl__release(v->alloc, v->bytes);
    kl__release(v->alloc, v->kind);
    kl__release(v->alloc, v->slot);
    kl__release(v->alloc, v->special);
    *v = (struct kl__vocab){0};
}

/* -------------------------------------------------------------------------------------------------- special ones -- */

int32_t kl__vocab_special(const struct kl__vocab *v, struct kl__str name)
{
    struct kl__special wanted = {.text = name};
    const struct kl__special *found = NULL;
    if (v->n_special && name.bytes)
        found = bsearch(&wanted, v->special, (size_t)v->n_special, sizeof *v->special, order);
    return found ? found->id : -1;
}

/* The first of special[low .. high) whose byte `i` is at least `byte`; all of them have more than i bytes or sort in
 * front of those that have. */
static int32_t narrow(const struct kl__vocab *v, int32_t low, int32_t high, size_t i, unsigned byte)
{
    while (low < high) {
        int32_t middle = low + (high - low) / 2;
        struct kl__str text = v->special[middle].text;
        if (text.bytes <= i || (unsigned char)text.at[i] < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool kl__vocab_special_at(const struct kl__vocab *v, const unsigned char *p, const unsigned char *end,
                          struct kl__special *found)
{
    int32_t low = 0, high = v->n_special;
    bool any = false;
    for (size_t i = 0; p + i < end && low < high; i++) {
        low = narrow(v, low, high, i, p[i]);
        high = narrow(v, low, high, i, p[i] + 1u);
        if (low < high && v->special[low].text.bytes == i + 1) {
            *found = v->special[low];
            any = true;
        }
    }
    return any;
}
