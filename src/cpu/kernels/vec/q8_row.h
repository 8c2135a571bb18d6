/* Rounding activations to 8 bits.  No sum or product is fused, so that every level gives the same bits. */
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/vec/vec.h"

enum { PART = KL__Q8_BLOCK / KL_LANES }; /* vectors of a block */

typedef int8_t vc __attribute__((vector_size(KL_LANES)));

static inline uint32_t largest_lane(vu x)
{
#if KL_LANES == 16
    return _mm512_reduce_max_epu32((__m512i)x);
#else
    __m256i wide = (__m256i)x;
    __m128i y = _mm_max_epu32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));
    y = _mm_max_epu32(y, _mm_shuffle_epi32(y, 0x4e));
    return (uint32_t)_mm_cvtsi128_si32(_mm_max_epu32(y, _mm_shuffle_epi32(y, 0xb1)));
#endif
}

static inline int32_t sum_of_lanes(vi x)
{
#if KL_LANES == 16
    return _mm512_reduce_add_epi32((__m512i)x);
#else
    __m128i y = _mm_add_epi32(_mm256_castsi256_si128((__m256i)x), _mm256_extracti128_si256((__m256i)x, 1));
    y = _mm_add_epi32(y, _mm_shuffle_epi32(y, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(y, _mm_shuffle_epi32(y, 0xb1)));
#endif
}

static inline vu larger(vu a, vu b)
{
#if KL_LANES == 16
    return (vu)_mm512_max_epu32((__m512i)a, (__m512i)b);
#else
    return (vu)_mm256_max_epu32((__m256i)a, (__m256i)b);
#endif
}

/* To nearest, ties to even. */
static inline vi nearest(vf x)
{
#if KL_LANES == 16
    return (vi)_mm512_cvtps_epi32((__m512)x);
#else
    return (vi)_mm256_cvtps_epi32((__m256)x);
#endif
}

static inline float magnitude(const float *x)
{
    vu most = {0};
    for (int i = 0; i < PART; i++)
        most = larger(most, (vu)vload(x + i * KL_LANES) & 0x7fffffff);
    uint32_t bits = largest_lane(most);
    return kl__f32_of_bits(bits >= 0x7f800000 ? 0x7fc00000 : bits);
}

/* `whole` gets the sums of the block's two halves. */
static inline void round_block(int8_t *q, float *scale, int32_t whole[2], const float *x)
{
    float most = magnitude(x), inverse = most >= 1e-30f ? 127 / most : 0;
    *scale = most < 1e-30f ? 0 : most / 127;
    vi part[PART];
    for (int i = 0; i < PART; i++) {
        vi finite = inverse > 0 ? ~(vi){0} : (vi){0};
        part[i] = nearest(vload(x + i * KL_LANES) * inverse) & finite;
        vc narrow = __builtin_convertvector(part[i], vc);
        __builtin_memcpy(q + i * KL_LANES, &narrow, sizeof narrow);
    }
    for (int h = 0; h < 2; h++) {
        vi sum = {0};
        for (int i = 0; i < PART / 2; i++)
            sum += part[h * (PART / 2) + i];
        whole[h] = sum_of_lanes(sum);
    }
}

static inline void store_sum(void *aux, int64_t g, int32_t sum, float scale, int offset)
{
    if (offset > 0)
        ((int32_t *)aux)[g] = -offset * sum;
    else
        ((float *)aux)[g] = scale * (float)sum;
}

void KL_VARIANT(q8_row)(int8_t *q, float *scale, void *aux, const float *x, int64_t n, int group, int offset)
{
    for (int64_t b = 0; b < n / KL__Q8_BLOCK; b++) {
        int32_t whole[2];
        round_block(q + b * KL__Q8_BLOCK, scale + b, whole, x + b * KL__Q8_BLOCK);
        if (group == KL__Q8_BLOCK) {
            store_sum(aux, b, whole[0] + whole[1], scale[b], offset);
        } else {
            store_sum(aux, 2 * b, whole[0], scale[b], offset);
            store_sum(aux, 2 * b + 1, whole[1], scale[b], offset);
        }
    }
}
