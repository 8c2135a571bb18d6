#include "cpu/flash_bwd.h"

#include "cpu/key_panels.h"
#include "cpu/rows.h"

#include <string.h>

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

void kl__flash_bwd_carve(struct kl__flash_bwd_scratch *x, struct kl__carver *c, int64_t n_k, int64_t n_v)
{
    x->q = kl__carve(c, KL__FLASH_ROWS * (size_t)n_k, sizeof(float));
    x->d_o = kl__carve(c, KL__FLASH_ROWS * (size_t)n_v, sizeof(float));
    x->d_q = kl__carve(c, KL__FLASH_ROWS * (size_t)n_k, sizeof(float));
    x->p = kl__carve(c, KL__FLASH_ROWS * KL__ATTENTION_BLOCK, sizeof(float));
    x->ds = kl__carve(c, KL__FLASH_ROWS * KL__ATTENTION_BLOCK, sizeof(float));
    x->kv = kl__carve(c, KL__ATTENTION_BLOCK * ((size_t)n_k + (size_t)n_v), sizeof(float));
    x->keys = kl__carve(c, KL__ATTENTION_BLOCK * (size_t)n_k, sizeof(float));
    x->values = kl__carve(c, KL__ATTENTION_BLOCK * (size_t)n_v, sizeof(float));
    x->sum = kl__carve(c, KL__KEY_PANELS_SUM, sizeof(float));
    x->lse = kl__carve(c, KL__FLASH_ROWS, sizeof(float));
    x->delta = kl__carve(c, KL__FLASH_ROWS, sizeof(float));
    x->to = kl__carve(c, KL__FLASH_ROWS, sizeof(int32_t));
    x->from = kl__carve(c, KL__ATTENTION_BLOCK, sizeof(int32_t));
}

void kl__flash_delta(const struct kl__kernels *k, struct kl__flash_bwd_scratch *x, kl_tensor delta, kl_tensor o,
                     kl_tensor d_o, int64_t first, int64_t end)
{
    int64_t n = end - first, n_v = o.dim[2];
    for (int64_t h = 0; h < o.dim[1]; h++) {
        kl__flash_gather(k, x->d_o, d_o, first, h, 1, 0, n);
        kl__flash_gather(k, x->kv, o, first, h, 1, 0, n);
        kl__key_panels_make(k, x->values, x->kv, n_v, n, n_v);
        kl__key_panels_dot(k, x->p, x->d_o, x->values, x->sum, n, n, n_v);
        for (int64_t i = 0; i < n; i++)
            ((float *)kl__row(delta, first + i))[h] = x->p[i * KL__ATTENTION_BLOCK + i];
    }
}

/* Loads what the backward knows of a block of rows. */
static void load_rows(const struct kl__flash_bwd *b, struct kl__flash_bwd_scratch *x, int64_t first_row, int64_t n_row)
{
    int64_t group = b->seq.group;
    kl__flash_gather(b->k, x->q, b->q, b->token, b->head, group, first_row, n_row);
    kl__flash_gather(b->k, x->d_o, b->d_o, b->token, b->head, group, first_row, n_row);
    for (int64_t r = 0; r < n_row; r++) {
        int64_t t = b->token + (first_row + r) / group, h = b->head + (first_row + r) % group;
        x->lse[r] = ((const float *)kl__row(b->lse, t))[h];
        x->delta[r] = ((const float *)kl__row(b->delta, t))[h];
    }
}

/* to[r] = positions of first .. first + n - 1 that row first_row + r sees. */
static void find_seen(const struct kl__flash_bwd *b, struct kl__flash_bwd_scratch *x, int64_t first_row, int64_t n_row,
                      int64_t first, int64_t n)
{
    for (int64_t r = 0; r < n_row; r++) {
        int64_t seen = smaller(kl__flash_seen(&b->seq, first_row + r) - first, n);
        x->to[r] = seen > 0 ? (int32_t)seen : 0;
    }
}

static void pack_block(const struct kl__flash_bwd *b, struct kl__flash_bwd_scratch *x, struct kl__kv_block kv,
                       int64_t n)
{
    kl__key_panels_make(b->k, x->keys, kv.k, kv.k_pitch, n, b->kv.n_k);
    kl__key_panels_make(b->k, x->values, kv.v, kv.v_pitch, n, b->kv.n_v);
}

/* p and ds of loaded rows against the n packed positions of which they see `to`. */
static void probabilities(const struct kl__flash_bwd *b, struct kl__flash_bwd_scratch *x, float *ds, int64_t n_row,
                          int64_t n)
{
    kl__key_panels_dot(b->k, x->p, x->q, x->keys, x->sum, n_row, n, b->kv.n_k);
    kl__key_panels_dot(b->k, ds, x->d_o, x->values, x->sum, n_row, n, b->kv.n_v);
    b->k->attention_softmax_bwd(x->p, ds, x->lse, x->delta, x->to, b->scale, n_row);
}

/* from[j] = first of the n_row rows that sees position j: `to` ascends, so one walk through both finds them. */
static void find_first_rows(struct kl__flash_bwd_scratch *x, int64_t n_row, int64_t n)
{
    int32_t r = 0;
    for (int32_t j = 0; j < n; j++) {
        while (r < n_row && x->to[r] <= j)
            r++;
        x->from[j] = r;
    }
}

static void clear(float *d, int64_t pitch, int64_t n, int64_t n_dim)
{
    for (int64_t i = 0; d && i < n; i++)
        memset(d + i * pitch, 0, (size_t)n_dim * sizeof *d);
}

void kl__flash_bwd_keys(const struct kl__flash_bwd *b, struct kl__flash_bwd_scratch *x, float *d_k, int64_t d_k_pitch,
                        float *d_v, int64_t d_v_pitch, int64_t first, int64_t n, int64_t row, int64_t end_row,
                        struct kl__flash_kept kept)
{
    int64_t n_k = b->kv.n_k, n_v = b->kv.n_v;
    if (row == 0) {
        clear(d_k, d_k_pitch, n, n_k);
        clear(d_v, d_v_pitch, n, n_v);
    }
    struct kl__kv_block kv = kl__kv_read(b->k, &b->kv, first, n, x->kv);
    pack_block(b, x, kv, n);
    for (int64_t tile = 0; row < end_row; row += KL__FLASH_ROWS, tile++) {
        int64_t m = smaller(end_row - row, KL__FLASH_ROWS);
        float *ds = kept.data ? kept.data + tile * kept.step : x->ds;
        if (kl__flash_seen(&b->seq, row + m - 1) <= first)
            continue;
        load_rows(b, x, row, m);
        find_seen(b, x, row, m, first, n);
        probabilities(b, x, ds, m, n);
        find_first_rows(x, m, n);
        if (d_v)
            b->k->attention_mix(d_v, d_v_pitch, NULL, x->p, 1, KL__ATTENTION_BLOCK, x->d_o, n_v, x->from, NULL, n, m,
                                n_v);
        if (d_k)
            b->k->attention_mix(d_k, d_k_pitch, NULL, ds, 1, KL__ATTENTION_BLOCK, x->q, n_k, x->from, NULL, n, m, n_k);
    }
}

void kl__flash_bwd_queries(const struct kl__flash_bwd *b, struct kl__flash_bwd_scratch *x, kl_tensor d_q, bool add,
                           int64_t first_row, int64_t n_row, int64_t first, int64_t end, struct kl__flash_kept kept)
{
    int64_t n_k = b->kv.n_k, group = b->seq.group, seen = kl__flash_seen(&b->seq, first_row + n_row - 1);
    if (!kept.data)
        load_rows(b, x, first_row, n_row);
    if (add)
        kl__flash_gather(b->k, x->d_q, d_q, b->token, b->head, group, first_row, n_row);
    else
        clear(x->d_q, n_k, n_row, n_k);
    end = smaller(end, seen);
    for (int64_t s = first, tile = 0; s < end; s += KL__ATTENTION_BLOCK, tile++) {
        int64_t n = smaller(end - s, KL__ATTENTION_BLOCK);
        struct kl__kv_block kv = kl__kv_read(b->k, &b->kv, s, n, x->kv);
        float *ds = kept.data ? kept.data + tile * kept.step : x->ds;
        find_seen(b, x, first_row, n_row, s, n);
        if (!kept.data) {
            pack_block(b, x, kv, n);
            probabilities(b, x, ds, n_row, n);
        }
        b->k->attention_mix(x->d_q, n_k, NULL, ds, KL__ATTENTION_BLOCK, 1, kv.k, kv.k_pitch, NULL, x->to, n_row, n,
                            n_k);
    }
    for (int64_t r = 0; r < n_row; r++)
        memcpy(kl__head_row(d_q, b->token + (first_row + r) / group, b->head + (first_row + r) % group),
               x->d_q + r * n_k, (size_t)n_k * sizeof(float));
}
