#include "cpu/latent.h"

#include "cpu/key_panels.h"

#include <math.h>
#include <string.h>

static kl_attention_args as_attention(const kl_mla_args *a)
{
    kl_tensor cache = a->cache;
    int64_t n_row = a->paging.table ? cache.dim[1] : 0, n_k = cache.dim[cache.n_dim - 1];
    kl_attention_args x = {.o = a->o,
                           .lse = a->lse,
                           .q = a->q,
                           .k = a->paging.table ? kl_view4(cache.data, cache.dtype, cache.dim[0], n_row, 1, n_k)
                                                : kl_view3(cache.data, cache.dtype, cache.dim[0], 1, n_k),
                           .scale = a->scale != 0 ? a->scale : 1 / sqrtf((float)a->q.dim[2]),
                           .causal = a->causal,
                           .cu_q = a->cu_q,
                           .cu_k = a->cu_k,
                           .n_seq = a->n_seq,
                           .paging = a->paging};
    x.k.pitch = kl__pitch(cache);
    x.v = x.k;
    return x;
}

struct kl__latent kl__latent_of(const kl_backend *be, const kl_mla_args *args)
{
    kl_attention_args as = as_attention(args);
    struct kl__latent x = {.k = kl__cpu_kernels(be),
                           .attention = kl__attention_of(&as),
                           .w_uk = args->w_uk,
                           .w_uv = args->w_uv,
                           .n_head = args->w_uk.dim[0],
                           .n_nope = args->w_uk.dim[1],
                           .n_rope = args->q.dim[2] - args->w_uk.dim[1],
                           .n_latent = args->w_uk.dim[2],
                           .n_v = args->w_uv.dim[1],
                           .packed = args->packed,
                           .form = args->form};
    x.attention.kv.n_k = x.n_latent + x.n_rope; /* numbers, whatever elements they are stored as */
    x.attention.kv.n_v = x.n_latent;
    x.attention.kv.sixteen = x.packed ? KL__SIXTEEN_ROWS : KL__SIXTEEN_NO;
    struct kl__carver head = {0};
    kl__i16_carve_weights(&(struct kl__i16_weights){0}, &head, x.n_nope, x.n_v, x.n_latent);
    x.packed_bytes = (int64_t)(head.bytes + KL_ALIGN - 1) / KL_ALIGN * KL_ALIGN;
    return x;
}

struct kl__i16_weights kl__latent_packed(const struct kl__latent *x, int64_t head)
{
    struct kl__carver c = {.base = (char *)(uintptr_t)x->packed + head * x->packed_bytes};
    struct kl__i16_weights w;
    kl__i16_carve_weights(&w, &c, x->n_nope, x->n_v, x->n_latent);
    return w;
}

/* Multiply-adds of both forms.  Absorbed: two products with the weights per query, rows of n_latent + n_rope and
 * n_latent columns per pair.  Expanded: the same products per row of the cache, narrower rows per pair. */
bool kl__latent_absorbed(const struct kl__latent *x, int64_t n)
{
    if (x->form != KL_MLA_AUTO)
        return x->form == KL_MLA_ABSORBED;
    struct kl__flash_seq s = kl__attention_seq(&x->attention, n);
    double n_q = (double)s.n_query, n_k = (double)s.n_key, product = (double)(x->n_latent * (x->n_nope + x->n_v));
    double pairs = s.causal && n_q <= n_k ? n_q * (n_k - n_q) + n_q * (n_q + 1) / 2 : n_q * n_k;
    double absorbed = n_q * product + pairs * (double)(2 * x->n_latent + x->n_rope);
    double expanded = n_k * product + pairs * (double)(x->n_nope + x->n_rope + x->n_v);
    return absorbed < expanded;
}

const float *kl__latent_weight(const struct kl__latent *x, kl_tensor w, int64_t head, int64_t first, int64_t n,
                               float *scratch)
{
    size_t at = (size_t)(first * x->n_latent);
    const char *from = (const char *)kl__row(w, head) + at * kl_dtype_bytes(w.dtype);
    if (w.dtype == KL_F32)
        return (const float *)(const void *)from;
    x->k->f32_of_bf16(scratch, (const uint16_t *)(const void *)from, n * x->n_latent);
    return scratch;
}

void kl__latent_carve(struct kl__latent_scratch *s, struct kl__carver *c, const struct kl__latent *x)
{
    size_t row = (size_t)x->attention.kv.n_k;
    s->k = kl__carve(c, KL__ATTENTION_BLOCK * (size_t)kl__latent_key(x), sizeof(float));
    if (x->packed) {
        s->latent = kl__carve(c, row, sizeof(float));
        kl__i16_carve_rows(&s->rows, c, x->n_latent);
        kl__i16_carve_rows(&s->v_rows, c, x->n_v);
        s->v = kl__carve(c, KL__I16_BLOCK * (size_t)x->n_v, sizeof(float));
        return;
    }
    s->latent = kl__carve(c, KL__ATTENTION_BLOCK * row, sizeof(float));
    s->weight = kl__carve(c, KL__LATENT_ROWS * (size_t)x->n_latent, sizeof(float));
}

struct kl__slab kl__slab_size(const struct kl__latent *x, int64_t seq, int64_t n_copy)
{
    /* Enough heads at a time to keep threads busy over a short cache, and not much more memory than that. */
    static const int64_t bytes = 8 << 20;
    int64_t n_key = kl__attention_seq(&x->attention, seq).n_key;
    struct kl__slab s = {.seq = seq, .n_row = n_key < KL__FLASH_SPAN_1 ? n_key : KL__FLASH_SPAN_1};
    s.n_row = (s.n_row + KL__ATTENTION_BLOCK - 1) / KL__ATTENTION_BLOCK * KL__ATTENTION_BLOCK;
    int64_t per_row = n_copy * (kl__latent_key(x) + x->n_v) * (int64_t)sizeof(float);
    if (x->packed) {
        struct kl__carver block = {0};
        kl__i16_carve_block(&(struct kl__i16_block){0}, &block, kl__latent_key(x), x->n_v);
        s.block_bytes = (int64_t)block.bytes;
        per_row = s.block_bytes / KL__I16_BLOCK;
    }
    int64_t per_head = per_row * s.n_row;
    int64_t fit = per_head > 0 ? bytes / per_head : x->n_head;
    s.n_head = fit < 1 ? 1 : fit < x->n_head ? fit : x->n_head;
    s.reserve = s.n_head * s.n_row;
    if (s.n_head < x->n_head && s.reserve < bytes / per_row)
        s.reserve = bytes / per_row;
    return s;
}

/* to[n][columns] with a pitch = latents . rows of w[head]. */
static void project(const struct kl__latent *x, float *to, int64_t pitch, const struct kl__kv_block *latent, int64_t n,
                    kl_tensor w, int64_t head, float *scratch)
{
    int64_t n_out = w.dim[1];
    for (int64_t d = 0; d < n_out; d += KL__LATENT_ROWS) {
        int64_t rows = n_out - d < KL__LATENT_ROWS ? n_out - d : KL__LATENT_ROWS;
        const float *weight = kl__latent_weight(x, w, head, d, rows, scratch);
        x->k->attention_dot(to + d, pitch, latent->k, latent->k_pitch, weight, x->n_latent, n, rows, x->n_latent);
    }
}

/* The same with packed weights: c = rows . panels. */
static void project_integers(const struct kl__latent *x, float *c, int64_t pitch, const struct kl__i16_rows *rows,
                             int64_t n, const int16_t *panel, const float *scale, int64_t n_out)
{
    kl__i16_multiply(x->k, &(struct kl__i16_product){.c = c,
                                                     .c_pitch = pitch,
                                                     .x = rows->row,
                                                     .x_pitch = rows->n,
                                                     .x_scale = rows->scale,
                                                     .panel = panel,
                                                     .panel_numbers = rows->n * KL__PANEL,
                                                     .panel_scale = scale,
                                                     .n_pair = rows->n / 2,
                                                     .m = n,
                                                     .n = n_out});
}

static void expand_integers(const struct kl__latent *x, const struct kl__slab *s, int64_t i, int64_t block, int64_t n,
                            struct kl__latent_scratch *scratch)
{
    int64_t n_k = kl__latent_key(x), per_head = s->n_row / KL__I16_BLOCK, first = s->first + block * KL__I16_BLOCK;
    struct kl__kv cache = kl__attention_kv(&x->attention, s->seq, 0);
    struct kl__i16_weights w = kl__latent_packed(x, s->first_head + i);
    for (int64_t r = 0; r < n; r++) {
        const float *row = kl__kv_row(x->k, &cache, first + r, scratch->latent);
        x->k->i16_row(scratch->rows.row + r * scratch->rows.n, &scratch->rows.scale[r], row, x->n_latent,
                      scratch->rows.n);
        memcpy(scratch->k + r * n_k + x->n_nope, row + x->n_latent, (size_t)x->n_rope * sizeof *row);
    }
    project_integers(x, scratch->k, n_k, &scratch->rows, n, w.expand, w.expand_scale, x->n_nope);
    project_integers(x, scratch->v, x->n_v, &scratch->rows, n, w.value, w.value_scale, x->n_v);
    struct kl__i16_rows *v = &scratch->v_rows;
    struct kl__i16_block to;
    kl__i16_carve_block(&to, &(struct kl__carver){.base = s->block + (i * per_head + block) * s->block_bytes}, n_k,
                        x->n_v);
    for (int64_t r = 0; r < n; r++) {
        x->k->i16_row(to.k.row + r * to.k.n, &to.k.scale[r], scratch->k + r * n_k, n_k, to.k.n);
        x->k->i16_row(v->row + r * v->n, &v->scale[r], scratch->v + r * x->n_v, x->n_v, v->n);
    }
    if (n < KL__I16_BLOCK) {
        kl__i16_clear_rows(&to.k, n);
        kl__i16_clear_rows(v, n);
    }
    x->k->i16_weave(to.v, v->row, v->n, x->n_v);
    memcpy(to.v_scale, v->scale, KL__I16_BLOCK * sizeof *v->scale);
}

void kl__slab_expand(const struct kl__latent *x, const struct kl__slab *s, int64_t i, int64_t block,
                     struct kl__latent_scratch *scratch)
{
    int64_t at = block * KL__ATTENTION_BLOCK, n_k = kl__latent_key(x);
    int64_t n = s->n - at < KL__ATTENTION_BLOCK ? s->n - at : KL__ATTENTION_BLOCK;
    if (x->packed) {
        expand_integers(x, s, i, block, n, scratch);
        return;
    }
    struct kl__kv cache = kl__attention_kv(&x->attention, s->seq, 0);
    struct kl__kv_block latent = kl__kv_read(x->k, &cache, s->first + at, n, scratch->latent);
    float *to = kl__slab_keys(x, s, s->k, i) + at * n_k, *v = kl__slab_values(x, s, s->v, i) + at * x->n_v;
    float *k = s->panels ? scratch->k : to;
    project(x, k, n_k, &latent, n, x->w_uk, s->first_head + i, scratch->weight);
    project(x, v, x->n_v, &latent, n, x->w_uv, s->first_head + i, scratch->weight);
    for (int64_t r = 0; r < n; r++)
        memcpy(k + r * n_k + x->n_nope, latent.k + r * latent.k_pitch + x->n_latent, (size_t)x->n_rope * sizeof *k);
    if (s->panels)
        kl__key_panels_make(x->k, to, k, n_k, n, n_k);
}

struct kl__kv kl__slab_kv(const struct kl__latent *x, const struct kl__slab *s, int64_t i)
{
    int64_t bytes = sizeof(float);
    if (x->packed)
        return (struct kl__kv){.block = s->block + i * (s->n_row / KL__I16_BLOCK) * s->block_bytes,
                               .block_bytes = s->block_bytes,
                               .sixteen = KL__SIXTEEN_BLOCKS,
                               .origin = s->first,
                               .n_k = kl__latent_key(x),
                               .n_v = x->n_v,
                               .dtype = KL_F32};
    const float *keys = kl__slab_keys(x, s, s->k, i);
    return (struct kl__kv){.k = s->panels ? NULL : (const char *)keys,
                           .panels = s->panels ? keys : NULL,
                           .v = (const char *)kl__slab_values(x, s, s->v, i),
                           .k_row = kl__latent_key(x) * bytes,
                           .v_row = x->n_v * bytes,
                           .origin = s->first,
                           .n_k = kl__latent_key(x),
                           .n_v = x->n_v,
                           .dtype = KL_F32};
}
