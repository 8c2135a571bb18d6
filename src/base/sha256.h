/** SHA-256 (FIPS 180-4): identity of files. */
#ifndef KL_BASE_SHA256_H
#define KL_BASE_SHA256_H

#include <stddef.h>
#include <stdint.h>

struct kl__sha256 {
    uint32_t h[8];
    uint64_t n_byte;
    unsigned char block[64]; /* the last n_byte % 64 bytes */
};

void kl__sha256_begin(struct kl__sha256 *s);
void kl__sha256_add(struct kl__sha256 *s, const void *data, size_t bytes);
void kl__sha256_end(unsigned char digest[32], struct kl__sha256 *s);

#endif
