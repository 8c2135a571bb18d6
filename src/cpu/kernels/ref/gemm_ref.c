#include "base/half.h"
#include "cpu/kernels/kernels.h"

enum { ROWS = 4, COLUMNS = 8 };

struct kl__gemm_sizes kl__gemm_sizes_ref(void)
{
    return (struct kl__gemm_sizes){ROWS, COLUMNS, 64, 256};
}

void kl__gemm_pack_ref(float *to, const void *from, kl_dtype dtype, int64_t pitch, bool transposed, int n, int width,
                       int64_t n_k)
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

void kl__gemm_tile_ref(float *c, int64_t c_pitch, const float *a, const float *b, int64_t n_k, int m, int n, bool add)
{
    float sum[ROWS][COLUMNS] = {0};
    for (int64_t k = 0; k < n_k; k++)
        for (int i = 0; i < m; i++)
            for (int j = 0; j < COLUMNS; j++)
                sum[i][j] += a[k * m + i] * b[k * COLUMNS + j];
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++)
            c[i * c_pitch + j] = add ? c[i * c_pitch + j] + sum[i][j] : sum[i][j];
}
