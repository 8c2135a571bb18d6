/* Packed panels as panels: nibbles are taken apart, scales widened. */
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/vec/packed.h"

static inline __attribute__((always_inline)) void put_group(uint8_t *q, const uint8_t *from, const bool nibbles)
{
    for (int column = 0; column < KL__PANEL; column += KL_LANES)
#pragma GCC unroll 8
        for (int j = 0; j < 8; j++) {
            vu x = packed_line(from, j, column, nibbles);
            __builtin_memcpy(q + j * PACKED_LINE + 4 * column, &x, sizeof x);
        }
}

/* Fetches as much of what is ahead as was read. */
static inline void fetch(const char *ahead, int64_t bytes)
{
    for (int64_t i = 0; i < bytes; i += 64)
        __builtin_prefetch(ahead + i, 0, 2);
}

static inline __attribute__((always_inline)) void small(uint8_t *q, float *scale, const uint8_t *from, int64_t n,
                                                        const char *ahead, const bool nibbles, const int64_t bytes)
{
    for (int64_t k = 0; k < n; k += 32, from += bytes, ahead += bytes, q += 32 * KL__PANEL, scale += KL__PANEL) {
        for (int column = 0; column < KL__PANEL; column += KL_LANES)
            vstore(scale + column, packed_half(from, column));
        put_group(q, from + 64, nibbles);
        fetch(ahead, bytes);
    }
}

static void large(uint8_t *q, float *scale, float *low, const uint8_t *from, int64_t n, const char *ahead)
{
    const int64_t bytes = kl__packed_bytes(KL__TYPE_Q4_K, 256);
    for (int64_t k = 0; k < n; k += 256, from += bytes, ahead += bytes)
        for (int g = 0; g < 8; g++, q += 32 * KL__PANEL, scale += KL__PANEL, low += KL__PANEL) {
            for (int column = 0; column < KL__PANEL; column += KL_LANES) {
                vstore(scale + column, packed_half(from, column) * packed_byte(from + 128 + g * KL__PANEL, column));
                vstore(low + column, packed_half(from + 64, column) * packed_byte(from + 384 + g * KL__PANEL, column));
            }
            put_group(q, from + 640 + g * 512, true);
            fetch(ahead + g * 592, 592);
        }
}

void KL_VARIANT(packed_panel)(uint8_t *q, float *scale, float *low, enum kl__type type, const void *from, int64_t n,
                              const void *ahead)
{
    ahead = ahead ? ahead : from;
    switch (type) {
    case KL__TYPE_Q8_0: small(q, scale, from, n, ahead, false, 64 + 1024); return;
    case KL__TYPE_Q4_0: small(q, scale, from, n, ahead, true, 64 + 512); return;
    case KL__TYPE_Q4_K: large(q, scale, low, from, n, ahead); return;
    default: return;
    }
}
