/** Vectors of KL_LANES floats on the compiler's vector extension, so that one body serves every instruction set.
 *  A file <noun>_<isa>.c sets KL_LANES and KL_ISA, includes vec/<noun>.h, and is compiled with that set's flags
 *  (the file name carries the isa, CMake turns it into flags; a * b + c is fused).
 *  Hand-written intrinsics live in the <isa> file itself, where a body in this form does not reach the limit of the
 *  machine. */
#ifndef KL_CPU_VEC_H
#define KL_CPU_VEC_H

#include "base/half.h"

#include <math.h>
#include <stdint.h>

#define KL_PASTE2(slot, isa) kl__##slot##_##isa
#define KL_PASTE(slot, isa) KL_PASTE2(slot, isa)
/** The variant's name: KL_VARIANT(l2norm_row) is kl__l2norm_row_avx512 where KL_ISA is avx512. */
#define KL_VARIANT(slot) KL_PASTE(slot, KL_ISA)

typedef float vf __attribute__((vector_size(4 * KL_LANES)));
typedef int32_t vi __attribute__((vector_size(4 * KL_LANES)));
typedef uint32_t vu __attribute__((vector_size(4 * KL_LANES)));
typedef uint16_t vh __attribute__((vector_size(2 * KL_LANES)));

/* The same in memory, at any address of the element. */
typedef float vf_at __attribute__((vector_size(4 * KL_LANES), aligned(4), may_alias));
typedef uint16_t vh_at __attribute__((vector_size(2 * KL_LANES), aligned(2), may_alias));

static inline vf vload(const float *p)
{
    return *(const vf_at *)p;
}
static inline void vstore(float *p, vf x)
{
    *(vf_at *)p = x;
}
static inline vf vset(float x)
{
    return x - (vf){0};
}
/** x of the first n lanes, 0 in the others; reads n floats. */
static inline vf vload_part(const float *p, int64_t n)
{
    vf x = {0};
    __builtin_memcpy(&x, p, 4 * (size_t)n);
    return x;
}
static inline void vstore_part(float *p, vf x, int64_t n)
{
    __builtin_memcpy(p, &x, 4 * (size_t)n);
}
static inline vf vload_bf16(const uint16_t *p)
{
    vu wide = __builtin_convertvector((vh) * (const vh_at *)p, vu) << 16;
    return (vf)wide;
}
static inline void vstore_bf16(uint16_t *p, vf x)
{
    vu bits = (vu)x;
    vu rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16, nan = bits >> 16 | 0x40;
    vu is_nan = (vu)((bits & 0x7fffffff) > 0x7f800000);
    *(vh_at *)p = __builtin_convertvector((is_nan & nan) | (~is_nan & rounded), vh);
}
/** Sum of the lanes, halving: the same order for every body. */
static inline float vsum(vf x)
{
    float lane[KL_LANES];
    __builtin_memcpy(lane, &x, sizeof x);
    for (int half = KL_LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            lane[i] += lane[i + half];
    return lane[0];
}
static inline vf vselect(vi mask, vf yes, vf no)
{
    return (vf)((mask & (vi)yes) | (~mask & (vi)no));
}
static inline vf vmin(vf a, vf b)
{
    return vselect(a < b, a, b);
}
static inline vf vmax(vf a, vf b)
{
    return vselect(a > b, a, b);
}
/** exp(x) to 2 units in the last place; 0 below -87.4, infinity above 88.8, NaN for NaN.
 *  Cody-Waite reduction by ln 2 in two parts, then the polynomial of degree 6 on [-ln2/2, ln2/2]. */
static inline vf vexp(vf x)
{
    vf clipped = vmin(vmax(x, vset(-87.4f)), vset(88.8f));
    vf shifted = clipped * 1.44269504089f + 12582912.0f; /* 1.5 * 2^23: the integer lands in the low bits */
    vf n = shifted - 12582912.0f;
    vf r = clipped - n * 0.693359375f;
    r = r - n * -2.12194440e-4f;
    vf p = vset(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    /* 2^n in two steps: n may be 128. */
    vi whole = (vi)shifted - 0x4b400000, half = whole >> 1;
    vf y = p * (vf)((half + 127) << 23) * (vf)((whole - half + 127) << 23);
    y = vselect(x < -87.4f, vset(0.0f), y);
    return vselect(x != x, x, y);
}

#endif
