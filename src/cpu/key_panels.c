#include "cpu/key_panels.h"

#include <assert.h>

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

void kl__key_panels_make(const struct kl__kernels *k, float *panels, const float *rows, int64_t pitch, int64_t n,
                         int64_t n_dim)
{
    int columns = k->gemm_sizes().columns;
    for (int64_t i = 0; i < n; i += columns)
        k->gemm_pack(panels + i * n_dim, rows + i * pitch, KL_F32, pitch, false, n - i, columns, n_dim);
}

void kl__key_panels_dot(const struct kl__kernels *k, float *to, const float *rows, const float *panels, float *sum,
                        int64_t n_row, int64_t n, int64_t n_dim)
{
    struct kl__gemm_sizes sizes = k->gemm_sizes();
    assert(sizes.rows * sizes.columns <= KL__KEY_PANELS_SUM && KL__ATTENTION_BLOCK % sizes.columns == 0);
    for (int64_t i = 0; i < n_row; i += sizes.rows) {
        int m = (int)smaller(sizes.rows, n_row - i);
        for (int64_t j = 0; j < n; j += sizes.columns) {
            const float *panel = panels + j * n_dim;
            int64_t d = 0;
            do {
                k->gemm_rows(sum, rows + i * n_dim + d, n_dim, panel + d * sizes.columns,
                             smaller(KL__GEMM_K, n_dim - d), m, d > 0, NULL);
                d += KL__GEMM_K;
            } while (d < n_dim);
            k->gemm_store(to + i * KL__ATTENTION_BLOCK + j, KL_F32, KL__ATTENTION_BLOCK, sum, NULL, false, m,
                          sizes.columns);
        }
    }
}
