#include "model/weights.h"

#include "base/error.h"
#include "base/half.h"
#include "format/format.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Binding runs twice: first it only counts the memory (carver.base NULL), then it fills it. */
struct binding {
    struct kl__net *net;
    const struct kl__store *store;
    enum kl__naming naming;
    struct kl__carver carver;
    kl_error *err;
};

static bool counting(const struct binding *b)
{
    return !b->carver.base;
}

static kl_status need(const struct kl__stored **t, const struct binding *b, const char *name, int n_dim,
                      const int64_t *dim)
{
    KL_TRY(kl__store_need(t, b->store, name, n_dim, dim, b->err));
    if (!kl__type_info((*t)->type)->decode)
        return kl__fail(b->err, KL_ERR_UNSUPPORTED, "%s: tensor %s is %s, expected a type of numbers",
                        kl__shown_file(b->store, (*t)->file).text, name, kl__type_info((*t)->type)->name);
    return KL_OK;
}

static kl_status bind_matrix(struct binding *b, struct kl__weight *w, enum kl__param p, int layer, const int64_t dim[2])
{
    const struct kl__stored *t;
    KL_TRY(need(&t, b, kl__param_name(b->naming, p, layer, 0).text, 2, dim));
    *w = (struct kl__weight){.type = t->type, .n_matrix = 1, .n_out = dim[0], .n_in = dim[1], .data = t->data};
    return KL_OK;
}

/* ---------------------------------------------------------------------------------------- parameters kept in f32 -- */

static void be_f32(struct kl__weight *w, float *data, const int64_t dim[2], int n_dim)
{
    *w = (struct kl__weight){
        .type = KL__TYPE_F32, .n_matrix = 1, .n_out = dim[0], .n_in = n_dim == 2 ? dim[1] : 1, .data = data};
}

/* GGUF holds -exp(A_log). */
static kl_status logs_of(struct binding *b, const struct kl__stored *t, float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        if (!(x[i] <= 0))
            return kl__fail(b->err, KL_ERR_FORMAT, "%s: tensor %s holds %g at %lld, expected a number <= 0",
                            kl__shown_file(b->store, t->file).text, kl__shown(t->name).text, (double)x[i],
                            (long long)i);
        x[i] = logf(-x[i]);
    }
    return KL_OK;
}

/* `room` NULL: memory of its own. */
static kl_status bind_f32(struct binding *b, struct kl__weight *w, enum kl__param p, int layer, const int64_t dim[2],
                          int n_dim, float *room)
{
    const struct kl__stored *t;
    KL_TRY(need(&t, b, kl__param_name(b->naming, p, layer, 0).text, n_dim, dim));
    int64_t n = dim[0] * (n_dim == 2 ? dim[1] : 1);
    float *x = room ? room : kl__carve(&b->carver, (size_t)n, sizeof(float));
    if (counting(b))
        return KL_OK;
    kl__decode(t->type, x, t->data, n);
    be_f32(w, x, dim, n_dim);
    if (kl__param_info(p)->form == KL__FORM_A_LOG && b->naming == KL__NAMES_GGUF)
        return logs_of(b, t, x, n);
    return KL_OK;
}

/* Parameters of the three convolutions lie side by side, so that q, k and v pass through one of them. */
static kl_status bind_triple(struct binding *b, struct kl__layer *l, int layer, enum kl__param first)
{
    const kl_config *c = &b->net->c;
    if (!kl__param_present(c, first, layer))
        return KL_OK;
    int64_t dim[3][2], n[3];
    int n_dim = 0;
    for (int i = 0; i < 3; i++) {
        n_dim = kl__param_dims(c, first + (enum kl__param)i, layer, dim[i]);
        n[i] = dim[i][0] * (n_dim == 2 ? dim[i][1] : 1);
    }
    float *x = kl__carve(&b->carver, (size_t)(n[0] + n[1] + n[2]), sizeof(float));
    for (int i = 0; i < 3; i++) {
        float nothing;
        float *room = counting(b) ? &nothing : x + (i > 0 ? n[0] : 0) + (i > 1 ? n[1] : 0);
        KL_TRY(bind_f32(b, &l->w[first + (enum kl__param)i], first + (enum kl__param)i, layer, dim[i], n_dim, room));
    }
    return KL_OK;
}

/* ----------------------------------------------------------------------------------------------- the matrix kv_b -- */

/* Numbers of `type` as f32, or as bf16 where that loses nothing. */
struct halves {
    void *data;
    bool half;
};

static struct halves carve_halves(struct binding *b, enum kl__type type, int64_t n)
{
    bool half = type == KL__TYPE_BF16;
    return (struct halves){kl__carve(&b->carver, (size_t)n, half ? sizeof(uint16_t) : sizeof(float)), half};
}

static void put(struct halves to, int64_t i, float x)
{
    if (to.half)
        ((uint16_t *)to.data)[i] = kl__bf16_of_f32(x);
    else
        ((float *)to.data)[i] = x;
}

/* to[at(h, i)] for rows of one head, from a matrix [H][n_row][n_column], read row by row. */
static void copy_head_rows(struct halves to, const struct kl__stored *t, int64_t n_head, int64_t n_row,
                           int64_t n_column, int64_t head_rows, int64_t first_row, bool turn, float *row)
{
    const char *from = t->data;
    size_t bytes = t->bytes / (size_t)(n_head * n_row);
    for (int64_t h = 0; h < n_head; h++)
        for (int64_t i = 0; i < n_row; i++, from += bytes) {
            kl__decode(t->type, row, from, n_column);
            for (int64_t j = 0; j < n_column; j++)
                put(to,
                    turn ? (h * head_rows + first_row + j) * n_row + i : (h * head_rows + first_row + i) * n_column + j,
                    row[j]);
        }
}

static void view_kv_b(const kl_config *c, struct kl__layer *l, struct halves x)
{
    kl_dtype dtype = x.half ? KL_BF16 : KL_F32;
    int64_t rows = c->qk_nope + c->v_dim, r = c->kv_rank;
    l->w_uk = kl_view3(x.data, dtype, c->n_head, c->qk_nope, r);
    l->w_uv =
        kl_view3((char *)x.data + (size_t)(c->qk_nope * r) * kl_dtype_bytes(dtype), dtype, c->n_head, c->v_dim, r);
    l->w_uk.pitch = l->w_uv.pitch = rows * r;
}

/* GGUF: keys [H][R][DN], turned, and values [H][DV][R]. */
static kl_status bind_split_kv_b(struct binding *b, struct kl__layer *l, int layer)
{
    const kl_config *c = &b->net->c;
    char name[64];
    const struct kl__stored *k, *v;
    snprintf(name, sizeof name, "blk.%d.attn_k_b.weight", layer);
    KL_TRY(need(&k, b, name, 3, (int64_t[]){c->n_head, c->kv_rank, c->qk_nope}));
    snprintf(name, sizeof name, "blk.%d.attn_v_b.weight", layer);
    KL_TRY(need(&v, b, name, 3, (int64_t[]){c->n_head, c->v_dim, c->kv_rank}));
    int64_t rows = c->qk_nope + c->v_dim, r = c->kv_rank;
    l->w[KL__MLA_KV_B].type = k->type == KL__TYPE_F32 ? k->type : v->type;
    bool half = k->type == KL__TYPE_BF16 && v->type == KL__TYPE_BF16;
    struct halves x = carve_halves(b, half ? KL__TYPE_BF16 : KL__TYPE_F32, c->n_head * rows * r);
    float *row = kl__carve(&b->carver, (size_t)(r > c->qk_nope ? r : c->qk_nope), sizeof(float));
    if (counting(b))
        return KL_OK;
    copy_head_rows(x, k, c->n_head, r, c->qk_nope, rows, 0, true, row);
    copy_head_rows(x, v, c->n_head, c->v_dim, r, rows, c->qk_nope, false, row);
    view_kv_b(c, l, x);
    return KL_OK;
}

static kl_status bind_kv_b(struct binding *b, struct kl__layer *l, int layer, const int64_t dim[2])
{
    struct kl__param_name name = kl__param_name(b->naming, KL__MLA_KV_B, layer, 0);
    if (b->naming == KL__NAMES_GGUF && !kl__store_find(b->store, name.text))
        return bind_split_kv_b(b, l, layer);
    const struct kl__stored *t;
    KL_TRY(need(&t, b, name.text, 2, dim));
    l->w[KL__MLA_KV_B].type = t->type;
    struct halves x = carve_halves(b, t->type, dim[0] * dim[1]);
    float *row = kl__carve(&b->carver, (size_t)dim[1], sizeof(float));
    if (counting(b))
        return KL_OK;
    copy_head_rows(x, t, 1, dim[0], dim[1], dim[0], 0, false, row);
    view_kv_b(&b->net->c, l, x);
    return KL_OK;
}

/* --------------------------------------------------------------------------------------------------- the experts -- */

/* One tensor per expert: all of one type, at addresses of their own. */
static kl_status bind_each_expert(struct binding *b, struct kl__weight *w, enum kl__param p, int layer,
                                  const int64_t dim[2])
{
    int n = b->net->c.n_expert;
    const void **each = kl__carve(&b->carver, (size_t)n, sizeof *each);
    const struct kl__stored *t = NULL, *first = NULL;
    for (int e = 0; e < n; e++) {
        struct kl__param_name name = kl__param_name(b->naming, p, layer, e);
        KL_TRY(need(&t, b, name.text, 2, dim));
        if (!first)
            first = t;
        if (t->type != first->type)
            return kl__fail(b->err, KL_ERR_FORMAT, "%s: tensor %s is %s, expected the %s of expert 0",
                            kl__shown_file(b->store, t->file).text, name.text, kl__type_info(t->type)->name,
                            kl__type_info(first->type)->name);
        if (!counting(b))
            each[e] = t->data;
    }
    *w = (struct kl__weight){.type = first->type, .n_matrix = n, .n_out = dim[0], .n_in = dim[1], .each = each};
    return KL_OK;
}

static kl_status bind_experts(struct binding *b, struct kl__weight *w, enum kl__param p, int layer,
                              const int64_t dim[2])
{
    if (b->naming == KL__NAMES_HF)
        return bind_each_expert(b, w, p, layer, dim);
    const struct kl__stored *t;
    int64_t n = b->net->c.n_expert;
    KL_TRY(need(&t, b, kl__param_name(b->naming, p, layer, 0).text, 3, (int64_t[]){n, dim[0], dim[1]}));
    *w = (struct kl__weight){.type = t->type, .n_matrix = n, .n_out = dim[0], .n_in = dim[1], .data = t->data};
    return KL_OK;
}

/* ----------------------------------------------------------------------------------------------------- all of it -- */

static kl_status bind_param(struct binding *b, struct kl__layer *l, enum kl__param p, int layer)
{
    if (!kl__param_present(&b->net->c, p, layer))
        return KL_OK;
    int64_t dim[2];
    int n_dim = kl__param_dims(&b->net->c, p, layer, dim);
    switch (kl__param_info(p)->form) {
    case KL__FORM_MATRIX:
        return bind_matrix(b, &l->w[p], p, layer, dim);
    case KL__FORM_EXPERTS:
        return bind_experts(b, &l->w[p], p, layer, dim);
    case KL__FORM_KV_B:
        return bind_kv_b(b, l, layer, dim);
    default:
        return bind_f32(b, &l->w[p], p, layer, dim, n_dim, NULL);
    }
}

static bool in_a_triple(enum kl__param p)
{
    return p >= KL__CONV_Q && p <= KL__CONV_V_BIAS;
}

static kl_status bind_layer(struct binding *b, struct kl__layer *l, int layer)
{
    for (int p = 0; p < KL__N_PARAM; p++)
        if (!in_a_triple((enum kl__param)p))
            KL_TRY(bind_param(b, l, (enum kl__param)p, layer));
    KL_TRY(bind_triple(b, l, layer, KL__CONV_Q));
    return bind_triple(b, l, layer, KL__CONV_Q_BIAS);
}

static kl_status bind_all(struct binding *b)
{
    KL_TRY(bind_layer(b, &b->net->top, -1));
    for (int i = 0; i < b->net->c.n_layer; i++)
        KL_TRY(bind_layer(b, &b->net->layer[i], i));
    return KL_OK;
}

kl_status kl__weights_bind(struct kl__net *net, struct kl__bound *bound, const struct kl__store *store,
                           const kl_allocator *alloc, kl_error *err)
{
    *bound = (struct kl__bound){0};
    struct binding b = {.net = net, .store = store, .err = err};
    b.naming = strcmp(store->format, "gguf") == 0 ? KL__NAMES_GGUF : KL__NAMES_HF;
    KL_TRY(bind_all(&b));
    bound->bytes = b.carver.bytes + KL_ALIGN;
    bound->memory = kl__alloc(alloc, bound->bytes);
    if (!bound->memory)
        return kl__fail(err, KL_ERR_MEMORY, "no memory for %zu bytes of small parameters", bound->bytes);
    b.carver = (struct kl__carver){.base = bound->memory};
    kl_status status = bind_all(&b);
    if (status != KL_OK) {
        kl__release(alloc, bound->memory);
        *bound = (struct kl__bound){0};
    }
    return status;
}
