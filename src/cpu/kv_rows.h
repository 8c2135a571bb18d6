/** Rows of a cache of keys and values, contiguous or in pages, f32, bf16 or in blocks: how attention reads them without
 *  knowing. */
#ifndef KL_CPU_KV_ROWS_H
#define KL_CPU_KV_ROWS_H

#include "cpu/sixteen.h"
#include "klinear/kl_ops.h"

/** Whether products with a cache run on 16-bit integers (cpu/sixteen.h). */
enum kl__sixteen {
    KL__SIXTEEN_NO = 0,
    KL__SIXTEEN_ROWS,   /* made of the rows, block by block; a value is the beginning of its key */
    KL__SIXTEEN_BLOCKS, /* they lie there already, one kl__i16_block after the other from `origin` on */
};

/** What one key head of one sequence reads.  Distances are in bytes. */
struct kl__kv {
    const char *k, *v;      /* this head's columns of position `origin`; when paged, of the first row of the pool */
    int64_t k_row, v_row;   /* from one position to the next */
    int64_t k_page, v_page; /* from one page of the pool to the next */
    const int32_t *table;   /* pages of this sequence; NULL: contiguous */
    int64_t page_tokens;
    int64_t origin;   /* contiguous only: position of the first row in memory */
    int64_t n_k, n_v; /* columns of a key and of a value */
    kl_dtype dtype;
    enum kl__sixteen sixteen;
    char *block;         /* KL__SIXTEEN_BLOCKS: the first one */
    int64_t block_bytes; /* from one to the next */
    bool shared; /* a value is the beginning of its key: read once */
    const float *panels; /* keys from `origin` on as panels (cpu/key_panels.h), and not as rows; NULL: as rows */
};

/** Rows of keys and values as f32. */
struct kl__kv_block {
    const float *k, *v; /* [n][n_k], [n][n_v]; k NULL: they lie as panels */
    int64_t k_pitch, v_pitch;
};

/** Positions first .. first + n - 1, n <= KL__ATTENTION_BLOCK: where they lie if they are adjacent f32, otherwise
 *  copied into `scratch` [KL__ATTENTION_BLOCK][n_k + n_v]. */
struct kl__kv_block kl__kv_read(const struct kl__kernels *k, const struct kl__kv *kv, int64_t first, int64_t n,
                                float *scratch);

/** Positions first .. first + n - 1, n <= KL__I16_BLOCK, as integers of all their n_k numbers, and zeros after them.
 *  `scratch` [n_k]. */
void kl__kv_integers(const struct kl__kernels *k, const struct kl__kv *kv, struct kl__i16_rows *rows, int64_t first,
                     int64_t n, float *scratch);
/** Asks for rows first .. first + n - 1 to be brought into the second-level cache. */
void kl__kv_fetch(const struct kl__kv *kv, int64_t first, int64_t n);
/** Row `position` as f32: where it lies, or in `scratch` [n_k]. */
const float *kl__kv_row(const struct kl__kernels *k, const struct kl__kv *kv, int64_t position, float *scratch);

#endif
