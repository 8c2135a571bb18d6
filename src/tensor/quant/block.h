/** What the block formats share: fields at any address, nibbles, and the functions that rows.def names.
 *
 *  In every format `d`, `m` and `dmin` are f16, integers of more than one byte are little-endian, and elements are
 *  numbered inside their block.  lo(b) and hi(b) are the nibbles of a byte. */
#ifndef KL_TENSOR_QUANT_BLOCK_H
#define KL_TENSOR_QUANT_BLOCK_H

#include "base/half.h"
#include "tensor/quant/quant.h"

static inline uint16_t kl__get_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t kl__get_u32(const uint8_t *p)
{
    return (uint32_t)kl__get_u16(p) | (uint32_t)kl__get_u16(p + 2) << 16;
}

static inline float kl__get_f16(const uint8_t *p)
{
    return kl__f32_of_f16(kl__get_u16(p));
}

static inline void kl__put_u16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static inline void kl__put_u32(uint8_t *p, uint32_t v)
{
    kl__put_u16(p, (uint16_t)v);
    kl__put_u16(p + 2, (uint16_t)(v >> 16));
}

/** Stores a scale, at most the largest finite f16, and returns the value that decoding will see. */
static inline float kl__put_scale(uint8_t *p, float d)
{
    d = d > 65504 ? 65504 : d < -65504 ? -65504 : d;
    kl__put_u16(p, kl__f16_of_f32(d));
    return kl__get_f16(p);
}

static inline int kl__lo(uint8_t b)
{
    return b & 15;
}

static inline int kl__hi(uint8_t b)
{
    return b >> 4;
}

/** The 16 levels of IQ4_NL and IQ4_XS. */
extern const int8_t kl__iq4_level[16];
/** Twice the 16 values of MXFP4, so that they are integers, and half the scale that byte `e` of a block stands for. */
extern const int8_t kl__mxfp4_doubled[16];
float kl__mxfp4_half_scale(uint8_t e);

kl__decode_fn kl__f32_decode, kl__f16_decode, kl__bf16_decode, kl__q8_0_decode, kl__q4_0_decode, kl__q4_1_decode,
    kl__q5_0_decode, kl__q5_1_decode, kl__q2_k_decode, kl__q3_k_decode, kl__q4_k_decode, kl__q5_k_decode,
    kl__q6_k_decode, kl__iq4_nl_decode, kl__iq4_xs_decode, kl__mxfp4_decode;
kl__encode_fn kl__f32_encode, kl__f16_encode, kl__bf16_encode, kl__q8_0_encode, kl__q4_0_encode, kl__q4_1_encode,
    kl__q5_0_encode, kl__q5_1_encode, kl__q4_k_encode, kl__q5_k_encode, kl__q6_k_encode;

#endif
