/* Panels of bf16: eight numbers of KL_LANES rows at a time are transposed. */
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/vec/panel_rows.h"

enum { ROWS = KL__PANEL };

/* What lies ahead, fetched while `bytes` of KL_LANES rows are taken apart. */
static inline const uint8_t *fetch(const uint8_t *ahead, int bytes)
{
    for (int i = 0; i < KL_LANES * bytes; i += 64)
        __builtin_prefetch(ahead + i, 0, 2);
    return ahead + KL_LANES * bytes;
}

/* Numbers k and k + 1 of KL_LANES rows, the second one perhaps not there. */
static inline void put_pair(uint16_t *p, const uint8_t *from, int64_t row_bytes, int64_t k, bool both)
{
    for (int i = 0; i < KL_LANES; i++) {
        p[2 * i + 1] = 0;
        __builtin_memcpy(p + 2 * i, from + i * row_bytes + 2 * k, both ? 4 : 2);
    }
}

void KL_VARIANT(bf16_panel)(uint16_t *p, const void *from, int64_t row_bytes, int64_t n_k, const void *ahead)
{
    ahead = ahead ? ahead : from;
    for (int row = 0; row < ROWS; row += KL_LANES) {
        const uint8_t *rows = (const uint8_t *)from + row * row_bytes, *next = (const uint8_t *)ahead + row * n_k * 2;
        int64_t k = 0;
        for (; k + 8 <= n_k; k += 8) {
            vu x[4];
            load_rows16(x, rows + 2 * k, row_bytes);
            for (int j = 0; j < 4; j++)
                __builtin_memcpy(p + (k + 2 * j) * ROWS + 2 * row, &x[j], sizeof x[j]);
            next = fetch(next, 16);
        }
        for (; k < n_k; k += 2)
            put_pair(p + k * ROWS + 2 * row, rows, row_bytes, k, k + 1 < n_k);
    }
}
