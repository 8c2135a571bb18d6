/* Panels of quantised weights.  Sixteen bytes of KL_LANES rows are gathered by 128-bit loads and transposed in place,
 * so that a vector holds four bytes of every row; nibbles and bits are taken apart after that, and so are the packed
 * scales of the k-formats, whose bytes then lie in lanes of their row. */
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/vec/panel_rows.h"
#include "tensor/quant/block.h"
#include "tensor/quant/levels.h"

/* Out of line, vectors would go through memory. */
#define INLINE static inline __attribute__((always_inline))

enum {
    ROWS = KL__PANEL,
    LINE = 4 * KL__PANEL, /* bytes of q for four numbers of all rows */
    AHEAD = 2,            /* blocks between putting aside the head of a small block and using it */
    RING = 4,             /* heads that are kept: a power of two above AHEAD */
};

/* Where KL_LANES rows of one block come from and go to.  By value, so that all of it stays in registers. */
struct part {
    const uint8_t *from; /* the first of them */
    int64_t row_bytes;
    uint8_t *q;              /* their lane of the block's first line */
    float *scale, *low;      /* of the block's first group */
    const uint8_t *ahead;    /* memory that is fetched while the block is taken apart */
    const struct head *head; /* of small blocks: see put_aside */
};

/* What small blocks have apart from nibbles or bytes: f16 at their start, or words, of KL_LANES rows. */
struct head {
    uint16_t half[KL_LANES];
    uint32_t word[2][KL_LANES];
};

/* ------------------------------------------------------------------------------------------------------- loading -- */

/* Bytes at .. at + 15 of all rows of the part: x[j] holds bytes 4j .. 4j + 3, a row in each lane. */
INLINE void load16(vu x[4], struct part p, int64_t at)
{
    load_rows16(x, p.from + at, p.row_bytes);
}

/* Four bytes, or two, of all rows: little-endian, a row in each lane. */
INLINE vu load4(struct part p, int64_t at)
{
    uint32_t lane[KL_LANES];
    for (int i = 0; i < KL_LANES; i++)
        __builtin_memcpy(&lane[i], p.from + at + i * p.row_bytes, 4);
    vu x;
    __builtin_memcpy(&x, lane, sizeof x);
    return x;
}

INLINE vu load2(struct part p, int64_t at)
{
    uint16_t lane[KL_LANES];
    for (int i = 0; i < KL_LANES; i++)
        __builtin_memcpy(&lane[i], p.from + at + i * p.row_bytes, 2);
    vh x;
    __builtin_memcpy(&x, lane, sizeof x);
    return __builtin_convertvector(x, vu);
}

/* Two or four bytes at p of each row, by small moves: those pass on other ports than the vectors' work, which is why
 * compilers must not make vectors of them.  A vector loaded right after would have to wait until all stores have left
 * for the cache; so this is done AHEAD of use. */
INLINE void put_halves_aside(volatile uint16_t *to, const uint8_t *p, int64_t step)
{
#pragma GCC unroll 4
    for (int i = 0; i < KL_LANES; i += 4, p += 4 * step) {
        to[i] = kl__get_u16(p);
        to[i + 1] = kl__get_u16(p + step);
        to[i + 2] = kl__get_u16(p + 2 * step);
        to[i + 3] = kl__get_u16(p + 3 * step);
    }
}

INLINE void put_words_aside(volatile uint32_t *to, const uint8_t *p, int64_t step)
{
#pragma GCC unroll 4
    for (int i = 0; i < KL_LANES; i += 4, p += 4 * step) {
        to[i] = kl__get_u32(p);
        to[i + 1] = kl__get_u32(p + step);
        to[i + 2] = kl__get_u32(p + 2 * step);
        to[i + 3] = kl__get_u32(p + 3 * step);
    }
}

/* What has been put aside of this block. */
INLINE vh halves(struct part p)
{
    return *(const vh_at *)p.head->half;
}

INLINE vu words(struct part p, int which)
{
    vu x;
    __builtin_memcpy(&x, p.head->word[which], sizeof x);
    return x;
}

/* --------------------------------------------------------------------------------------------------- small parts -- */

INLINE void put(struct part p, int line, vu x)
{
    __builtin_memcpy(p.q + line * LINE, &x, sizeof x);
}

INLINE void put_scale(struct part p, int group, vf scale)
{
    __builtin_memcpy(p.scale + group * ROWS, &scale, sizeof scale);
}

INLINE void put_low(struct part p, int group, vf low)
{
    __builtin_memcpy(p.low + group * ROWS, &low, sizeof low);
}

INLINE vu low_nibbles(vu x)
{
    return x & 0x0f0f0f0f;
}

INLINE vu high_nibbles(vu x)
{
    return x >> 4 & 0x0f0f0f0f;
}

/* Byte i of each lane as a number. */
INLINE vf byte_of(vu x, int i)
{
    return __builtin_convertvector((vi)(x >> 8 * i & 0xff), vf);
}

/* x, up by n bits or, where n is negative, down. */
INLINE vu moved(vu x, const int n)
{
    return n >= 0 ? x << n : x >> -n;
}

/* Bits 4j .. 4j + 3 of each lane become bit 4 of its four bytes. */
INLINE vu fifth_bits(vu h, const int j)
{
    typedef uint8_t vb __attribute__((vector_size(4 * KL_LANES)));
    const uint8_t at = (uint8_t)(j / 2); /* the byte they are in goes to all four */
    __m128i where = _mm_add_epi8(_mm_setr_epi8(0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12), _mm_set1_epi8(at));
#if KL_LANES == 16
    vu same = (vu)_mm512_shuffle_epi8((__m512i)h, _mm512_broadcast_i32x4(where));
#else
    vu same = (vu)_mm256_shuffle_epi8((__m256i)h, _mm256_broadcastsi128_si256(where));
#endif
    vu one = (vu){0} + (j % 2 ? 0x80402010 : 0x08040201);
    return (vu)((vb)(same & one) == (vb)one) & 0x10101010;
}

/* One of 16 bytes for each byte, which is below 16. */
INLINE vu look_up(const int8_t *table, int offset, vu x)
{
    int8_t byte[16];
    for (int i = 0; i < 16; i++)
        byte[i] = (int8_t)(table[i] + offset);
    __m128i t = _mm_loadu_si128((const __m128i *)byte);
#if KL_LANES == 16
    return (vu)_mm512_shuffle_epi8(_mm512_broadcast_i32x4(t), (__m512i)x);
#else
    return (vu)_mm256_shuffle_epi8(_mm256_broadcastsi128_si256(t), (__m256i)x);
#endif
}

/* -------------------------------------------------------------------------------------------------- blocks of 32 -- */

INLINE void q8_0(struct part p)
{
    put_scale(p, 0, f32_of_half(halves(p)));
    for (int i = 0; i < 2; i++) {
        vu x[4];
        load16(x, p, 2 + 16 * i);
        for (int j = 0; j < 4; j++)
            put(p, 4 * i + j, x[j] ^ 0x80808080);
    }
}

INLINE void q4_0(struct part p)
{
    vu x[4];
    put_scale(p, 0, f32_of_half(halves(p)));
    load16(x, p, 2);
    for (int j = 0; j < 4; j++) {
        put(p, j, low_nibbles(x[j]));
        put(p, 4 + j, high_nibbles(x[j]));
    }
}

INLINE void scale_and_low(struct part p)
{
    put_scale(p, 0, half(words(p, 0)));
    put_low(p, 0, -half(words(p, 0) >> 16));
}

INLINE void q4_1(struct part p)
{
    vu x[4];
    scale_and_low(p);
    load16(x, p, 4);
    for (int j = 0; j < 4; j++) {
        put(p, j, low_nibbles(x[j]));
        put(p, 4 + j, high_nibbles(x[j]));
    }
}

/* Nibbles at `at`; their fifth bits are word number 1. */
INLINE void five_bits(struct part p, int64_t at)
{
    vu x[4], h = words(p, 1);
    load16(x, p, at);
    for (int j = 0; j < 4; j++) {
        put(p, j, low_nibbles(x[j]) | fifth_bits(h, j));
        put(p, 4 + j, high_nibbles(x[j]) | fifth_bits(h, 4 + j));
    }
}

INLINE void q5_0(struct part p)
{
    put_scale(p, 0, f32_of_half(halves(p)));
    five_bits(p, 6);
}

INLINE void q5_1(struct part p)
{
    scale_and_low(p);
    five_bits(p, 8);
}

INLINE void nibble_levels(struct part p, int line, int64_t at, const int8_t *level, int offset)
{
    vu x[4];
    load16(x, p, at);
    for (int j = 0; j < 4; j++) {
        put(p, line + j, look_up(level, offset, low_nibbles(x[j])));
        put(p, line + 4 + j, look_up(level, offset, high_nibbles(x[j])));
    }
}

INLINE void iq4_nl(struct part p)
{
    put_scale(p, 0, f32_of_half(halves(p)));
    nibble_levels(p, 0, 2, kl__iq4_level, 128);
}

INLINE void mxfp4(struct part p)
{
    /* kl__mxfp4_half_scale */
    vu e = __builtin_convertvector(halves(p), vu) & 0xff;
    vf normal = (vf)((e - 1) << 23), subnormal = (vf)((e + 1) * 0x00200000), nan = (vf)((vu){0} + 0x7fc00000);
    put_scale(p, 0, vselect((vi)(e == 255), nan, vselect((vi)(e < 2), subnormal, normal)));
    nibble_levels(p, 0, 1, kl__mxfp4_doubled, 16);
}

/* ------------------------------------------------------------------------------------------------- blocks of 256 -- */

/* Scales and minima of the 16 bytes in front of Q4_K and Q5_K (tensor/quant/k_scales.h). */
INLINE void k_scales(struct part p)
{
    vu x[4];
    load16(x, p, 0);
    vf d = half(x[0]), dmin = half(x[0] >> 16);
    vu scale[2] = {x[1] & 0x3f3f3f3f, low_nibbles(x[3]) | (x[1] >> 2 & 0x30303030)};
    vu low[2] = {x[2] & 0x3f3f3f3f, high_nibbles(x[3]) | (x[2] >> 2 & 0x30303030)};
    for (int i = 0; i < 8; i++) {
        put_scale(p, i, d * byte_of(scale[i / 4], i % 4));
        put_low(p, i, dmin * byte_of(low[i / 4], i % 4));
    }
}

INLINE void q4_k(struct part p)
{
    k_scales(p);
    for (int i = 0; i < 8; i++) {
        vu x[4];
        load16(x, p, 16 + 16 * i);
        int line = 16 * (i / 2) + 4 * (i % 2);
        for (int j = 0; j < 4; j++) {
            put(p, line + j, low_nibbles(x[j]));
            put(p, line + 8 + j, high_nibbles(x[j]));
        }
    }
}

INLINE void q5_k(struct part p)
{
    k_scales(p);
    vu h[8];
    load16(h, p, 16);
    load16(h + 4, p, 32);
    for (int i = 0; i < 8; i++) {
        vu x[4];
        load16(x, p, 48 + 16 * i);
        int line = 16 * (i / 2) + 4 * (i % 2), up = 4 - 2 * (i / 2);
        for (int j = 0; j < 4; j++) {
            vu bits = h[4 * (i % 2) + j];
            put(p, line + j, low_nibbles(x[j]) | (moved(bits, up) & 0x10101010));
            put(p, line + 8 + j, high_nibbles(x[j]) | (moved(bits, up - 1) & 0x10101010));
        }
    }
}

/* 128 numbers: 64 bytes of nibbles at `ql`, 32 bytes of pairs of bits at `qh`. */
INLINE void q6_k_half(struct part p, int line, int64_t ql, int64_t qh)
{
    for (int i = 0; i < 2; i++) {
        vu h[4], x[4], y[4];
        load16(h, p, qh + 16 * i);
        load16(x, p, ql + 16 * i);
        load16(y, p, ql + 32 + 16 * i);
        for (int j = 0; j < 4; j++) {
            int to = line + 4 * i + j;
            put(p, to, low_nibbles(x[j]) | (h[j] << 4 & 0x30303030));
            put(p, to + 8, low_nibbles(y[j]) | (h[j] << 2 & 0x30303030));
            put(p, to + 16, high_nibbles(x[j]) | (h[j] & 0x30303030));
            put(p, to + 24, high_nibbles(y[j]) | (h[j] >> 2 & 0x30303030));
        }
    }
}

INLINE void q6_k(struct part p)
{
    vu x[4];
    vf d = half(load2(p, 208));
    load16(x, p, 192);
    for (int i = 0; i < 16; i++)
        put_scale(p, i, d * __builtin_convertvector((vi)(x[i / 4] << (24 - 8 * (i % 4))) >> 24, vf));
    q6_k_half(p, 0, 0, 128);
    q6_k_half(p, 32, 64, 160);
}

/* 128 numbers of two bits from 32 bytes; with `high`, bit `bit` of 32 bytes h is the third. */
INLINE void pairs(struct part p, int line, int64_t at, const vu *h, int bit)
{
    for (int i = 0; i < 2; i++) {
        vu x[4];
        load16(x, p, at + 16 * i);
        for (int g = 0; g < 4; g++)
            for (int j = 0; j < 4; j++) {
                vu v = x[j] >> 2 * g & 0x03030303;
                put(p, line + 8 * g + 4 * i + j, h ? v | (moved(h[4 * i + j], 2 - bit - g) & 0x04040404) : v);
            }
    }
}

INLINE void q2_k(struct part p)
{
    vu x[4], both = load4(p, 80);
    vf d = half(both), dmin = half(both >> 16);
    load16(x, p, 0);
    for (int i = 0; i < 16; i++) {
        put_scale(p, i, d * byte_of(low_nibbles(x[i / 4]), i % 4));
        put_low(p, i, dmin * byte_of(high_nibbles(x[i / 4]), i % 4));
    }
    pairs(p, 0, 16, NULL, 0);
    pairs(p, 32, 48, NULL, 0);
}

INLINE void q3_k(struct part p)
{
    vu h[8], a = load4(p, 96), b = load4(p, 100), c = load4(p, 104);
    vu scale[4] = {low_nibbles(a) | (c & 0x03030303) << 4, low_nibbles(b) | (c >> 2 & 0x03030303) << 4,
                   high_nibbles(a) | (c >> 4 & 0x03030303) << 4, high_nibbles(b) | (c >> 6 & 0x03030303) << 4};
    vf d = half(load2(p, 108));
    for (int i = 0; i < 16; i++)
        put_scale(p, i, d * (byte_of(scale[i / 4], i % 4) - 32));
    load16(h, p, 0);
    load16(h + 4, p, 16);
    pairs(p, 0, 32, h, 0);
    pairs(p, 32, 64, h, 4);
}

INLINE void iq4_xs(struct part p)
{
    vu first = load4(p, 0), low = load4(p, 4), high = first >> 16;
    vf d = half(first);
    for (int i = 0; i < 8; i++) {
        vu s = (low >> 4 * i & 15) | (high >> 2 * i & 3) << 4;
        put_scale(p, i, d * __builtin_convertvector((vi)s - 32, vf));
        nibble_levels(p, 8 * i, 8 + 16 * i, kl__iq4_level, 128);
    }
}

/* --------------------------------------------------------------------------------------------------------- panel -- */

typedef void block_fn(struct part p);

INLINE struct part part_of(struct part whole, int row, int64_t row_bytes)
{
    whole.from += row * whole.row_bytes;
    whole.q += 4 * row;
    whole.scale += row;
    whole.low += row;
    whole.ahead += row * row_bytes;
    return whole;
}

/* What comes after a block; fetches as much of what is ahead as the block had. */
INLINE struct part next_of(struct part p, int bytes, int n, int n_group)
{
    for (int i = 0; i < KL_LANES * bytes; i += 64)
        __builtin_prefetch(p.ahead + i, 0, 2);
    p.ahead += KL_LANES * bytes;
    p.from += bytes;
    p.q += n / 4 * LINE;
    p.scale += n_group * ROWS;
    p.low += n_group * ROWS;
    return p;
}

/* Blocks of 256 numbers in `bytes`: all blocks of some rows after each other. */
INLINE void large(block_fn *block, struct part whole, const int bytes,
                                                        const int n_group, int64_t n_block)
{
    for (int row = 0; row < ROWS; row += KL_LANES) {
        struct part p = part_of(whole, row, n_block * bytes);
        for (int64_t b = 0; b < n_block; b++, p = next_of(p, bytes, 256, n_group))
            block(p);
    }
}

/* Where a format has what is put aside: halves at its start or not, words at such bytes or, -1, nowhere. */
struct aside {
    bool halves;
    int word[2];
};

INLINE void put_aside(struct head *to, const uint8_t *p, int64_t step, const struct aside aside)
{
    if (aside.halves)
        put_halves_aside(to->half, p, step);
    for (int i = 0; i < 2; i++)
        if (aside.word[i] >= 0)
            put_words_aside(to->word[i], p + aside.word[i], step);
}

/* Blocks of 32 numbers. */
INLINE void small(block_fn *block, struct part whole, const int bytes,
                                                        const struct aside aside, int64_t n_block)
{
    struct head head[RING];
    for (int row = 0; row < ROWS; row += KL_LANES) {
        struct part p = part_of(whole, row, n_block * bytes);
        for (int64_t b = 0; b < AHEAD && b < n_block; b++)
            put_aside(&head[b], p.from + b * bytes, p.row_bytes, aside);
        for (int64_t b = 0; b < n_block; b++, p = next_of(p, bytes, 32, 1)) {
            if (b + AHEAD < n_block)
                put_aside(&head[(uint64_t)(b + AHEAD) % RING], p.from + AHEAD * bytes, p.row_bytes, aside);
            p.head = &head[(uint64_t)b % RING];
            block(p);
        }
    }
}

void KL_VARIANT(weight_panel)(uint8_t *q, float *scale, float *low, enum kl__type type, const void *from,
                              int64_t row_bytes, int64_t n_block, const void *ahead)
{
    static const struct aside half = {true, {-1, -1}}, word = {false, {0, -1}};
    struct part p = {.from = from, .row_bytes = row_bytes, .q = q, .scale = scale, .low = low ? low : scale};
    p.ahead = ahead ? ahead : from;
    switch (type) {
    case KL__TYPE_Q8_0: small(q8_0, p, 34, half, n_block); return;
    case KL__TYPE_Q4_0: small(q4_0, p, 18, half, n_block); return;
    case KL__TYPE_Q4_1: small(q4_1, p, 20, word, n_block); return;
    case KL__TYPE_Q5_0: small(q5_0, p, 22, (struct aside){true, {-1, 2}}, n_block); return;
    case KL__TYPE_Q5_1: small(q5_1, p, 24, (struct aside){false, {0, 4}}, n_block); return;
    case KL__TYPE_IQ4_NL: small(iq4_nl, p, 18, half, n_block); return;
    case KL__TYPE_MXFP4: small(mxfp4, p, 17, half, n_block); return;
    case KL__TYPE_Q2_K: large(q2_k, p, 84, 16, n_block); return;
    case KL__TYPE_Q3_K: large(q3_k, p, 110, 16, n_block); return;
    case KL__TYPE_Q4_K: large(q4_k, p, 144, 8, n_block); return;
    case KL__TYPE_Q5_K: large(q5_k, p, 176, 8, n_block); return;
    case KL__TYPE_Q6_K: large(q6_k, p, 210, 16, n_block); return;
    case KL__TYPE_IQ4_XS: large(iq4_xs, p, 136, 8, n_block); return;
    default: return;
    }
}
