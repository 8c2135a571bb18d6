/* Rows of f32 as 16-bit integers.  Sums run in 32 lanes at every width, so that they have the same bits. */
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/vec/vec.h"

enum { STEP = 32, VECTORS = STEP / KL_LANES };

/* Lanes l and l + 16, then l and l + 8, and so on, as in plain C. */
static inline float sum_lanes(const vf *x)
{
    return vsum(VECTORS == 4 ? (x[0] + x[2]) + (x[1] + x[3]) : x[0] + x[1]);
}

/* a a + c, rounded once wherever it stands. */
static inline vf add_square(vf a, vf c)
{
#if KL_LANES == 16
    return _mm512_fmadd_ps(a, a, c);
#else
    return _mm256_fmadd_ps(a, a, c);
#endif
}

static inline void put(int16_t *to, vf x)
{
#if KL_LANES == 16
    _mm256_storeu_si256((__m256i *)to, _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(x)));
#else
    __m256i whole = _mm256_cvtps_epi32(x);
    __m128i half = _mm_packs_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
    _mm_storeu_si128((__m128i *)to, half);
#endif
}

static inline vf part_of(const float *x, int64_t n)
{
    return n >= KL_LANES ? vload(x) : n <= 0 ? vset(0) : vload_part(x, n);
}

/* What numbers are multiplied by to become integers; 0: they become zeros. */
static inline float begin_row(float *scale, float square)
{
    float norm = sqrtf(square);
    *scale = square < 1e-30f ? 0 : square < INFINITY ? norm / KL__I16_NORM : NAN;
    return *scale > 0 ? KL__I16_NORM / norm : 0;
}

void KL_VARIANT(i16_row)(int16_t *q, float *scale, const float *x, int64_t n, int64_t n_q)
{
    vf sum[4] = {vset(0), vset(0), vset(0), vset(0)};
    int64_t i = 0;
    for (; i + STEP <= n; i += STEP)
        for (int v = 0; v < VECTORS; v++) {
            vf y = vload(x + i + v * KL_LANES);
            sum[v] = add_square(y, sum[v]);
        }
    for (int v = 0; i < n && v < VECTORS; v++) {
        vf y = part_of(x + i + v * KL_LANES, n - i - v * KL_LANES);
        sum[v] = add_square(y, sum[v]);
    }
    float inverse = begin_row(scale, sum_lanes(sum));
    if (!(inverse > 0)) {
        __builtin_memset(q, 0, (size_t)n_q * sizeof *q);
        return;
    }
    for (i = 0; i + KL_LANES <= n; i += KL_LANES)
        put(q + i, vload(x + i) * inverse);
    if (i < n_q) {
        int16_t rest[KL_LANES];
        for (put(rest, part_of(x + i, n - i) * inverse); i < n_q; i += KL_LANES) {
            __builtin_memcpy(q + i, rest, (size_t)(n_q - i < KL_LANES ? n_q - i : KL_LANES) * sizeof *q);
            __builtin_memset(rest, 0, sizeof rest);
        }
    }
}

/* Two numbers of bf16 in each lane: the even ones in the low halves. */
static inline vu pairs_of(const uint16_t *x)
{
    vu pair;
    __builtin_memcpy(&pair, x, sizeof pair);
    return pair;
}

/* The same where fewer than 2 KL_LANES are left, perhaps none. */
static __attribute__((noinline)) vu last_pairs_of(const uint16_t *x, int64_t n)
{
    vu pair = {0};
    if (n > 0)
        __builtin_memcpy(&pair, x, (size_t)(n < 2 * KL_LANES ? n : 2 * KL_LANES) * sizeof *x);
    return pair;
}

static inline vf even_of(vu pair)
{
    return (vf)(pair << 16);
}

static inline vf odd_of(vu pair)
{
    return (vf)(pair & 0xffff0000);
}

static inline vi whole(vf x)
{
#if KL_LANES == 16
    return (vi)_mm512_cvtps_epi32(x);
#else
    return (vi)_mm256_cvtps_epi32(x);
#endif
}

/* Sums of squares of even and odd numbers: v is which of the vectors of a step. */
static inline void add_pairs(vf even[2], vf odd[2], vu pair, int v)
{
    even[v] = add_square(even_of(pair), even[v]);
    odd[v] = add_square(odd_of(pair), odd[v]);
}

static inline vu integers_of(vu pair, float inverse)
{
    return ((vu)whole(even_of(pair) * inverse) & 0xffff) | (vu)whole(odd_of(pair) * inverse) << 16;
}

/* Even and odd numbers apart: their two sums are what the 32 lanes of i16_row come to before the last addition. */
void KL_VARIANT(i16_row_bf16)(int16_t *q, float *scale, const uint16_t *x, int64_t n, int64_t n_q)
{
    enum { HALF = VECTORS / 2, WIDE = 2 * KL_LANES };
    vf even[2] = {vset(0), vset(0)}, odd[2] = {vset(0), vset(0)};
    int64_t i = 0;
    for (; i + STEP <= n; i += STEP)
        for (int v = 0; v < HALF; v++)
            add_pairs(even, odd, pairs_of(x + i + v * WIDE), v);
    for (int v = 0; i < n && v < HALF; v++)
        add_pairs(even, odd, last_pairs_of(x + i + v * WIDE, n - i - v * WIDE), v);
    float square = HALF == 2 ? vsum(even[0] + even[1]) + vsum(odd[0] + odd[1]) : vsum(even[0]) + vsum(odd[0]);
    float inverse = begin_row(scale, square);
    if (!(inverse > 0)) {
        __builtin_memset(q, 0, (size_t)n_q * sizeof *q);
        return;
    }
    for (i = 0; i + WIDE <= n; i += WIDE) {
        vu y = integers_of(pairs_of(x + i), inverse);
        __builtin_memcpy(q + i, &y, sizeof y);
    }
    for (; i < n_q; i += WIDE) {
        vu y = integers_of(last_pairs_of(x + i, n - i), inverse);
        __builtin_memcpy(q + i, &y, (size_t)(n_q - i < WIDE ? n_q - i : WIDE) * sizeof *q);
    }
}

/* The first `to` of the sixteen weights from `first` on. */
static inline vf weights_at(const float *s, const float *value_scale, int first, int32_t to)
{
    static const int32_t lane[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    vi index;
    __builtin_memcpy(&index, lane, sizeof index);
    return vselect(index < to - first, vload(s + first) * vload(value_scale + first), vset(0));
}

void KL_VARIANT(i16_weights)(int16_t *q, float *scale, const float *s, const float *value_scale, int32_t to)
{
    vf sum[4] = {vset(0), vset(0), vset(0), vset(0)}, w[KL__I16_BLOCK / KL_LANES];
    for (int v = 0; v < KL__I16_BLOCK / KL_LANES; v++) {
        w[v] = weights_at(s, value_scale, v * KL_LANES, to);
        sum[v % VECTORS] += w[v];
    }
    float all = sum_lanes(sum);
    *scale = all < 1e-30f ? 0 : all < INFINITY ? all / KL__I16_NORM : NAN;
    float inverse = *scale > 0 ? KL__I16_NORM / all : 0;
    for (int v = 0; v < KL__I16_BLOCK / KL_LANES; v++)
        put(q + v * KL_LANES, *scale > 0 ? w[v] * inverse : vset(0));
}
