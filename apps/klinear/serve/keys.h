/** API keys: who may ask.  Only hashes stay in memory. */
#ifndef KS_KEYS_H
#define KS_KEYS_H

#include "klinear/kl/base.h"

struct ks_key {
    unsigned char digest[32]; /* SHA-256 of the key */
    char name[40];            /* for logs */
    double tokens, since;     /* of the rate limit: requests that may come now, as of when */
};

struct ks_keys {
    struct ks_key *key; /* [n] */
    int n;
};

/** Reads a file: on each line a key and, behind white space, a name for it; empty lines and those that begin with # are
 *  skipped.  Errors: KL_ERR_IO, KL_ERR_FORMAT (a key shorter than 16 characters, the same key twice, no key at all). */
kl_status ks_keys_read(struct ks_keys *keys, const char *path, kl_error *err);
void ks_keys_free(struct ks_keys *keys);
/** Index of the key that `given` is; -1: none.  Takes the same time whatever is given, but for its length. */
int ks_key_find(const struct ks_keys *keys, const char *given);

/** A number of the key with this index, the same after a restart whatever the order of the keys; 0 for index -1. */
uint64_t ks_key_number(const struct ks_keys *keys, int index);

#endif
