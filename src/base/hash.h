/** Checksums and identities: XXH3 with 128 bits, of bytes that come in pieces.  Not for secrets. */
#ifndef KL_BASE_HASH_H
#define KL_BASE_HASH_H

#include "klinear/kl/base.h"

struct kl__hash;

/** Starts a hash; NULL: no memory. */
struct kl__hash *kl__hash_open(void);
void kl__hash_add(struct kl__hash *h, const void *data, size_t bytes);
/** The hash of everything added, as bytes in the same order on every machine.  May be asked for again and again. */
void kl__hash_value(const struct kl__hash *h, uint8_t value[16]);
/** NULL is allowed. */
void kl__hash_close(struct kl__hash *h);

#endif
