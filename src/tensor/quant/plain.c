/* F32, F16, BF16: a block is one number. */
#include "tensor/quant/block.h"

#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers in files are little-endian, and used as they lie");

void kl__f32_decode(float *x, const void *blocks, int64_t n_block)
{
    if (n_block)
        memcpy(x, blocks, (size_t)n_block * sizeof *x);
}

void kl__f32_encode(void *blocks, const float *x, int64_t n_block)
{
    if (n_block)
        memcpy(blocks, x, (size_t)n_block * sizeof *x);
}

void kl__f16_decode(float *x, const void *blocks, int64_t n_block)
{
    const uint8_t *p = blocks;
    for (int64_t i = 0; i < n_block; i++)
        x[i] = kl__get_f16(p + 2 * i);
}

void kl__f16_encode(void *blocks, const float *x, int64_t n_block)
{
    uint8_t *p = blocks;
    for (int64_t i = 0; i < n_block; i++)
        kl__put_u16(p + 2 * i, kl__f16_of_f32(x[i]));
}

void kl__bf16_decode(float *x, const void *blocks, int64_t n_block)
{
    const uint8_t *p = blocks;
    for (int64_t i = 0; i < n_block; i++)
        x[i] = kl__f32_of_bf16(kl__get_u16(p + 2 * i));
}

void kl__bf16_encode(void *blocks, const float *x, int64_t n_block)
{
    uint8_t *p = blocks;
    for (int64_t i = 0; i < n_block; i++)
        kl__put_u16(p + 2 * i, kl__bf16_of_f32(x[i]));
}
