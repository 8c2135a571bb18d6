/** Bytes that grow. */
#ifndef KS_BYTES_H
#define KS_BYTES_H

#include <stdbool.h>
#include <stddef.h>

struct ks_bytes {
    char *data; /* [n] of [room] */
    size_t n, room;
};

/** Room for `more` bytes behind those that are there; false: no memory, and nothing has changed. */
bool ks_room(struct ks_bytes *b, size_t more);
bool ks_add(struct ks_bytes *b, const void *data, size_t n);
bool ks_add_text(struct ks_bytes *b, const char *text);
bool ks_addf(struct ks_bytes *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
/** Takes the first `n` away. */
void ks_take(struct ks_bytes *b, size_t n);
void ks_free(struct ks_bytes *b);

#endif
