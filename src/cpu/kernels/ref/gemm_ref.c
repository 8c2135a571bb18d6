#include "base/half.h"
#include "cpu/kernels/kernels.h"

enum { ROWS = 4, COLUMNS = 8 };

struct kl__gemm_sizes kl__gemm_sizes_ref(void)
{
    return (struct kl__gemm_sizes){ROWS, COLUMNS, 128, 256};
}

void kl__gemm_pack_ref(float *to, const void *from, kl_dtype dtype, int64_t pitch, bool transposed, int64_t n,
                       int width, int64_t n_k)
{
    for (int64_t k = 0; k < n_k; k++)
        for (int i = 0; i < width; i++) {
            int64_t at = transposed ? k * pitch + i : i * pitch + k;
            float x = 0;
            if (i < n)
                x = dtype == KL_F32 ? ((const float *)from)[at] : kl__f32_of_bf16(((const uint16_t *)from)[at]);
            to[k * width + i] = x;
        }
}

/* Number (i, k) of a is a[i row + k step]. */
static void multiply(float *sum, const float *a, int64_t row, int64_t step, const float *b, int64_t n_k, int m,
                     bool add)
{
    float s[ROWS][COLUMNS] = {0};
    for (int64_t k = 0; k < n_k; k++)
        for (int i = 0; i < m; i++)
            for (int j = 0; j < COLUMNS; j++)
                s[i][j] += a[i * row + k * step] * b[k * COLUMNS + j];
    for (int i = 0; i < m; i++)
        for (int j = 0; j < COLUMNS; j++)
            sum[i * COLUMNS + j] = add ? sum[i * COLUMNS + j] + s[i][j] : s[i][j];
}

void kl__gemm_tile_ref(float *sum, const float *a, const float *b, int64_t n_k, int m, bool add,
                       struct kl__ahead *ahead)
{
    (void)ahead;
    multiply(sum, a, 1, m, b, n_k, m, add);
}

void kl__gemm_rows_ref(float *sum, const float *a, int64_t a_pitch, const float *b, int64_t n_k, int m, bool add,
                       struct kl__ahead *ahead)
{
    (void)ahead;
    multiply(sum, a, a_pitch, 1, b, n_k, m, add);
}

void kl__gemm_store_ref(void *c, kl_dtype dtype, int64_t c_pitch, const float *sum, const float *bias, bool add,
                        int64_t m, int n)
{
    for (int64_t i = 0; i < m; i++)
        for (int j = 0; j < n; j++) {
            int64_t at = i * c_pitch + j;
            float x = bias ? bias[j] + sum[i * COLUMNS + j] : sum[i * COLUMNS + j];
            if (dtype == KL_BF16)
                ((uint16_t *)c)[at] = kl__bf16_of_f32(x);
            else
                ((float *)c)[at] = add ? ((float *)c)[at] + x : x;
        }
}

/* --------------------------------------------------------------------------------------------------- packed bf16 -- */

static float wide_number(const void *from, int column, int64_t k)
{
    return kl__f32_of_bf16(((const uint16_t *)from)[(k / 2 * KL__PANEL + column) * 2 + k % 2]);
}

void kl__wide_panel_ref(float *to, const void *from, int column, int64_t n_k)
{
    for (int64_t k = 0; k < n_k; k++)
        for (int j = 0; j < COLUMNS; j++)
            to[k * COLUMNS + j] = wide_number(from, column + j, k);
}

void kl__wide_tile_ref(float *sum, const float *a, int64_t a_pitch, const void *from, int column, int64_t n_k, int m)
{
    for (int i = 0; i < m; i++)
        for (int j = 0; j < COLUMNS; j++) {
            float total = 0;
            for (int64_t k = 0; k < n_k; k += KL__GEMM_K) {
                float s = 0;
                for (int64_t l = k; l < n_k && l < k + KL__GEMM_K; l++)
                    s += a[i * a_pitch + l] * wide_number(from, column + j, l);
                total = k > 0 ? total + s : s;
            }
            sum[i * COLUMNS + j] = total;
        }
}
