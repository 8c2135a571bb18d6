/** One tile of a product (cpu/gemm.h): how it is computed, with the scratch of one thread. */
#ifndef KL_CPU_GEMM_TILE_H
#define KL_CPU_GEMM_TILE_H

#include "base/memory.h"
#include "cpu/gemm.h"

struct kl__gemm_scratch {
    float *a; /* panels of A: [blocks of k][panels of rows][k][rows], block_rows * KL__GEMM_K in all; where B stays, its
                 panels: [panels of columns][blocks of k][k][columns], block_columns * KL__GEMM_K in all */
    float *b; /* one panel of B: [k][columns]; where B stays, one of A: [k][rows] */
    float *c; /* sums: [panels of columns][rows of the tile][columns], block_rows * block_columns in all */
    float *decoded; /* blocks that a panel of B lies in: [columns][KL__GEMM_DECODED] */
    /** Which part of which B stays in `a`: g, first column and first k; g NULL: none. */
    struct kl__gemm_held {
        const struct kl__gemm *g;
        int64_t j0, k0;
    } * held;
};

/* Whole blocks of 256 numbers around any KL__GEMM_K of them. */
enum { KL__GEMM_DECODED = 512 };

/* What a tile is computed with: the whole of it is [i0 .. i0 + m) x [j0 .. j0 + n). */
struct kl__gemm_tile {
    const struct kl__kernels *kernels;
    const struct kl__gemm *g;
    struct kl__gemm_sizes sizes;
    struct kl__gemm_scratch scratch;
    int64_t i0, j0, m, n;
    int64_t rows; /* of a panel of A: all nearly alike, as the widest multiply fastest */
};

static inline int64_t kl__least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}
static inline int64_t kl__ceil_div(int64_t a, int64_t b)
{
    return a / b + (a % b != 0);
}
static inline const char *kl__gemm_element(struct kl__matrix x, int64_t i, int64_t k)
{
    int64_t at = x.transposed ? k * x.pitch + i : i * x.pitch + k;
    return (const char *)x.data + at * (int64_t)kl_dtype_bytes(x.dtype);
}
/** Numbers of k from k on in its block. */
static inline int64_t kl__gemm_k_left(const struct kl__gemm *g, int64_t k)
{
    return kl__least(KL__GEMM_K, g->k - k);
}

/** Sums [rows][columns] of one panel, from row i and column j of the tile, to where they belong. */
void kl__gemm_store_panel(const struct kl__gemm_tile *t, const float *sum, int64_t i, int64_t j);

/** Whether B is to stay: many rows of f32 meet it. */
bool kl__gemm_stays(const struct kl__gemm *g, struct kl__gemm_sizes s);
/** Numbers of k of which B stays at once, whole blocks, in a tile of n columns. */
int64_t kl__gemm_stay_span(struct kl__gemm_sizes s, int64_t n);
/** The tile, where B stays. */
void kl__gemm_stay(const struct kl__gemm_tile *t);

#endif
