#include "keys.h"

#include "../cli/input.h"
#include "base/error.h"
#include "base/sha256.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_LIMIT = 1 << 20, LEAST_KEY = 16 };

static void digest_of(unsigned char digest[32], const char *text, size_t bytes)
{
    struct kl__sha256 hash;
    kl__sha256_begin(&hash);
    kl__sha256_add(&hash, text, bytes);
    kl__sha256_end(digest, &hash);
}

/* Looks at every byte, whatever the first ones say. */
static bool same(const unsigned char *a, const unsigned char *b)
{
    volatile unsigned char different = 0;
    for (int i = 0; i < 32; i++)
        different |= a[i] ^ b[i];
    return different == 0;
}

static int find(const struct ks_keys *keys, const unsigned char digest[32])
{
    int found = -1;
    for (int i = 0; i < keys->n; i++)
        if (same(keys->key[i].digest, digest))
            found = i;
    return found;
}

int ks_key_find(const struct ks_keys *keys, const char *given)
{
    unsigned char digest[32];
    digest_of(digest, given, strlen(given));
    return find(keys, digest);
}

static kl_status add_line(struct ks_keys *keys, const char *line, size_t n, int number, const char *path, kl_error *err)
{
    size_t key = 0, name;
    while (key < n && line[key] != ' ' && line[key] != '\t')
        key++;
    for (name = key; name < n && (line[name] == ' ' || line[name] == '\t');)
        name++;
    if (key < LEAST_KEY)
        return kl__fail(err, KL_ERR_FORMAT, "%s: line %d has a key of %zu characters, expected at least %d", path,
                        number, key, LEAST_KEY);
    struct ks_key *more = realloc(keys->key, (size_t)(keys->n + 1) * sizeof *more);
    if (!more)
        return kl__fail(err, KL_ERR_MEMORY, "out of memory");
    keys->key = more;
    struct ks_key *k = &keys->key[keys->n];
    *k = (struct ks_key){0};
    digest_of(k->digest, line, key);
    if (find(keys, k->digest) >= 0)
        return kl__fail(err, KL_ERR_FORMAT, "%s: line %d has a key that another line has as well", path, number);
    if (name < n)
        snprintf(k->name, sizeof k->name, "%.*s", (int)(n - name), line + name);
    else
        snprintf(k->name, sizeof k->name, "key%d", keys->n + 1);
    keys->n++;
    return KL_OK;
}

kl_status ks_keys_read(struct ks_keys *keys, const char *path, kl_error *err)
{
    struct ka_input in = {0};
    *keys = (struct ks_keys){0};
    KL_TRY(ka_read_input(&in, path, FILE_LIMIT, err));
    kl_status status = KL_OK;
    int number = 0;
    for (size_t at = 0; at < in.bytes && status == KL_OK;) {
        size_t n = 0;
        while (at + n < in.bytes && in.data[at + n] != '\n')
            n++;
        size_t shown = n && in.data[at + n - 1] == '\r' ? n - 1 : n;
        number++;
        if (shown && in.data[at] != '#')
            status = add_line(keys, in.data + at, shown, number, path, err);
        at += n + 1;
    }
    memset(in.data, 0, in.bytes);
    ka_free_input(&in);
    if (status == KL_OK && keys->n == 0)
        status = kl__fail(err, KL_ERR_FORMAT, "%s has no key, expected at least one line", path);
    if (status != KL_OK)
        ks_keys_free(keys);
    return status;
}

void ks_keys_free(struct ks_keys *keys)
{
    free(keys->key);
    *keys = (struct ks_keys){0};
}

uint64_t ks_key_number(const struct ks_keys *keys, int index)
{
    uint64_t number = 0;
    if (index >= 0)
        memcpy(&number, keys->key[index].digest, sizeof number);
    return number;
}
