/* The formulas are those at the top of each format's own file, read for integers. */
#include "tensor/quant/levels.h"

#include "tensor/quant/k_scales.h"

/* 32 numbers from 16 bytes: low nibbles first. */
static void nibbles(uint8_t *v, const uint8_t *q)
{
    for (int j = 0; j < 16; j++) {
        v[j] = (uint8_t)kl__lo(q[j]);
        v[j + 16] = (uint8_t)kl__hi(q[j]);
    }
}

/* A fifth bit for each of 32 numbers. */
static void fifth_bits(uint8_t *v, uint32_t h)
{
    for (int j = 0; j < 32; j++)
        v[j] |= (uint8_t)((h >> j & 1) << 4);
}

static void split_q8_0(struct kl__levels *to, const uint8_t *p)
{
    to->scale[0] = kl__get_f16(p);
    for (int j = 0; j < 32; j++)
        to->v[j] = p[2 + j] ^ 0x80;
}

static void split_q4_0(struct kl__levels *to, const uint8_t *p)
{
    to->scale[0] = kl__get_f16(p);
    nibbles(to->v, p + 2);
}

static void split_q4_1(struct kl__levels *to, const uint8_t *p)
{
    to->scale[0] = kl__get_f16(p);
    to->low[0] = -kl__get_f16(p + 2);
    nibbles(to->v, p + 4);
}

static void split_q5_0(struct kl__levels *to, const uint8_t *p)
{
    to->scale[0] = kl__get_f16(p);
    nibbles(to->v, p + 6);
    fifth_bits(to->v, kl__get_u32(p + 2));
}

static void split_q5_1(struct kl__levels *to, const uint8_t *p)
{
    to->scale[0] = kl__get_f16(p);
    to->low[0] = -kl__get_f16(p + 2);
    nibbles(to->v, p + 8);
    fifth_bits(to->v, kl__get_u32(p + 4));
}

static void k_scales(struct kl__levels *to, const uint8_t *p)
{
    float d = kl__get_f16(p), dmin = kl__get_f16(p + 2);
    for (int i = 0; i < 8; i++) {
        int sc, mn;
        kl__k_scales_get(p + 4, i, &sc, &mn);
        to->scale[i] = d * (float)sc;
        to->low[i] = dmin * (float)mn;
    }
}

/* Low nibbles of 32 bytes, then their high ones, four times. */
static void k_nibbles(uint8_t *v, const uint8_t *q)
{
    for (int j = 0; j < 256; j++)
        v[j] = q[32 * (j / 64) + j % 32] >> 4 * (j / 32 & 1) & 15;
}

static void split_q4_k(struct kl__levels *to, const uint8_t *p)
{
    k_scales(to, p);
    k_nibbles(to->v, p + 16);
}

static void split_q5_k(struct kl__levels *to, const uint8_t *p)
{
    k_scales(to, p);
    k_nibbles(to->v, p + 48);
    for (int j = 0; j < 256; j++)
        to->v[j] |= (uint8_t)((p[16 + j % 32] >> j / 32 & 1) << 4);
}

static void split_q6_k(struct kl__levels *to, const uint8_t *p)
{
    float d = kl__get_f16(p + 208);
    for (int i = 0; i < 16; i++)
        to->scale[i] = d * (float)(int8_t)p[192 + i];
    for (int j = 0; j < 256; j++) {
        int n = j / 128, g = j / 32 % 4, l = j % 32, high = p[128 + 32 * n + l] >> 2 * g & 3;
        to->v[j] = (uint8_t)((p[64 * n + 32 * (g & 1) + l] >> 4 * (g / 2) & 15) | high << 4);
    }
}

/* Bits 2g, 2g+1 of 32 bytes for g = 0 .. 3, twice. */
static void k_pairs(uint8_t *v, const uint8_t *q)
{
    for (int j = 0; j < 256; j++)
        v[j] = q[32 * (j / 128) + j % 32] >> 2 * (j / 32 % 4) & 3;
}

static void split_q2_k(struct kl__levels *to, const uint8_t *p)
{
    float d = kl__get_f16(p + 80), dmin = kl__get_f16(p + 82);
    for (int i = 0; i < 16; i++) {
        to->scale[i] = d * (float)kl__lo(p[i]);
        to->low[i] = dmin * (float)kl__hi(p[i]);
    }
    k_pairs(to->v, p + 16);
}

static void split_q3_k(struct kl__levels *to, const uint8_t *p)
{
    const uint8_t *s = p + 96;
    float d = kl__get_f16(p + 108);
    for (int i = 0; i < 16; i++) {
        int low = i < 8 ? kl__lo(s[i]) : kl__hi(s[i - 8]);
        to->scale[i] = d * (float)((low | (s[8 + i % 4] >> 2 * (i / 4) & 3) << 4) - 32);
    }
    k_pairs(to->v, p + 32);
    for (int j = 0; j < 256; j++)
        to->v[j] |= (uint8_t)((p[j % 32] >> j / 32 & 1) << 2);
}

static void levels_of_nibbles(uint8_t *v, const int8_t *level, int offset)
{
    for (int j = 0; j < 32; j++)
        v[j] = (uint8_t)(level[v[j]] + offset);
}

static void split_iq4_nl(struct kl__levels *to, const uint8_t *p)
{
    to->scale[0] = kl__get_f16(p);
    nibbles(to->v, p + 2);
    levels_of_nibbles(to->v, kl__iq4_level, 128);
}

static void split_iq4_xs(struct kl__levels *to, const uint8_t *p)
{
    float d = kl__get_f16(p);
    uint16_t high = kl__get_u16(p + 2);
    for (int i = 0; i < 8; i++) {
        to->scale[i] = d * (float)(((p[4 + i / 2] >> 4 * (i & 1) & 15) | (high >> 2 * i & 3) << 4) - 32);
        nibbles(to->v + 32 * i, p + 8 + 16 * i);
        levels_of_nibbles(to->v + 32 * i, kl__iq4_level, 128);
    }
}

static void split_mxfp4(struct kl__levels *to, const uint8_t *p)
{
    to->scale[0] = kl__mxfp4_half_scale(p[0]);
    nibbles(to->v, p + 1);
    levels_of_nibbles(to->v, kl__mxfp4_doubled, 16);
}

static const struct kl__levels_info infos[KL__N_TYPE] = {
    [KL__TYPE_Q8_0] = {32, 128, false, split_q8_0},    [KL__TYPE_Q4_0] = {32, 8, false, split_q4_0},
    [KL__TYPE_Q4_1] = {32, 0, true, split_q4_1},       [KL__TYPE_Q5_0] = {32, 16, false, split_q5_0},
    [KL__TYPE_Q5_1] = {32, 0, true, split_q5_1},       [KL__TYPE_Q2_K] = {16, 0, true, split_q2_k},
    [KL__TYPE_Q3_K] = {16, 4, false, split_q3_k},      [KL__TYPE_Q4_K] = {32, 0, true, split_q4_k},
    [KL__TYPE_Q5_K] = {32, 0, true, split_q5_k},       [KL__TYPE_Q6_K] = {16, 32, false, split_q6_k},
    [KL__TYPE_IQ4_NL] = {32, 128, false, split_iq4_nl}, [KL__TYPE_IQ4_XS] = {32, 128, false, split_iq4_xs},
    [KL__TYPE_MXFP4] = {32, 16, false, split_mxfp4},
};

const struct kl__levels_info *kl__levels_info(enum kl__type type)
{
    return infos[type].split ? &infos[type] : NULL;
}
