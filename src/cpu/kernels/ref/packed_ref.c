#include "base/half.h"
#include "cpu/kernels/kernels.h"
#include "tensor/quant/block.h"

#include <string.h>

/* Number k (of 32) of a row in a group that begins at `from`. */
static uint8_t level(enum kl__type type, const uint8_t *from, int row, int k)
{
    if (type == KL__TYPE_Q8_0)
        return from[(k / 4 * KL__PANEL + row) * 4 + k % 4];
    uint8_t pair = from[(k % 16 / 4 * KL__PANEL + row) * 4 + k % 4];
    return k < 16 ? pair & 15 : pair >> 4;
}

static void put_levels(uint8_t *q, enum kl__type type, const uint8_t *from)
{
    for (int row = 0; row < KL__PANEL; row++)
        for (int k = 0; k < 32; k++)
            q[(k / 4 * KL__PANEL + row) * 4 + k % 4] = level(type, from, row, k);
}

static void put_large(uint8_t *q, float *scale, float *low, const uint8_t *from)
{
    for (int g = 0; g < 8; g++) {
        for (int row = 0; row < KL__PANEL; row++) {
            scale[g * KL__PANEL + row] = kl__get_f16(from + 2 * row) * from[128 + g * KL__PANEL + row];
            low[g * KL__PANEL + row] = kl__get_f16(from + 64 + 2 * row) * from[128 + (8 + g) * KL__PANEL + row];
        }
        put_levels(q + g * 32 * KL__PANEL, KL__TYPE_Q4_K, from + 640 + g * 512);
    }
}

void kl__packed_panel_ref(uint8_t *q, float *scale, float *low, enum kl__type type, const void *from, int64_t n,
                          const void *ahead)
{
    (void)ahead;
    const uint8_t *p = from;
    if (type == KL__TYPE_Q4_K) {
        for (int64_t k = 0; k < n; k += 256, p += kl__packed_bytes(type, 256))
            put_large(q + k * KL__PANEL, scale + k / 32 * KL__PANEL, low + k / 32 * KL__PANEL, p);
        return;
    }
    for (int64_t k = 0; k < n; k += 32, p += kl__packed_bytes(type, 32)) {
        for (int row = 0; row < KL__PANEL; row++)
            scale[k / 32 * KL__PANEL + row] = kl__get_f16(p + 2 * row);
        put_levels(q + k * KL__PANEL, type, p + 64);
    }
}

/* Block by block through a panel, so that the sums are those of q8_tile. */
void kl__packed_tile_ref(float *sum, const struct kl__q8_rows *x, enum kl__type type, const void *from, int64_t n_k,
                         int m, const void *ahead)
{
    int64_t step = type == KL__TYPE_Q4_K ? 256 : 32;
    int offset = type == KL__TYPE_Q8_0 ? 128 : type == KL__TYPE_Q4_0 ? 8 : 0;
    uint8_t q[256 * KL__PANEL];
    float scale[8 * KL__PANEL], low[8 * KL__PANEL];
    struct kl__q8_rows rows = *x;
    memset(sum, 0, (size_t)(m * KL__PANEL) * sizeof *sum);
    for (int64_t k = 0; k < n_k; k += step) {
        kl__packed_panel_ref(q, scale, low, type, (const char *)from + kl__packed_bytes(type, k), step, ahead);
        for (int i = 0; i < m; i++)
            rows.row[i] = x->row[i] + k;
        rows.scale = x->scale - k + k / KL__Q8_BLOCK * 4;
        rows.aux = x->aux - k + k / 32 * 4;
        kl__q8_tile_ref(sum, &rows, q, scale, offset ? NULL : low, step, 32, offset, m, true);
    }
}
