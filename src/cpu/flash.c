#include "cpu/flash.h"

#include "cpu/key_panels.h"
#include "cpu/rows.h"

#include <math.h>
#include <string.h>

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

void kl__flash_carve_part(struct kl__flash_part *part, struct kl__carver *c, int64_t n_row, int64_t n_v)
{
    part->max = kl__carve(c, (size_t)n_row, sizeof(float));
    part->sum = kl__carve(c, (size_t)n_row, sizeof(float));
    part->acc = kl__carve(c, (size_t)n_row * (size_t)n_v, sizeof(float));
    part->fresh = true;
}

/* Rows of queries are lent memory for whole panels. */
static int64_t whole_panels(int64_t n_row)
{
    return kl__i16_panels(n_row) * KL__PANEL;
}

static void carve_integers(struct kl__flash_integers *x, struct kl__carver *c, int64_t n_row, int64_t n_k,
                           enum kl__sixteen sixteen)
{
    size_t even = (size_t)kl__i16_even(n_k), rows = (size_t)whole_panels(n_row);
    x->q = kl__carve(c, rows * even, sizeof *x->q);
    x->panel = kl__carve(c, rows * even, sizeof *x->panel);
    x->w = kl__carve(c, (size_t)n_row * KL__I16_BLOCK, sizeof *x->w);
    x->q_scale = kl__carve(c, rows, sizeof(float));
    x->w_scale = kl__carve(c, rows, sizeof(float));
    x->turned = kl__carve(c, KL__I16_BLOCK * KL__FLASH_ROWS, sizeof(float));
    x->keys = kl__carve(c, KL__I16_BLOCK * even, sizeof *x->keys);
    x->woven = kl__carve(c, KL__I16_BLOCK * KL__PANEL, sizeof *x->woven);
    if (sixteen == KL__SIXTEEN_ROWS)
        kl__i16_carve_rows(&x->rows, c, n_k);
}

void kl__flash_carve(struct kl__flash_scratch *scratch, struct kl__carver *c, int64_t n_row, int64_t n_k, int64_t n_v,
                     enum kl__sixteen sixteen)
{
    if (sixteen)
        carve_integers(&scratch->x16, c, n_row, n_k, sixteen);
    scratch->q = kl__carve(c, (size_t)n_row * (size_t)n_k, sizeof(float));
    scratch->scores = kl__carve(c, (size_t)whole_panels(n_row) * KL__ATTENTION_BLOCK, sizeof(float));
    scratch->kv = kl__carve(c, (sixteen ? 1 : KL__ATTENTION_BLOCK) * ((size_t)n_k + (size_t)n_v), sizeof(float));
    scratch->sum = kl__carve(c, sixteen ? 0 : KL__KEY_PANELS_SUM, sizeof(float));
    scratch->keep = kl__carve(c, (size_t)n_row, sizeof(float));
    scratch->to = kl__carve(c, (size_t)n_row, sizeof(int32_t));
    for (int level = 0; level < KL__FLASH_LEVELS; level++)
        kl__flash_carve_part(&scratch->part[level], c, n_row, n_v);
}

/* ------------------------------------------------------------------------------------------------------ integers -- */

/* From so many rows on, keys meet panels of queries; fewer meet panels of keys. */
enum { ROWS_OF_A_PANEL = 16 };

static void make_panels(const struct kl__kernels *k, int16_t *to, const int16_t *rows, int64_t n, int64_t n_row)
{
    for (int64_t i = 0; i < n_row; i += KL__PANEL)
        k->bf16_panel((uint16_t *)to + i * n, rows + i * n, n * (int64_t)sizeof *rows, n, NULL);
}

void kl__flash_begin(const struct kl__flash_block *b, struct kl__flash_scratch *x)
{
    if (!b->kv->sixteen)
        return;
    int64_t n_k = b->kv->n_k, even = kl__i16_even(n_k), rows = whole_panels(b->n_row);
    for (int64_t r = 0; r < b->n_row; r++)
        b->k->i16_row(x->x16.q + r * even, &x->x16.q_scale[r], x->q + r * n_k, n_k, even);
    memset(x->x16.q + b->n_row * even, 0, (size_t)((rows - b->n_row) * even) * sizeof *x->x16.q);
    memset(x->x16.q_scale + b->n_row, 0, (size_t)(rows - b->n_row) * sizeof(float));
    if (b->n_row >= ROWS_OF_A_PANEL)
        make_panels(b->k, x->x16.panel, x->x16.q, even, rows);
}

static struct kl__i16_block read_block(const struct kl__flash_block *b, struct kl__flash_scratch *x, int64_t first,
                                       int64_t n)
{
    const struct kl__kv *kv = b->kv;
    struct kl__i16_block block;
    if (kv->sixteen == KL__SIXTEEN_BLOCKS) {
        int64_t i = (first - kv->origin) / KL__I16_BLOCK;
        kl__i16_carve_block(&block, &(struct kl__carver){.base = kv->block + i * kv->block_bytes}, kv->n_k, kv->n_v);
        return block;
    }
    kl__kv_integers(b->k, kv, &x->x16.rows, first, n, x->kv);
    return (struct kl__i16_block){.k = x->x16.rows, .v_scale = x->x16.rows.scale};
}

/* scores [n_row][KL__ATTENTION_BLOCK]. */
static void score_integers(const struct kl__flash_block *b, struct kl__flash_scratch *x,
                           const struct kl__i16_block *block, int64_t n)
{
    const struct kl__flash_integers *x16 = &x->x16;
    bool turned = b->n_row >= ROWS_OF_A_PANEL;
    int64_t even = kl__i16_even(b->kv->n_k);
    struct kl__i16_product p = {.x_pitch = even, .panel_numbers = even * KL__PANEL, .n_pair = even / 2};
    if (turned) {
        p.c = x16->turned;
        p.x = block->k.row;
        p.x_scale = block->k.scale;
        p.panel = x16->panel;
        p.panel_scale = x16->q_scale;
        p.m = n;
        p.n = whole_panels(b->n_row);
    } else {
        make_panels(b->k, x16->keys, block->k.row, even, KL__I16_BLOCK);
        p.c = x->scores;
        p.x = x16->q;
        p.x_scale = x16->q_scale;
        p.panel = x16->keys;
        p.panel_scale = block->k.scale;
        p.m = b->n_row;
        p.n = n;
    }
    p.c_pitch = KL__ATTENTION_BLOCK;
    kl__i16_multiply(b->k, &p);
    if (turned)
        b->k->i16_turn(x->scores, x16->turned, whole_panels(b->n_row));
}

/* Rows of the cache that the work behind this block begins with. */
struct next {
    int64_t first, n;
};

/* acc [m][n_v] <- keep acc + weights . values.  Meanwhile the next rows are fetched, some beside each panel. */
static void mix_integers(const struct kl__flash_block *b, const struct kl__flash_scratch *x, float *acc,
                         const struct kl__i16_block *block, struct next next, int64_t n, int64_t m)
{
    const struct kl__flash_integers *x16 = &x->x16;
    int64_t n_v = b->kv->n_v;
    struct kl__i16_product p = {.c_pitch = n_v,
                                .keep = x->keep,
                                .x = x16->w,
                                .x_pitch = KL__I16_BLOCK,
                                .x_scale = x16->w_scale,
                                .n_pair = (n + 1) / 2,
                                .m = m};
    for (int64_t j = 0; j < n_v; j += KL__PANEL) {
        p.c = acc + j;
        p.n = smaller(n_v - j, KL__PANEL);
        p.panel = block->v ? block->v + j * KL__I16_BLOCK : x16->woven;
        if (!block->v)
            b->k->i16_weave(x16->woven, block->k.row + j, block->k.n, p.n);
        int64_t done = next.n * j / n_v, end = next.n * (j + p.n) / n_v;
        kl__kv_fetch(b->kv, next.first + done, end - done);
        kl__i16_multiply(b->k, &p);
    }
}

/* Scores, online softmax and weighted values of the m rows from `blind` on. */
static void attend_integers(const struct kl__flash_block *b, struct kl__flash_scratch *x, struct kl__flash_part *part,
                            int64_t first, int64_t n, int64_t blind, int64_t m)
{
    const struct kl__kernels *k = b->k;
    struct kl__i16_block block = read_block(b, x, first, n);
    score_integers(b, x, &block, n);
    float *scores = x->scores + blind * KL__ATTENTION_BLOCK;
    k->attention_softmax(scores, part->max + blind, part->sum + blind, x->keep, x->to + blind, b->scale, m);
    for (int64_t r = 0; r < m; r++)
        k->i16_weights(x->x16.w + r * KL__I16_BLOCK, &x->x16.w_scale[r], scores + r * KL__ATTENTION_BLOCK,
                       block.v_scale, x->to[blind + r]);
    struct next next = {first + n, 0};
    if (b->kv->sixteen == KL__SIXTEEN_ROWS)
        next.n = smaller(b->seq.n_key - next.first, KL__I16_BLOCK);
    mix_integers(b, x, part->acc + blind * b->kv->n_v, &block, next, n, m);
}

/* -------------------------------------------------------------------------------------------------------- blocks -- */

/* One block of the cache: scores, online softmax, weighted values.  The rows that see nothing of it come first, and
 * are left out. */
static void attend_block(const struct kl__flash_block *b, struct kl__flash_scratch *x, struct kl__flash_part *part,
                         int64_t first, int64_t n)
{
    const struct kl__kernels *k = b->k;
    int64_t n_k = b->kv->n_k, n_v = b->kv->n_v, blind = 0;
    for (int64_t r = 0; r < b->n_row; r++) {
        int64_t seen = smaller(kl__flash_seen(&b->seq, b->first_row + r) - first, n);
        x->to[r] = seen > 0 ? (int32_t)seen : 0;
        blind += seen <= 0;
    }
    int64_t m = b->n_row - blind;
    if (b->kv->sixteen) {
        attend_integers(b, x, part, first, n, blind, m);
        return;
    }
    struct kl__kv_block kv = kl__kv_read(k, b->kv, first, n, x->kv);
    if (b->kv->panels)
        kl__key_panels_dot(k, x->scores, x->q + blind * n_k, b->kv->panels + (first - b->kv->origin) * n_k, x->sum, m,
                           n, n_k);
    else
        k->attention_dot(x->scores, KL__ATTENTION_BLOCK, x->q + blind * n_k, n_k, kv.k, kv.k_pitch, m, n, n_k);
    k->attention_softmax(x->scores, part->max + blind, part->sum + blind, x->keep, x->to + blind, b->scale, m);
    k->attention_mix(part->acc + blind * n_v, n_v, x->keep, x->scores, KL__ATTENTION_BLOCK, 1, kv.v, kv.v_pitch, NULL,
                     x->to + blind, m, n, n_v);
}

static void attend_blocks(const struct kl__flash_block *b, struct kl__flash_scratch *x, int64_t first, int64_t end)
{
    struct kl__flash_part *part = &x->part[0];
    for (int64_t r = 0; r < b->n_row; r++) {
        part->max[r] = -INFINITY;
        part->sum[r] = 0;
    }
    memset(part->acc, 0, (size_t)(b->n_row * b->kv->n_v) * sizeof(float));
    for (int64_t s = first; s < end; s += KL__ATTENTION_BLOCK)
        attend_block(b, x, part, s, smaller(end - s, KL__ATTENTION_BLOCK));
}

void kl__flash_attend(const struct kl__flash_block *b, struct kl__flash_scratch *x, int level, int64_t first)
{
    int64_t end = kl__flash_seen(&b->seq, b->first_row + b->n_row - 1), span = kl__flash_span(level);
    end = end - first > span ? first + span : end;
    if (level == 0) {
        attend_blocks(b, x, first, end);
        return;
    }
    /* At least one piece, so that a part that sees nothing is cleared. */
    x->part[level].fresh = true;
    int64_t s = first;
    do {
        kl__flash_attend(b, x, level - 1, s);
        kl__flash_merge(&x->part[level], &x->part[level - 1], b->n_row, b->kv->n_v);
        s += kl__flash_span(level - 1);
    } while (s < end);
}

/* Rows of `from` that saw nothing (sum 0) change nothing; NaN sums go through. */
static void merge_row(struct kl__flash_part *into, const struct kl__flash_part *from, int64_t r, int64_t n_v)
{
    if (from->sum[r] == 0)
        return;
    float max = into->max[r] > from->max[r] ? into->max[r] : from->max[r];
    float a = into->sum[r] == 0 ? 0 : expf(into->max[r] - max), b = expf(from->max[r] - max);
    into->max[r] = max;
    into->sum[r] = a * into->sum[r] + b * from->sum[r];
    float *to = into->acc + r * n_v;
    const float *add = from->acc + r * n_v;
    for (int64_t d = 0; d < n_v; d++)
        to[d] = a * to[d] + b * add[d];
}

void kl__flash_merge(struct kl__flash_part *into, struct kl__flash_part *from, int64_t n_row, int64_t n_v)
{
    if (into->fresh) {
        struct kl__flash_part memory = *into;
        *into = *from;
        *from = memory;
        into->fresh = false;
        return;
    }
    for (int64_t r = 0; r < n_row; r++)
        merge_row(into, from, r, n_v);
}

void kl__flash_copy(struct kl__flash_part *to, const struct kl__flash_part *from, int64_t n_row, int64_t n_v)
{
    memcpy(to->max, from->max, (size_t)n_row * sizeof(float));
    memcpy(to->sum, from->sum, (size_t)n_row * sizeof(float));
    memcpy(to->acc, from->acc, (size_t)(n_row * n_v) * sizeof(float));
    to->fresh = false;
}

void kl__flash_gather(const struct kl__kernels *k, float *rows, kl_tensor x, int64_t token, int64_t head, int64_t group,
                      int64_t first_row, int64_t n_row)
{
    int64_t n = x.dim[2];
    for (int64_t r = first_row; r < first_row + n_row; r++, rows += n) {
        const void *from = kl__head_row(x, token + r / group, head + r % group);
        if (x.dtype == KL_F32)
            memcpy(rows, from, (size_t)n * sizeof(float));
        else
            k->f32_of_bf16(rows, from, n);
    }
}

void kl__flash_finish(const struct kl__flash_block *b, struct kl__flash_part *part, kl_tensor o, kl_tensor lse,
                      int64_t token, int64_t head)
{
    int64_t n = b->kv->n_v, group = b->seq.group;
    for (int64_t r = 0; r < b->n_row; r++) {
        int64_t t = token + (b->first_row + r) / group, h = head + (b->first_row + r) % group;
        float *acc = part->acc + r * n, divisor = part->sum[r] == 0 ? 0 : 1 / part->sum[r];
        void *to = kl__head_row(o, t, h);
        float *row = kl__begin_row(o.dtype, to, acc);
        for (int64_t d = 0; d < n; d++)
            row[d] = acc[d] * divisor;
        kl__end_row(b->k, o.dtype, to, n, row);
        if (kl__present(lse))
            ((float *)kl__row(lse, t))[h] = part->max[r] + logf(part->sum[r]);
    }
}
