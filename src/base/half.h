/** 16-bit floating point, in plain C.  bf16 is the upper half of an f32; f16 is the IEEE half, 1-5-10. */
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

/** Exact for every number, subnormal ones included; NaN becomes quiet. */
static inline float kl__f32_of_f16(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, rest = h & 0x7fff;
    if (rest > 0x7c00)
        return kl__f32_of_bits(sign | 0x7fc00000 | (rest & 0x3ff) << 13);
    if (rest == 0x7c00)
        return kl__f32_of_bits(sign | 0x7f800000);
    if (rest >= 0x400)
        return kl__f32_of_bits(sign | ((rest << 13) + 0x38000000));
    /* Subnormal: so many times 2^-24, which is a normal f32. */
    return kl__f32_of_bits(sign | kl__bits_of_f32((float)rest * 0x1p-24f));
}

/** Rounds to nearest, ties to even; from 65520 on the result is infinite; NaN stays a (quiet) NaN. */
static inline uint16_t kl__f16_of_f32(float x)
{
    uint32_t bits = kl__bits_of_f32(x), sign = bits >> 16 & 0x8000, rest = bits & 0x7fffffff;
    if (rest > 0x7f800000)
        return (uint16_t)(sign | 0x7e00 | (rest >> 13 & 0x1ff));
    if (rest >= 0x477ff000)
        return (uint16_t)(sign | 0x7c00);
    /* Below 2^-14 the result counts in steps of 2^-24, which is the last place of 0.5: the addition rounds. */
    if (rest < 0x38800000)
        return (uint16_t)(sign | (kl__bits_of_f32(kl__f32_of_bits(rest) + 0.5f) - 0x3f000000));
    return (uint16_t)(sign | (rest - 0x38000000 + 0xfff + (rest >> 13 & 1)) >> 13);
}

#endif
