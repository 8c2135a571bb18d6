/* The chunk on slabs with the three products of the state in f16 arithmetic: 32 multiply-adds an instruction, twice the
 * rate of f32.  f16 keeps 11 bits where bf16 keeps 8, so operands lose less than bf16 ones would; what it lacks is
 * range, hence the state and u are scaled by powers of two, and chunks with keys out of range take the f32 kernel.
 * Sums run in f16 for at most 64 terms, then go on in f32.  The triangle and the products with u stay in f32.
 *
 * A 16-bit operand that is broadcast lies twice in a 32-bit word: that broadcast costs a load and nothing else. */
#define KL_ISA avx512fp16
#define KL_LANES 16
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/vec/kda_solve.h"

#include <string.h>

enum {
    COLUMNS = 2 * KL_SLAB, /* value columns of a group: one vector of f16 */
    MAX_K = 256,           /* channels; heads with more take the f32 kernel */
    MAX_TERMS = 64,        /* of a sum in f16 */
    ROWS = 16,             /* tokens, or channels, of a tile: one accumulator each */
};
static const float LARGEST = 256; /* |kd|, |qd|, |ku|: 64 terms of it times a state of size 1 stay below 65504 */

typedef float columns_t[COLUMNS];

/* The operands of a chunk, each number twice in a word; rows past n are zero. */
struct halves {
    uint32_t kd[KL_CHUNK_MAX][MAX_K], qd[KL_CHUNK_MAX][MAX_K], ku[KL_CHUNK_MAX][MAX_K];
};

/* The larger of |x| and so_far, lane by lane, as bit patterns: those of magnitudes are ordered like the magnitudes,
 * with infinity and then NaN on top. */
static __m512i larger(__m512 x, __m512i so_far)
{
    return _mm512_max_epu32(_mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(0x7fffffff)), so_far);
}
static float largest_lane(__m512i magnitudes)
{
    return kl__f32_of_bits((uint32_t)_mm512_reduce_max_epu32(magnitudes));
}

/* Converts n rows, returns whether every number fits. */
static bool halve_rows(uint32_t (*to)[MAX_K], const float *from, ptrdiff_t ld, int n, int K)
{
    __m512i largest = _mm512_setzero_si512();
    int whole = (n + ROWS - 1) / ROWS * ROWS;
    for (int r = 0; r < whole; r++)
        for (int i = 0; i < K; i += 16) { /* reads up to ld, which is padded */
            __m512 x = r < n ? _mm512_loadu_ps(from + r * ld + i) : _mm512_setzero_ps();
            largest = larger(x, largest);
            __m512i h = _mm512_cvtepu16_epi32(_mm256_castph_si256(_mm512_cvtxps_ph(x)));
            _mm512_storeu_si512(to[r] + i, _mm512_or_si512(h, _mm512_slli_epi32(h, 16)));
        }
    return largest_lane(largest) <= LARGEST;
}

static __m512h broadcast(const uint32_t *twice)
{
    return _mm512_castsi512_ph(_mm512_set1_epi32((int)*twice));
}

static __m512h join(__m512 low, __m512 high)
{
    __m512i both = _mm512_castsi256_si512(_mm256_castph_si256(_mm512_cvtxps_ph(low)));
    return _mm512_castsi512_ph(_mm512_inserti64x4(both, _mm256_castph_si256(_mm512_cvtxps_ph(high)), 1));
}
static __m512 low_half(__m512h x)
{
    return _mm512_cvtxph_ps(_mm512_castph512_ph256(x));
}
static __m512 high_half(__m512h x)
{
    return _mm512_cvtxph_ps(_mm256_castsi256_ph(_mm512_extracti64x4_epi64(_mm512_castph_si512(x), 1)));
}

/* The power of two that brings `largest` into [0.5, 1); 1 for zero and for what is not finite. */
static float scale_for(float largest)
{
    int exponent;
    if (!(largest > 0 && largest < INFINITY))
        return 1;
    frexpf(largest, &exponent);
    return ldexpf(1, exponent < -120 ? 120 : -exponent);
}

/* S16[i] <- scale S[i] in f16, both slabs; returns 1 / scale. */
static float pack_state(__m512h S16[MAX_K], const float *S, int K)
{
    const float *S1 = S + (ptrdiff_t)K * KL_SLAB;
    __m512i largest = _mm512_setzero_si512();
    for (int i = 0; i < K; i++)
        largest = larger(_mm512_loadu_ps(S + i * KL_SLAB), larger(_mm512_loadu_ps(S1 + i * KL_SLAB), largest));
    float scale = scale_for(largest_lane(largest));
    __m512 s = _mm512_set1_ps(scale);
    for (int i = 0; i < K; i++)
        S16[i] = join(_mm512_loadu_ps(S + i * KL_SLAB) * s, _mm512_loadu_ps(S1 + i * KL_SLAB) * s);
    return 1 / scale;
}

/* to[r] = unscale sum_i a[r][i] S16[i] for a tile of ROWS tokens. */
static void rows_times_state(columns_t *to, uint32_t (*a)[MAX_K], const __m512h *S16, int K, float unscale)
{
    for (int first = 0; first < K; first += MAX_TERMS) {
        int end = first + MAX_TERMS < K ? first + MAX_TERMS : K;
        __m512h acc[ROWS];
        for (int r = 0; r < ROWS; r++)
            acc[r] = _mm512_setzero_ph();
        for (int i = first; i < end; i++)
            for (int r = 0; r < ROWS; r++)
                acc[r] = _mm512_fmadd_ph(broadcast(&a[r][i]), S16[i], acc[r]);
        for (int r = 0; r < ROWS; r++) {
            __m512 low = low_half(acc[r]) * unscale, high = high_half(acc[r]) * unscale;
            if (first) {
                low += _mm512_loadu_ps(to[r]);
                high += _mm512_loadu_ps(to[r] + 16);
            }
            _mm512_storeu_ps(to[r], low);
            _mm512_storeu_ps(to[r] + 16, high);
        }
    }
}

/* S[i] <- gamma[i] S[i] + unscale sum_r ku[r][i] u16[r]; K is whole tiles but for the last. */
static void update_state(float *S, const float *gamma, uint32_t (*ku)[MAX_K], const __m512h *u16, int n, int K,
                         float unscale)
{
    float *S1 = S + (ptrdiff_t)K * KL_SLAB;
    for (int i = 0; i < K; i += ROWS) {
        __m512h acc[ROWS];
        for (int c = 0; c < ROWS; c++)
            acc[c] = _mm512_setzero_ph();
        for (int r = 0; r < n; r++)
            for (int c = 0; c < ROWS; c++)
                acc[c] = _mm512_fmadd_ph(broadcast(&ku[r][i + c]), u16[r], acc[c]);
        for (int c = 0; c < ROWS && i + c < K; c++) {
            float *s0 = S + (i + c) * KL_SLAB, *s1 = S1 + (i + c) * KL_SLAB;
            __m512 g = _mm512_set1_ps(gamma[i + c]);
            _mm512_storeu_ps(s0, g * _mm512_loadu_ps(s0) + low_half(acc[c]) * unscale);
            _mm512_storeu_ps(s1, g * _mm512_loadu_ps(s1) + high_half(acc[c]) * unscale);
        }
    }
}

/* u16[r] <- scale u[r]; returns 1 / scale. */
static float pack_values(__m512h *u16, const columns_t *u, int n)
{
    __m512i largest = _mm512_setzero_si512();
    for (int r = 0; r < n; r++) {
        largest = larger(_mm512_loadu_ps(u[r]), largest);
        largest = larger(_mm512_loadu_ps(u[r] + 16), largest);
    }
    float scale = scale_for(largest_lane(largest));
    for (int r = 0; r < n; r++)
        u16[r] = join(_mm512_loadu_ps(u[r]) * scale, _mm512_loadu_ps(u[r] + 16) * scale);
    return 1 / scale;
}

static void load_tile(vf acc[KL_TILE][2], const columns_t *from)
{
    for (int r = 0; r < KL_TILE; r++)
        for (int j = 0; j < 2; j++)
            acc[r][j] = vload(from[r] + j * KL_LANES);
}

static void run_group(float *S, float *o, ptrdiff_t ldo, float *u_out, ptrdiff_t ldu, const struct kl__kda_chunk *c,
                      struct halves *h, const float *v, ptrdiff_t ldv, kl_rule rule)
{
    _Alignas(64) columns_t u[KL_CHUNK_MAX], read[KL_CHUNK_MAX];
    __m512h S16[MAX_K], u16[KL_CHUNK_MAX];
    float unscale = pack_state(S16, S, c->K);
    for (int t0 = 0; rule == KL_RULE_DELTA && t0 < c->n; t0 += ROWS)
        rows_times_state(read + t0, h->kd + t0, S16, c->K, unscale);
    for (int t0 = 0; t0 < c->n; t0 += KL_TILE) {
        vf acc[KL_TILE][2] = {0};
        if (rule == KL_RULE_DELTA) {
            load_tile(acc, (const columns_t *)read + t0);
            add_pairs(acc, c->A + t0 * KL_CHUNK_MAX, (const columns_t *)u, t0, 2);
        }
        solve_tile(acc, c, v, ldv, t0, rule, 2);
        for (int r = 0; r < KL_TILE; r++)
            for (int j = 0; j < 2; j++)
                vstore(u[t0 + r] + j * KL_LANES, acc[r][j]);
    }
    for (int t0 = 0; o && t0 < c->n; t0 += ROWS)
        rows_times_state(read + t0, h->qd + t0, S16, c->K, unscale);
    for (int t0 = 0; o && t0 < c->n; t0 += KL_TILE) {
        vf acc[KL_TILE][2];
        load_tile(acc, (const columns_t *)read + t0);
        add_pairs(acc, c->P + t0 * KL_CHUNK_MAX, (const columns_t *)u, t0, 2);
        add_triangle(acc, c->P + t0 * KL_CHUNK_MAX + t0, (const columns_t *)u + t0, 2);
        store_rows(o + t0 * ldo, ldo, acc, c->n - t0, 2);
    }
    for (int r = 0; u_out && r < c->n; r++)
        memcpy(u_out + r * ldu, u[r], sizeof u[r]);
    unscale = pack_values(u16, (const columns_t *)u, c->n);
    update_state(S, c->gamma, h->ku, u16, c->n, c->K, unscale);
}

void kl__kda_slabs_half_avx512fp16(float *S, float *o, ptrdiff_t ldo, float *u, ptrdiff_t ldu,
                                   const struct kl__kda_chunk *c, const float *v, ptrdiff_t ldv, int n_slab,
                                   kl_rule rule)
{
    struct halves h;
    int at = 0; /* slabs done */
    bool fits = c->K <= MAX_K && halve_rows(h.kd, c->kd, c->ld, c->n, c->K) &&
                halve_rows(h.qd, c->qd, c->ld, c->n, c->K) && halve_rows(h.ku, c->ku, c->ld, c->n, c->K);
    for (; fits && at + 2 <= n_slab; at += 2)
        run_group(S + (ptrdiff_t)at * c->K * KL_SLAB, o ? o + at * KL_SLAB : NULL, ldo, u ? u + at * KL_SLAB : NULL,
                  ldu, c, &h, v + at * KL_SLAB, ldv, rule);
    if (at < n_slab)
        kl__kda_slabs_avx512(S + (ptrdiff_t)at * c->K * KL_SLAB, o ? o + at * KL_SLAB : NULL, ldo,
                             u ? u + at * KL_SLAB : NULL, ldu, c, v + at * KL_SLAB, ldv, n_slab - at, rule);
}
