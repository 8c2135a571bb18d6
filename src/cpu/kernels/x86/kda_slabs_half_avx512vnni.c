/* The chunk on slabs with the three products of the state on 16-bit integers: VPDPWSSD multiplies and adds 32 pairs of
 * them an instruction, twice as many as f32, and adds in 32 bits without error.
 *
 * What is multiplied is scaled to Euclidean norm LIMIT, so that no sum overflows (Cauchy and Schwarz), and rounded:
 * rows of kd and qd each by itself, columns of S and of u each by itself, columns of ku in tiles of channels.  Numbers
 * of a vector of 128 so keep 12 bits on average where bf16 keeps 8.  The triangle and the products with u stay in f32.
 *
 * Norms are kept as squares; where a square is out of range, or NaN, the row or the group of columns is multiplied in
 * f32.  A scale depends on nothing but the state and the inputs of the chunk: sequences may be cut between chunks. */
#define KL_ISA avx512vnni
#define KL_LANES 16
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/vec/kda_solve.h"
#include "cpu/kernels/vec/pairs.h"

#include <string.h>

enum {
    COLUMNS = 2 * KL_SLAB, /* value columns of a group */
    MAX_K = 256,           /* channels; heads with more take the f32 kernel */
    PAIRS = MAX_K / 2,     /* of neighbouring channels */
    CHANNELS = 16,         /* of a tile of the update */
};
static const float LIMIT = 32000, TINY = 1e-36f, HUGE_SQUARE = 1e36f;

typedef float columns_t[COLUMNS];

/* The operands of a chunk: pairs of channels of kd and qd, pairs of tokens of ku. */
struct operands {
    uint32_t kd[KL_CHUNK_MAX][PAIRS], qd[KL_CHUNK_MAX][PAIRS], ku[KL_CHUNK_MAX / 2][MAX_K];
    float kd_unit[KL_CHUNK_MAX], qd_unit[KL_CHUNK_MAX]; /* what 1 stands for in a row; NaN: the row is not there */
    float ku_unit[MAX_K / CHANNELS];
    bool ku_fits;
};

/* ------------------------------------------------------------------------------------------------- rounding -- */

/* Factors that bring vectors with these squares of norms to norm LIMIT, and *unit, what 1 then stands for; what is too
 * small counts as 0. */
static __m512 scale_for(__m512 squares, __m512 *unit)
{
    __mmask16 some = _mm512_cmp_ps_mask(squares, _mm512_set1_ps(TINY), _CMP_GT_OQ);
    __m512 norm = _mm512_sqrt_ps(squares);
    *unit = _mm512_maskz_mul_ps(some, norm, _mm512_set1_ps(1 / LIMIT));
    return _mm512_maskz_div_ps(some, _mm512_set1_ps(LIMIT), norm);
}

static bool in_range(__m512 squares)
{
    return _mm512_cmp_ps_mask(squares, _mm512_set1_ps(HUGE_SQUARE), _CMP_NLE_UQ) == 0;
}

/* Integers in the low 16 bits of the lanes: this number is added so that they land there. */
static __m512 round16(__m512 x, __m512 scale)
{
    return _mm512_fmadd_ps(x, scale, _mm512_set1_ps(12582912)); /* 1.5 * 2^23 */
}

/* low of a, and low of b above it. */
static __m512i join16(__m512 a, __m512 b)
{
    const __m512i up = _mm512_set4_epi32(0x0d0cffff, 0x0908ffff, 0x0504ffff, 0x0100ffff);
    return _mm512_mask_shuffle_epi8(_mm512_castps_si512(a), 0xccccccccccccccccu, _mm512_castps_si512(b), up);
}

/* Integers of 16 bits out of two vectors, in their order. */
static __m512i pack16(__m512 a, __m512 b, __m512 scale)
{
    __m512i quads = _mm512_packs_epi32(_mm512_cvtps_epi32(a * scale), _mm512_cvtps_epi32(b * scale));
    return _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7), quads);
}

static void round_row(uint32_t *to, const float *from, float scale, int K)
{
    __m512 s = _mm512_set1_ps(scale);
    int i = 0;
    for (; i + 32 <= K; i += 32)
        _mm512_storeu_si512(to + i / 2, pack16(_mm512_loadu_ps(from + i), _mm512_loadu_ps(from + i + 16), s));
    if (i < K)
        _mm256_storeu_si256((__m256i *)(to + i / 2),
                            _mm512_castsi512_si256(pack16(_mm512_loadu_ps(from + i), _mm512_setzero_ps(), s)));
}

static vf squares_of_row(const float *x, int K)
{
    vf even = vset(0), odd = vset(0);
    int i = 0;
    for (; i + 32 <= K; i += 32) {
        even += vload(x + i) * vload(x + i);
        odd += vload(x + i + 16) * vload(x + i + 16);
    }
    if (i < K)
        even += vload(x + i) * vload(x + i);
    return even + odd;
}

/* n rows of K channels; rows up to a whole tile become 0. */
static void round_rows(uint32_t (*to)[PAIRS], float *unit, const float *from, ptrdiff_t ld, int n, int K)
{
    for (int r0 = 0; r0 < n; r0 += 16) {
        int end = n - r0 < 16 ? n : r0 + 16;
        vf squares[16];
        for (int r = 0; r < 16; r++)
            squares[r] = r0 + r < end ? squares_of_row(from + (r0 + r) * ld, K) : vset(0);
        __m512 square = sum_each(squares), units, scales = scale_for(square, &units);
        __mmask16 out = _mm512_cmp_ps_mask(square, _mm512_set1_ps(HUGE_SQUARE), _CMP_NLE_UQ);
        float scale[16];
        _mm512_storeu_ps(unit + r0, _mm512_mask_blend_ps(out, units, _mm512_set1_ps(NAN)));
        _mm512_storeu_ps(scale, _mm512_maskz_mov_ps((__mmask16)~out, scales));
        for (int r = r0; r < end; r++)
            if (out >> (r - r0) & 1)
                memset(to[r], 0, sizeof *to);
            else
                round_row(to[r], from + r * ld, scale[r - r0], K);
    }
    for (int r = n; r % KL_TILE; r++)
        memset(to[r], 0, sizeof *to);
}

/* ku, pairs of tokens. */
static void round_columns(struct operands *x, const struct kl__kda_chunk *c)
{
    x->ku_fits = true;
    for (int i = 0; i < c->K; i += CHANNELS) {
        __m512 squares = _mm512_setzero_ps(), units;
        for (int r = 0; r < c->n; r++) {
            __m512 ku = _mm512_loadu_ps(c->ku + r * c->ld + i);
            squares = _mm512_fmadd_ps(ku, ku, squares);
        }
        x->ku_fits = x->ku_fits && in_range(squares);
        __m512 scale = scale_for(_mm512_set1_ps(_mm512_reduce_max_ps(squares)), &units);
        x->ku_unit[i / CHANNELS] = _mm512_cvtss_f32(units);
        for (int r = 0; r < c->n; r += 2) {
            __m512 first = _mm512_loadu_ps(c->ku + r * c->ld + i);
            __m512 second = r + 1 < c->n ? _mm512_loadu_ps(c->ku + (r + 1) * c->ld + i) : _mm512_setzero_ps();
            _mm512_storeu_si512(x->ku[r / 2] + i, join16(round16(first, scale), round16(second, scale)));
        }
    }
}

/* ------------------------------------------------------------------------------------------------- products -- */

/* A group of columns: both of its slabs, and the pairs of channels that they become. */
struct group {
    float *S, *S1;
    __m512 scale[2], unit[2];
    __m512i pairs[PAIRS][2];
};

/* sum + a . x, pair by pair.  Not the intrinsic: gcc 12 copies its sums to and fro, and broadcasts apart. */
INLINE __m512i dot2(__m512i sum, __m512i a, __m512i x)
{
    __asm__("vpdpwssd %2, %1, %0" : "+v"(sum) : "v"(x), "v"(a));
    return sum;
}
INLINE __m512i dot2_broadcast(__m512i sum, const uint32_t *a, __m512i x)
{
    __asm__("vpdpwssd %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(x), "m"(*a));
    return sum;
}

/* acc[r] += a[r] . x for one pair of channels; which broadcasts are shared: vec/tile.h. */
INLINE void add_pair(__m512i acc[KL_TILE][2], const uint32_t *a, __m512i x0, __m512i x1)
{
#pragma GCC unroll 8
    for (int r = 0; r < KL_TILE; r++)
        if (r < SHARED) {
            __m512i both = _mm512_set1_epi32((int)a[r * PAIRS]);
            acc[r][0] = dot2(acc[r][0], both, x0);
            acc[r][1] = dot2(acc[r][1], both, x1);
        } else {
            acc[r][0] = dot2_broadcast(acc[r][0], a + r * PAIRS, x0);
            acc[r][1] = dot2_broadcast(acc[r][1], a + r * PAIRS, x1);
        }
}

/* to <- unit[r] a[r] S for a tile of rows.  With `fresh`, the pairs of S are made on the way. */
INLINE void multiply(vf to[KL_TILE][2], const uint32_t *a, const float *unit, struct group *g, int K, bool fresh,
                     struct kl__ahead *ahead)
{
    __m512i acc[KL_TILE][2];
#pragma GCC unroll 8
    for (int r = 0; r < KL_TILE; r++)
        acc[r][0] = acc[r][1] = _mm512_setzero_si512();
    for (int i = 0; i < K; i += CHANNELS) {
        const uint32_t *at = a + i / 2;
        __asm__("" : "+r"(at)); /* an address without an index: vec/tile.h */
        kl__fetch_some(ahead);
#pragma GCC unroll 8
        for (int p = 0; p < CHANNELS / 2; p++) {
            __m512i *x = g->pairs[i / 2 + p];
            if (fresh) {
                const float *s0 = g->S + (i + 2 * p) * KL_SLAB, *s1 = g->S1 + (i + 2 * p) * KL_SLAB;
                x[0] = join16(round16(_mm512_loadu_ps(s0), g->scale[0]),
                              round16(_mm512_loadu_ps(s0 + KL_SLAB), g->scale[0]));
                x[1] = join16(round16(_mm512_loadu_ps(s1), g->scale[1]),
                              round16(_mm512_loadu_ps(s1 + KL_SLAB), g->scale[1]));
            }
            add_pair(acc, at + p, x[0], x[1]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < KL_TILE; r++)
#pragma GCC unroll 2
        for (int j = 0; j < 2; j++)
            to[r][j] = _mm512_cvtepi32_ps(acc[r][j]) * g->unit[j] * unit[r];
}

/* Rows that have no unit: in f32. */
static void multiply_exactly(vf acc[KL_TILE][2], const float *a, ptrdiff_t lda, const float *unit,
                             const struct group *g, int n, int K)
{
    for (int r = 0; r < n; r++)
        if (unit[r] != unit[r]) {
            acc[r][0] = acc[r][1] = vset(0);
            for (int i = 0; i < K; i++) {
                acc[r][0] += a[r * lda + i] * _mm512_loadu_ps(g->S + i * KL_SLAB);
                acc[r][1] += a[r * lda + i] * _mm512_loadu_ps(g->S1 + i * KL_SLAB);
            }
        }
}

INLINE void read_state(vf acc[KL_TILE][2], uint32_t (*a)[PAIRS], const float *unit, const float *exact,
                       struct group *g, const struct kl__kda_chunk *c, int t0, bool fresh)
{
    multiply(acc, a[t0], unit + t0, g, c->K, fresh, c->ahead);
    int n = c->n - t0 < KL_TILE ? c->n - t0 : KL_TILE;
    bool there = true;
    for (int r = 0; r < n; r++)
        there = there && unit[t0 + r] == unit[t0 + r];
    if (!there)
        multiply_exactly(acc, exact + t0 * c->ld, c->ld, unit + t0, g, n, c->K);
}

/* The squares of the columns' norms of a slab; even and odd channels are summed apart, each in their order. */
static __m512 squares_of_slab(const float *S, int K)
{
    __m512 squares[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    for (int i = 0; i < K; i++) {
        __m512 s = _mm512_loadu_ps(S + i * KL_SLAB);
        squares[i % 2] = _mm512_fmadd_ps(s, s, squares[i % 2]);
    }
    return squares[0] + squares[1];
}

/* One slab: S <- gamma S + ku^T u, and the squares of its columns, as above. */
INLINE __m512 update_slab(float *S, const struct kl__kda_chunk *c, const struct operands *x, const __m512i (*u)[2],
                          int j, __m512 unit)
{
    __m512 squares[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    const float *gamma = c->gamma;
    int n_pair = (c->n + 1) / 2, K = c->K;
    for (int i = 0; i < K; i += CHANNELS) {
        __m512i acc[CHANNELS];
        __m512 units = unit * x->ku_unit[i / CHANNELS];
#pragma GCC unroll 16
        for (int r = 0; r < CHANNELS; r++)
            acc[r] = _mm512_setzero_si512();
        for (int p = 0; p < n_pair; p++) {
            const uint32_t *ku = x->ku[p] + i;
            __asm__("" : "+r"(ku));
#pragma GCC unroll 16
            for (int r = 0; r < CHANNELS; r++)
                acc[r] = dot2_broadcast(acc[r], ku + r, u[p][j]);
        }
#pragma GCC unroll 16
        for (int r = 0; r < CHANNELS; r++) {
            float *at = S + (i + r) * KL_SLAB;
            __m512 s = _mm512_cvtepi32_ps(acc[r]) * units + gamma[i + r] * _mm512_loadu_ps(at);
            _mm512_storeu_ps(at, s);
            squares[r % 2] = _mm512_fmadd_ps(s, s, squares[r % 2]);
        }
    }
    return squares[0] + squares[1];
}

static void update_exactly(float *S, const struct kl__kda_chunk *c, const columns_t *u)
{
    for (int i = 0; i < c->K; i += KL_TILE) {
        vf acc[KL_TILE][2];
        load_channels(acc, S, c->K, i, c->gamma, KL_TILE, 2);
        add_outer(acc, c->ku + i, c->ld, u, c->n, KL_TILE, 2);
        store_channels(S, acc, c->K, i, KL_TILE, 2);
    }
}

/* What the tokens write, as pairs of tokens. */
struct written {
    __m512i pairs[KL_CHUNK_MAX / 2][2];
    __m512 unit[2];
    bool fits;
};

INLINE void round_written(struct written *w, const columns_t *u, int n)
{
    __m512 sum[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()}, scale[2];
    for (int r = 0; r < n; r++)
        for (int j = 0; j < 2; j++) {
            __m512 x = _mm512_loadu_ps(u[r] + j * 16);
            sum[j] = _mm512_fmadd_ps(x, x, sum[j]);
        }
    w->fits = in_range(sum[0]) && in_range(sum[1]);
    for (int j = 0; j < 2; j++)
        scale[j] = scale_for(sum[j], &w->unit[j]);
    for (int r = 0; r < n; r += 2)
        for (int j = 0; j < 2; j++) {
            __m512 second = r + 1 < n ? _mm512_loadu_ps(u[r + 1] + j * 16) : _mm512_setzero_ps();
            w->pairs[r / 2][j] = join16(round16(_mm512_loadu_ps(u[r] + j * 16), scale[j]), round16(second, scale[j]));
        }
}

/* Leaves the squares of the columns' norms. */
INLINE void update_state(__m512 squares[2], struct group *g, const struct kl__kda_chunk *c, const struct operands *x,
                         const struct written *w, const columns_t *u)
{
    if (w->fits && x->ku_fits) {
        squares[0] = update_slab(g->S, c, x, w->pairs, 0, w->unit[0]);
        squares[1] = update_slab(g->S1, c, x, w->pairs, 1, w->unit[1]);
    } else {
        update_exactly(g->S, c, u);
        squares[0] = squares_of_slab(g->S, c->K);
        squares[1] = squares_of_slab(g->S1, c->K);
    }
}

/* ---------------------------------------------------------------------------------------------------- chunk -- */

INLINE void run_group(struct group *g, __m512 squares[2], float *o, ptrdiff_t ldo, float *e, ptrdiff_t lde,
                      const struct kl__kda_chunk *c, struct operands *x, const float *v, ptrdiff_t ldv, kl_rule rule)
{
    _Alignas(64) columns_t u[KL_CHUNK_MAX];
    bool fresh = true;
    for (int t0 = 0; t0 < c->n; t0 += KL_TILE, fresh = false) {
        vf acc[KL_TILE][2];
        clear_tile(acc, 2);
        if (rule == KL_RULE_DELTA) {
            if (fresh)
                read_state(acc, x->kd, x->kd_unit, c->kd, g, c, t0, true);
            else
                read_state(acc, x->kd, x->kd_unit, c->kd, g, c, t0, false);
            add_pairs(acc, c->A + t0 * KL_CHUNK_MAX, (const columns_t *)u, t0, 2);
        }
        solve_tile(acc, e, lde, c, v, ldv, t0, rule, 2);
        store_rows(u[t0], COLUMNS, acc, KL_TILE, 2);
    }
    struct written w;
    round_written(&w, (const columns_t *)u, c->n); /* its divisions take long: before the products, not behind them */
    fresh = rule != KL_RULE_DELTA;
    for (int t0 = 0; o && t0 < c->n; t0 += KL_TILE, fresh = false) {
        vf acc[KL_TILE][2];
        if (fresh)
            read_state(acc, x->qd, x->qd_unit, c->qd, g, c, t0, true);
        else
            read_state(acc, x->qd, x->qd_unit, c->qd, g, c, t0, false);
        add_pairs(acc, c->P + t0 * KL_CHUNK_MAX, (const columns_t *)u, t0, 2);
        add_triangle(acc, c->P + t0 * KL_CHUNK_MAX + t0, (const columns_t *)u + t0, 2);
        store_rows(o + t0 * ldo, ldo, acc, c->n - t0, 2);
    }
    update_state(squares, g, c, x, &w, (const columns_t *)u);
}

/* n slabs in f32. */
static void run_exactly(float *S, float *squares, float *o, ptrdiff_t ldo, float *e, ptrdiff_t lde,
                        const struct kl__kda_chunk *c, const float *v, ptrdiff_t ldv, int n_slab, kl_rule rule)
{
    kl__kda_slabs_avx512(S, o, ldo, e, lde, c, v, ldv, n_slab, rule);
    for (int i = 0; i < n_slab; i++)
        _mm512_storeu_ps(squares + i * KL_SLAB, squares_of_slab(S + (ptrdiff_t)i * c->K * KL_SLAB, c->K));
}

/* Two slabs; false: their columns are out of range, and nothing has been done. */
static bool run_pair(float *S, float *squares, float *o, ptrdiff_t ldo, float *e, ptrdiff_t lde,
                     const struct kl__kda_chunk *c, struct operands *x, const float *v, ptrdiff_t ldv, kl_rule rule)
{
    struct group g; /* 16 KiB: no initialiser */
    g.S = S;
    g.S1 = S + (ptrdiff_t)c->K * KL_SLAB;
    __m512 sum[2] = {_mm512_loadu_ps(squares), _mm512_loadu_ps(squares + KL_SLAB)};
    if (squares[0] < 0) {
        sum[0] = squares_of_slab(g.S, c->K);
        sum[1] = squares_of_slab(g.S1, c->K);
    }
    if (!in_range(sum[0]) || !in_range(sum[1]))
        return false;
    for (int j = 0; j < 2; j++)
        g.scale[j] = scale_for(sum[j], &g.unit[j]);
    if (rule == KL_RULE_DELTA)
        run_group(&g, sum, o, ldo, e, lde, c, x, v, ldv, KL_RULE_DELTA);
    else
        run_group(&g, sum, o, ldo, e, lde, c, x, v, ldv, KL_RULE_ADD);
    _mm512_storeu_ps(squares, sum[0]);
    _mm512_storeu_ps(squares + KL_SLAB, sum[1]);
    return true;
}

void kl__kda_slabs_half_avx512vnni(float *S, float *squares, float *o, ptrdiff_t ldo, float *e, ptrdiff_t lde,
                                   const struct kl__kda_chunk *c, const float *v, ptrdiff_t ldv, int n_slab,
                                   kl_rule rule)
{
    struct operands x;
    bool fits = c->K <= MAX_K && c->K % CHANNELS == 0;
    if (fits) {
        round_rows(x.kd, x.kd_unit, c->kd, c->ld, c->n, c->K);
        round_rows(x.qd, x.qd_unit, c->qd, c->ld, c->n, c->K);
        round_columns(&x, c);
    }
    for (int at = 0; at < n_slab; at += 2) {
        int n = n_slab - at < 2 ? 1 : 2;
        float *s = S + (ptrdiff_t)at * c->K * KL_SLAB, *square = squares + at * KL_SLAB;
        float *o_at = o ? o + at * KL_SLAB : NULL, *e_at = e ? e + at * KL_SLAB : NULL;
        const float *v_at = v + at * KL_SLAB;
        if (!fits || n < 2 || !run_pair(s, square, o_at, ldo, e_at, lde, c, &x, v_at, ldv, rule))
            run_exactly(s, square, o_at, ldo, e_at, lde, c, v_at, ldv, n, rule);
    }
}
