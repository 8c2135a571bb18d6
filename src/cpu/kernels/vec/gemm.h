/* Packing and multiplying panels.  KL_GEMM_ROWS x 2 vectors of sums stay in registers. */
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/vec/transpose.h"
#include "cpu/kernels/vec/vec.h"

enum { ROWS = KL_GEMM_ROWS, COLUMNS = 2 * KL_LANES };

struct kl__gemm_sizes KL_VARIANT(gemm_sizes)(void)
{
    return (struct kl__gemm_sizes){ROWS, COLUMNS, KL_GEMM_BLOCK_ROWS, KL_GEMM_BLOCK_COLUMNS};
}

/* ----------------------------------------------------------------------------------------------------- packing -- */

static inline vf load(const void *from, kl_dtype dtype, int64_t at)
{
    return dtype == KL_F32 ? vload((const float *)from + at) : vload_bf16((const uint16_t *)from + at);
}

static inline vf load_part(const void *from, kl_dtype dtype, int64_t at, int64_t n)
{
    if (dtype == KL_F32)
        return vload_part((const float *)from + at, n);
    uint16_t half[KL_LANES] = {0};
    __builtin_memcpy(half, (const uint16_t *)from + at, 2 * (size_t)n);
    return vload_bf16(half);
}

/* Rows are contiguous in i: copy n of them for every k. */
static inline void pack_transposed(float *to, const void *from, kl_dtype dtype, int64_t pitch, int n, int width,
                                   int64_t n_k)
{
    for (int64_t k = 0; k < n_k; k++, to += width)
        for (int i = 0; i < width; i += KL_LANES) {
            int want = width - i < KL_LANES ? width - i : KL_LANES, have = n - i < want ? n - i : want;
            if (have == KL_LANES)
                vstore(to + i, load(from, dtype, k * pitch + i));
            else
                vstore_part(to + i, have > 0 ? load_part(from, dtype, k * pitch + i, have) : vset(0), want);
        }
}

/* Up to KL_LANES rows, contiguous in k, through squares transposed in registers.  Where the panel is narrower than a
 * vector, a store spills into the next k, which is written after it. */
static inline void pack_group(float *to, const void *from, kl_dtype dtype, int64_t pitch, int n, int width, int64_t n_k)
{
    int64_t spill_end = n_k * width - KL_LANES;
    for (int64_t k = 0; k < n_k; k += KL_LANES) {
        int64_t n_column = n_k - k < KL_LANES ? n_k - k : KL_LANES;
        vf x[KL_LANES];
        for (int i = 0; i < KL_LANES; i++) {
            if (i >= n)
                x[i] = vset(0);
            else if (n_column == KL_LANES)
                x[i] = load(from, dtype, i * pitch + k);
            else
                x[i] = load_part(from, dtype, i * pitch + k, n_column);
        }
        vtranspose(x);
        for (int64_t j = 0; j < n_column; j++) {
            int64_t at = (k + j) * width;
            if (at <= spill_end || width >= KL_LANES)
                vstore(to + at, x[j]);
            else
                vstore_part(to + at, x[j], width);
        }
    }
}

static inline __attribute__((always_inline)) void pack(float *to, const void *from, kl_dtype dtype, int64_t pitch,
                                                       bool transposed, int n, int width, int64_t n_k)
{
    if (transposed) {
        pack_transposed(to, from, dtype, pitch, n, width, n_k);
        return;
    }
    int64_t step = pitch * (dtype == KL_F32 ? 4 : 2);
    for (int i = 0; i < width; i += KL_LANES)
        pack_group(to + i, (const char *)from + i * step, dtype, pitch, n - i, width, n_k);
}

void KL_VARIANT(gemm_pack)(float *to, const void *from, kl_dtype dtype, int64_t pitch, bool transposed, int n,
                           int width, int64_t n_k)
{
    if (dtype == KL_F32)
        pack(to, from, KL_F32, pitch, transposed, n, width, n_k);
    else
        pack(to, from, KL_BF16, pitch, transposed, n, width, n_k);
}

/* ------------------------------------------------------------------------------------------------- multiplying -- */

static inline void add_to_part(float *c, vf sum, int n, bool add)
{
    if (n <= 0)
        return;
    int64_t part = n < KL_LANES ? n : KL_LANES;
    vstore_part(c, add ? vload_part(c, part) + sum : sum, part);
}

/* With m a constant, the sums are registers. */
static inline __attribute__((always_inline)) void tile(float *c, int64_t c_pitch, const float *a, const float *b,
                                                       int64_t n_k, const int m, int n, bool add)
{
    vf sum[ROWS][2];
#pragma GCC unroll 16
    for (int i = 0; i < m; i++)
        sum[i][0] = sum[i][1] = vset(0);
    for (int64_t k = 0; k < n_k; k++, a += m, b += COLUMNS) {
        vf left = vload(b), right = vload(b + KL_LANES);
#pragma GCC unroll 16
        for (int i = 0; i < m; i++) {
            vf x = vset(a[i]);
            sum[i][0] += x * left;
            sum[i][1] += x * right;
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < m; i++, c += c_pitch) {
        if (n == COLUMNS) {
            vstore(c, add ? vload(c) + sum[i][0] : sum[i][0]);
            vstore(c + KL_LANES, add ? vload(c + KL_LANES) + sum[i][1] : sum[i][1]);
        } else {
            add_to_part(c, sum[i][0], n, add);
            add_to_part(c + KL_LANES, sum[i][1], n - KL_LANES, add);
        }
    }
}

void KL_VARIANT(gemm_tile)(float *c, int64_t c_pitch, const float *a, const float *b, int64_t n_k, int m, int n,
                           bool add)
{
    switch (m) {
    case 1: tile(c, c_pitch, a, b, n_k, 1, n, add); return;
    case 2: tile(c, c_pitch, a, b, n_k, 2, n, add); return;
    case 3: tile(c, c_pitch, a, b, n_k, 3, n, add); return;
    case 4: tile(c, c_pitch, a, b, n_k, 4, n, add); return;
    case 5: tile(c, c_pitch, a, b, n_k, 5, n, add); return;
    case 6: tile(c, c_pitch, a, b, n_k, 6, n, add); return;
#if KL_GEMM_ROWS > 6
    case 7: tile(c, c_pitch, a, b, n_k, 7, n, add); return;
    case 8: tile(c, c_pitch, a, b, n_k, 8, n, add); return;
    case 9: tile(c, c_pitch, a, b, n_k, 9, n, add); return;
    case 10: tile(c, c_pitch, a, b, n_k, 10, n, add); return;
    case 11: tile(c, c_pitch, a, b, n_k, 11, n, add); return;
    case 12: tile(c, c_pitch, a, b, n_k, 12, n, add); return;
    case 13: tile(c, c_pitch, a, b, n_k, 13, n, add); return;
    case 14: tile(c, c_pitch, a, b, n_k, 14, n, add); return;
#endif
    }
}
