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
#if defined(__AVX2__)
#include <immintrin.h>
#endif

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
/** Lanes first .. end-1 of the vector at p, 0 in the others; nothing else is read. */
static inline vf vload_lanes(const float *p, int first, int end)
{
#if defined(__AVX512F__) && KL_LANES == 16
    return _mm512_maskz_loadu_ps((__mmask16)((1u << end) - (1u << first)), p);
#elif defined(__AVX2__) && KL_LANES == 8
    const vi lane = {0, 1, 2, 3, 4, 5, 6, 7};
    return _mm256_maskload_ps(p, (__m256i)((lane >= first) & (lane < end)));
#else
    vf x = {0};
    for (int i = first; i < end; i++)
        x[i] = p[i];
    return x;
#endif
}
/** The way back; nothing else is written. */
static inline void vstore_lanes(float *p, vf x, int first, int end)
{
#if defined(__AVX512F__) && KL_LANES == 16
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << end) - (1u << first)), x);
#elif defined(__AVX2__) && KL_LANES == 8
    const vi lane = {0, 1, 2, 3, 4, 5, 6, 7};
    _mm256_maskstore_ps(p, (__m256i)((lane >= first) & (lane < end)), x);
#else
    for (int i = first; i < end; i++)
        p[i] = x[i];
#endif
}
/** x of the first n lanes, 0 in the others; reads n floats. */
static inline vf vload_part(const float *p, int64_t n)
{
    return vload_lanes(p, 0, (int)n);
}
static inline void vstore_part(float *p, vf x, int64_t n)
{
    vstore_lanes(p, x, 0, (int)n);
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
/** Sum of the lanes: pairs at distance KL_LANES/2, then half of that, and so on. */
static inline float vsum(vf x)
{
#if defined(__AVX512F__) && KL_LANES == 16
    __m256 y = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
#elif defined(__AVX2__) && KL_LANES == 8
    __m256 y = x;
#endif
#if defined(__AVX2__) && KL_LANES >= 8
    __m128 z = _mm_add_ps(_mm256_castps256_ps128(y), _mm256_extractf128_ps(y, 1));
    z = _mm_add_ps(z, _mm_movehl_ps(z, z));
    return _mm_cvtss_f32(_mm_add_ss(z, _mm_movehdup_ps(z)));
#else
    float lane[KL_LANES];
    __builtin_memcpy(lane, &x, sizeof x);
    for (int half = KL_LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            lane[i] += lane[i + half];
    return lane[0];
#endif
}
static inline vf vselect(vi mask, vf yes, vf no)
{
    return (vf)((mask & (vi)yes) | (~mask & (vi)no));
}
/* The smaller and the larger; b when one of them is NaN. */
static inline vf vmin(vf a, vf b)
{
#if defined(__AVX512F__) && KL_LANES == 16
    return _mm512_min_ps(a, b);
#elif defined(__AVX2__) && KL_LANES == 8
    return _mm256_min_ps(a, b);
#else
    return vselect(a < b, a, b);
#endif
}
static inline vf vmax(vf a, vf b)
{
#if defined(__AVX512F__) && KL_LANES == 16
    return _mm512_max_ps(a, b);
#elif defined(__AVX2__) && KL_LANES == 8
    return _mm256_max_ps(a, b);
#else
    return vselect(a > b, a, b);
#endif
}
/** exp(x) to 2 units in the last place where the result is a normal number; 0 for -infinity and for what is far below
 *  the smallest one, infinity above 89, NaN for NaN.  x is split as n ln 2 + r by Cody and Waite (ln 2 in two parts);
 *  exp(r) is a polynomial of degree 6 on [-ln2/2, ln2/2], or of degree 3 where a shuffle finds sixteenths of powers of
 *  two in a register. */
#define EXP_LOW -120.0f  /* exp of it is 0 in f32 */
#define EXP_HIGH 89.0f   /* and infinity */
static inline vf vexp(vf x)
{
    x = vmin(vset(EXP_HIGH), vmax(vset(EXP_LOW), x)); /* NaN passes through */
#if defined(__AVX512F__) && KL_LANES == 16
    const vf sixteenths = {0x1p0f,        0x1.0b5586p0f, 0x1.172b84p0f, 0x1.2387a6p0f, 0x1.306fep0f,  0x1.3dea64p0f,
                           0x1.4bfdaep0f, 0x1.5ab07ep0f, 0x1.6a09e6p0f, 0x1.7a1148p0f, 0x1.8ace54p0f, 0x1.9c4918p0f,
                           0x1.ae89fap0f, 0x1.c199bep0f, 0x1.d5818ep0f, 0x1.ea4afap0f};
    vf shifted = x * 1.44269504089f + 786432.0f; /* 1.5 * 2^19: sixteenths land in the low bits */
    vf n = shifted - 786432.0f;
    vf r = x - n * 0.693359375f;
    r = r - n * -2.12194440e-4f;
    vf p = ((r * (1 / 6.0f) + 0.5f) * r + 1.0f) * r + 1.0f;
    return _mm512_scalef_ps(p * _mm512_permutexvar_ps(_mm512_castps_si512(shifted), sixteenths), n);
#else
    vf shifted = x * 1.44269504089f + 12582912.0f; /* 1.5 * 2^23: the integer lands in the low bits */
    vf n = shifted - 12582912.0f;
    vf r = x - n * 0.693359375f;
    r = r - n * -2.12194440e-4f;
    vf p = vset(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    /* 2^n in two steps, since n leaves the range of one; each factor has an exponent in -127 .. 127. */
    vi whole = (vi)shifted - 0x4b400000, half = whole >> 1;
    return p * (vf)((half + 127) << 23) * (vf)((whole - half + 127) << 23);
#endif
}
/** log(1 + u) for u in [0, 1], to 2 units in the last place also where u is small:
 *  2 atanh(s) with s = u / (2 + u) <= 1/3, as its series in s^2. */
static inline vf vlog1p_unit(vf u)
{
    vf s = u / (u + 2.0f), t = s * s;
    vf p = vset(2.0f / 15);
    p = p * t + 2.0f / 13;
    p = p * t + 2.0f / 11;
    p = p * t + 2.0f / 9;
    p = p * t + 2.0f / 7;
    p = p * t + 2.0f / 5;
    p = p * t + 2.0f / 3;
    p = p * t + 2.0f;
    return p * s;
}

#endif
