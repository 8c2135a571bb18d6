#include "cpu/kv_rows.h"

#include "tensor/quant/quant.h"

#include <string.h>

/* One of the two matrices of a cache. */
struct matrix {
    const char *data;
    int64_t row, page, n_dim;
};

static const char *row_of(const struct kl__kv *kv, struct matrix x, int64_t position)
{
    if (!kv->table)
        return x.data + (position - kv->origin) * x.row;
    return x.data + kv->table[position / kv->page_tokens] * x.page + position % kv->page_tokens * x.row;
}

/* Positions of the run that begins at `first` and lies evenly spaced in memory. */
static int64_t run_length(const struct kl__kv *kv, int64_t first, int64_t n)
{
    int64_t rest = kv->table ? kv->page_tokens - first % kv->page_tokens : n;
    return rest < n ? rest : n;
}

static void read_row(const struct kl__kernels *k, kl_dtype dtype, float *to, const char *from, int64_t n)
{
    if (dtype == KL_F32)
        memcpy(to, from, (size_t)n * sizeof *to);
    else if (dtype == KL_BF16)
        k->f32_of_bf16(to, (const uint16_t *)(const void *)from, n);
    else
        kl__decode(KL__TYPE_Q8_0, to, from, n);
}

static const float *read(const struct kl__kernels *k, const struct kl__kv *kv, struct matrix x, int64_t first,
                         int64_t n, float *scratch, int64_t *pitch)
{
    if (kv->dtype == KL_F32 && run_length(kv, first, n) == n) {
        *pitch = x.row / (int64_t)sizeof(float);
        return (const float *)(const void *)row_of(kv, x, first);
    }
    for (int64_t i = 0, run; i < n; i += run) {
        run = run_length(kv, first + i, n - i);
        const char *from = row_of(kv, x, first + i);
        for (int64_t j = 0; j < run; j++, from += x.row)
            read_row(k, kv->dtype, scratch + (i + j) * x.n_dim, from, x.n_dim);
    }
    *pitch = x.n_dim;
    return scratch;
}

struct kl__kv_block kl__kv_read(const struct kl__kernels *k, const struct kl__kv *kv, int64_t first, int64_t n,
                                float *scratch)
{
    struct kl__kv_block b = {0};
    if (!kv->panels)
        b.k = read(k, kv, (struct matrix){kv->k, kv->k_row, kv->k_page, kv->n_k}, first, n, scratch, &b.k_pitch);
    b.v = b.k;
    b.v_pitch = b.k_pitch;
    if (!kv->shared)
        b.v = read(k, kv, (struct matrix){kv->v, kv->v_row, kv->v_page, kv->n_v}, first, n,
                   scratch + KL__ATTENTION_BLOCK * kv->n_k, &b.v_pitch);
    return b;
}

const float *kl__kv_row(const struct kl__kernels *k, const struct kl__kv *kv, int64_t position, float *scratch)
{
    const char *from = row_of(kv, (struct matrix){kv->k, kv->k_row, kv->k_page, kv->n_k}, position);
    if (kv->dtype == KL_F32)
        return (const float *)(const void *)from;
    read_row(k, kv->dtype, scratch, from, kv->n_k);
    return scratch;
}

void kl__kv_integers(const struct kl__kernels *k, const struct kl__kv *kv, struct kl__i16_rows *rows, int64_t first,
                     int64_t n, float *scratch)
{
    struct matrix keys = {kv->k, kv->k_row, kv->k_page, kv->n_k};
    for (int64_t j = 0; j < n; j++) {
        int16_t *to = rows->row + j * rows->n;
        const char *from = row_of(kv, keys, first + j);
        if (kv->dtype == KL_BF16)
            k->i16_row_bf16(to, &rows->scale[j], (const uint16_t *)(const void *)from, kv->n_k, rows->n);
        else
            k->i16_row(to, &rows->scale[j], kl__kv_row(k, kv, first + j, scratch), kv->n_k, rows->n);
    }
    if (n < KL__I16_BLOCK)
        kl__i16_clear_rows(rows, n);
}

void kl__kv_fetch(const struct kl__kv *kv, int64_t first, int64_t n)
{
    struct matrix keys = {kv->k, kv->k_row, kv->k_page, kv->n_k};
    for (int64_t j = 0; j < n; j++) {
        const char *from = row_of(kv, keys, first + j);
        for (int64_t at = 0; at < kv->k_row; at += 64)
            __builtin_prefetch(from + at, 0, 2);
    }
}
