/** Random numbers by counter: Philox 4x32-10 (Salmon, Moraes, Dror, Shaw: Parallel random numbers, SC 2011). */
#ifndef KL_TEXT_PHILOX_H
#define KL_TEXT_PHILOX_H

#include <stdint.h>

static inline void kl__philox(uint32_t x[4], uint32_t key0, uint32_t key1)
{
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)x[0] * 0xd2511f53u, b = (uint64_t)x[2] * 0xcd9e8d57u;
        uint32_t y0 = (uint32_t)(b >> 32) ^ x[1] ^ key0, y2 = (uint32_t)(a >> 32) ^ x[3] ^ key1;
        x[0] = y0;
        x[1] = (uint32_t)b;
        x[2] = y2;
        x[3] = (uint32_t)a;
        key0 += 0x9e3779b9u;
        key1 += 0xbb67ae85u;
    }
}

/** Number `n` of a seed, in [0, 1), with 53 random bits. */
static inline double kl__random(uint64_t seed, uint64_t n)
{
    uint32_t x[4] = {(uint32_t)n, (uint32_t)(n >> 32)};
    kl__philox(x, (uint32_t)seed, (uint32_t)(seed >> 32));
    return (double)(((uint64_t)x[0] << 32 | x[1]) >> 11) * 0x1p-53;
}

#endif
