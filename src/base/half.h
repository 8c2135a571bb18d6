/** 16-bit floating point, in plain C.  bf16 is the upper half of an f32. */
#ifndef KL_BASE_HALF_H
#define KL_BASE_HALF_H

#include <stdint.h>
#include <string.h>

static inline float kl__f32_of_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline uint32_t kl__bits_of_f32(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float kl__f32_of_bf16(uint16_t h)
{
    return kl__f32_of_bits((uint32_t)h << 16);
}

/** Rounds to nearest, ties to even; NaN stays a (quiet) NaN. */
static inline uint16_t kl__bf16_of_f32(float x)
{
    uint32_t bits = kl__bits_of_f32(x);
    if ((bits & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

#endif
