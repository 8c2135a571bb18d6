#include "model/walk.h"

#include "model/shelf.h"
#include "tensor/tensor.h"

kl_tensor kl__stage(struct kl__walk *w, int64_t columns)
{
    int64_t n = w->batch->n_token;
    return kl_view2(kl__carve(&w->stage, (size_t)n * (size_t)columns, sizeof(float)), KL_F32, n, columns);
}

int64_t *kl__stage_positions(struct kl__walk *w)
{
    return kl__carve(&w->stage, (size_t)w->batch->n_token, sizeof(int64_t));
}

struct kl__lists kl__stage_lists(struct kl__walk *w)
{
    size_t n = (size_t)w->batch->n_token;
    return (struct kl__lists){
        .cu_q = kl__carve(&w->stage, n + 1, sizeof(int64_t)),
        .cu_k = kl__carve(&w->stage, n + 1, sizeof(int64_t)),
        .page = kl__carve(&w->stage, n, sizeof(const int32_t *)),
    };
}

kl_tensor kl__walk_rows(const struct kl__walk *w, float *rows)
{
    return kl_view2(rows, KL_F32, w->batch->n_token, w->net->c.n_embd);
}

kl_tensor kl__tensor_of_weight(const struct kl__weight *w)
{
    if (!w->data)
        return (kl_tensor){0};
    return kl_view1((void *)(uintptr_t)w->data, KL_F32, w->n_out);
}

/* True when the walk only measures; then `bytes` have been taken note of. */
static bool measured(struct kl__walk *w, size_t bytes)
{
    if (w->measure && bytes > *w->measure)
        *w->measure = bytes;
    return w->measure != NULL;
}

/* ------------------------------------------------------------------------------------------------------ watching -- */

void kl__walk_took(const struct kl__walk *w, enum kl__step_part part, struct kl__effort effort, double from)
{
    kl__watch_took(w->spent, w->net->c.n_layer, w->layer, part, effort, from);
}

static kl_status took(const struct kl__walk *w, enum kl__step_part part, struct kl__effort effort, double from,
                      kl_status status)
{
    kl__walk_took(w, part, effort, from);
    return status;
}

/* `n_matrix` matrices of a weight, `n_row` rows of activations in all. */
static struct kl__effort of_weight(const struct kl__weight *w, int64_t n_matrix, int64_t n_row)
{
    size_t row = 0;
    kl__type_bytes(w->type, w->n_in, &row);
    return (struct kl__effort){(double)n_matrix * (double)w->n_out * (double)row,
                               2 * (double)n_row * (double)w->n_out * (double)w->n_in};
}

static struct kl__effort sum(struct kl__effort a, struct kl__effort b)
{
    return (struct kl__effort){a.bytes + b.bytes, a.flops + b.flops};
}

/* Activations that are read or written, `n` numbers for each row. */
static struct kl__effort of_rows(kl_tensor x, int64_t n)
{
    return (struct kl__effort){4 * (double)x.dim[0] * (double)n, 0};
}

/* Experts that some token has chosen. */
static int64_t count_busy(const struct kl__walk *w, kl_tensor id)
{
    int64_t n = 0;
    for (int e = 0; e < w->net->c.n_expert; e++) {
        bool busy = false;
        for (int64_t t = 0; t < id.dim[0] && !busy; t++)
            for (int64_t j = 0; j < id.dim[1]; j++)
                busy |= ((const int32_t *)kl__row(id, t))[j] == e;
        n += busy;
    }
    return n;
}

static struct kl__effort of_recurrence(const kl_kda_args *a)
{
    kl_tensor s = a->state_in;
    double size = (double)s.dim[1] * (double)s.dim[2] * (double)s.dim[3];
    return (struct kl__effort){8 * size, 7 * size * (double)a->o.dim[0]};
}

static struct kl__effort of_attention(const kl_mla_args *a)
{
    double n = (double)a->o.dim[0], length = (double)a->cu_k[a->n_seq], latent = (double)a->w_uk.dim[2];
    double rope = (double)(a->q.dim[2] - a->w_uk.dim[1]), heads = (double)a->w_uk.dim[0];
    double pairs = 0, wide = (double)(a->w_uk.dim[1] + a->w_uv.dim[1]);
    for (int64_t i = 0; i < a->n_seq; i++) {
        double n_q = (double)(a->cu_q[i + 1] - a->cu_q[i]), n_k = (double)(a->cu_k[i + 1] - a->cu_k[i]);
        pairs += n_q * (n_k - (n_q - 1) / 2);
    }
    bool absorbed = a->form == KL_MLA_ABSORBED;
    double products = 2 * heads * wide * latent * (absorbed ? n : length);
    double weights = heads * wide * latent * (double)kl_dtype_bytes(a->w_uk.dtype);
    bool blocks = a->cache.dtype == KL_Q8_0;
    double row = (latent + rope) * (blocks ? 34.0 / 32 : (double)kl_dtype_bytes(a->cache.dtype));
    return (struct kl__effort){weights + length * row,
                               products + 2 * heads * pairs * (absorbed ? 2 * latent + rope : wide + rope)};
}

/* ----------------------------------------------------------------------------------------------------- operators -- */

kl_status kl__walk_embedding(struct kl__walk *w, kl_tensor id)
{
    const struct kl__weight *table = &w->net->top.w[KL__EMBED];
    double from = kl__watch_clock(w->spent);
    kl_status status = kl__weight_rows(w->be, kl__walk_rows(w, w->h), id, table, w->err);
    return took(w, KL__PART_embedding, of_rows(id, w->net->c.n_embd), from, status);
}

kl_status kl__walk_linears(struct kl__walk *w, enum kl__step_part part, const struct kl__weight_product *p, int n,
                           kl_tensor x)
{
    if (w->measure && measured(w, kl__weight_linears_workspace(w->be, p, n, x.dim[0])))
        return KL_OK;
    double from = kl__watch_clock(w->spent);
    kl_status status = kl__weight_linears(w->be, p, n, x, w->work, w->err);
    struct kl__effort effort = {0, 0};
    for (int i = 0; w->spent && i < n; i++)
        effort = sum(effort, of_weight(p[i].w, 1, x.dim[0]));
    return took(w, part, effort, from, status);
}

kl_status kl__walk_linear(struct kl__walk *w, enum kl__step_part part, kl_tensor y, kl_tensor x,
                          const struct kl__weight *weight, bool add)
{
    struct kl__weight_product p = {y, weight, add};
    return kl__walk_linears(w, part, &p, 1, x);
}

/* Numbers that a stopped step has left may be anything. */
static kl_status check_experts(const struct kl__walk *w, kl_tensor id)
{
    for (int64_t t = 0; t < id.dim[0]; t++)
        for (int64_t j = 0; j < id.dim[1]; j++) {
            int32_t e = ((const int32_t *)kl__row(id, t))[j];
            if (e < 0 || e >= w->net->c.n_expert)
                return kl__fail(w->err, KL_ERR_NUMERIC, "layer %d chooses expert %d, expected 0 .. %d", w->layer,
                                (int)e, w->net->c.n_expert - 1);
        }
    return KL_OK;
}

kl_status kl__walk_want_experts(struct kl__walk *w, kl_tensor id)
{
    if (w->measure || !w->net->shelf)
        return KL_OK;
    KL_TRY(check_experts(w, id));
    w->n_taken = kl__shelf_take(w->net->shelf, w->layer, id, 0);
    return KL_OK;
}

void kl__walk_leave_experts(struct kl__walk *w)
{
    if (!w->measure && w->net->shelf)
        kl__shelf_done(w->net->shelf);
}

static kl_tensor rows_from(kl_tensor x, int64_t first, int64_t n)
{
    x.pitch = kl__pitch(x);
    x.data = kl__row(x, first);
    x.dim[0] = n;
    return x;
}

/* A few tokens, whose experts the shelf holds at once, and then the others: rows of a product do not depend on each
 * other. */
static kl_status shelved_experts(struct kl__walk *w, kl_tensor id, kl_tensor weight)
{
    struct kl__weight part[KL__SHELF_PARTS];
    kl_tensor h = kl__walk_rows(w, w->h), x = kl__walk_rows(w, w->n);
    kl_status status = KL_OK;
    for (int64_t t = 0, n = w->n_taken; t < id.dim[0] && status == KL_OK; t += n) {
        if (t > 0)
            n = kl__shelf_take(w->net->shelf, w->layer, id, t);
        status = kl__shelf_await(w->net->shelf, part, w->err);
        if (status == KL_OK)
            status = kl__weight_experts(w->be, rows_from(h, t, n), rows_from(x, t, n), rows_from(id, t, n),
                                        rows_from(weight, t, n), &part[0], &part[1], &part[2], true, w->work, w->err);
        kl__shelf_done(w->net->shelf);
    }
    return status;
}

kl_status kl__walk_experts(struct kl__walk *w, kl_tensor id, kl_tensor weight, const struct kl__layer *l)
{
    const struct kl__weight *gate = &l->w[KL__EXPERT_GATE], *up = &l->w[KL__EXPERT_UP], *down = &l->w[KL__EXPERT_DOWN];
    if (w->measure && measured(w, kl__weight_experts_workspace(w->be, gate, up, down, id.dim[0], id.dim[1])))
        return KL_OK;
    double from = kl__watch_clock(w->spent);
    kl_status status = w->net->shelf ? shelved_experts(w, id, weight)
                                     : kl__weight_experts(w->be, kl__walk_rows(w, w->h), kl__walk_rows(w, w->n), id,
                                                          weight, gate, up, down, true, w->work, w->err);
    if (!w->spent)
        return status;
    int64_t n_busy = count_busy(w, id), n_row = id.dim[0] * id.dim[1];
    struct kl__effort in = sum(of_weight(gate, n_busy, n_row), of_weight(up, n_busy, n_row));
    return took(w, KL__PART_experts, sum(in, of_weight(down, n_busy, n_row)), from, status);
}

kl_status kl__walk_norm(struct kl__walk *w, kl_tensor y, kl_tensor x, const struct kl__weight *weight, kl_tensor gate,
                        kl_activation act, float eps)
{
    kl_rmsnorm_args a = {
        .y = y, .x = x, .w = kl__tensor_of_weight(weight), .z = gate, .act = act, .eps = eps, .work = w->work};
    if (w->measure && measured(w, kl_rmsnorm_workspace(w->be, &a)))
        return KL_OK;
    double from = kl__watch_clock(w->spent);
    int64_t n = x.n_dim == 3 ? x.dim[1] * x.dim[2] : x.dim[1];
    return took(w, KL__PART_norm, of_rows(x, 2 * n), from, kl_rmsnorm(w->be, &a, w->err));
}

kl_status kl__walk_kda(struct kl__walk *w, kl_kda_args *a)
{
    a->work = w->work;
    if (w->measure && measured(w, kl_kda_workspace(w->be, a)))
        return KL_OK;
    double from = kl__watch_clock(w->spent);
    return took(w, KL__PART_recurrence, of_recurrence(a), from, kl_kda(w->be, a, w->err));
}

kl_status kl__walk_mla(struct kl__walk *w, kl_mla_args *a)
{
    a->work = w->work;
    if (w->measure && measured(w, kl_mla_workspace(w->be, a)))
        return KL_OK;
    double from = kl__watch_clock(w->spent);
    return took(w, KL__PART_attention, of_attention(a), from, kl_mla(w->be, a, w->err));
}

kl_status kl__walk_short_conv(struct kl__walk *w, kl_short_conv_args *a)
{
    a->work = w->work;
    if (w->measure && measured(w, kl_short_conv_workspace(w->be, a)))
        return KL_OK;
    double from = kl__watch_clock(w->spent);
    return took(w, KL__PART_convolution, of_rows(a->x, 2 * a->x.dim[1]), from, kl_short_conv(w->be, a, w->err));
}

kl_status kl__walk_rope(struct kl__walk *w, kl_rope_args *a)
{
    a->work = w->work;
    if (w->measure && measured(w, kl_rope_workspace(w->be, a)))
        return KL_OK;
    double from = kl__watch_clock(w->spent);
    return took(w, KL__PART_rotation, of_rows(a->x, 2 * a->x.dim[2]), from, kl_rope(w->be, a, w->err));
}

kl_status kl__walk_swiglu(struct kl__walk *w, kl_swiglu_args *a)
{
    a->work = w->work;
    if (w->measure && measured(w, kl_swiglu_workspace(w->be, a)))
        return KL_OK;
    double from = kl__watch_clock(w->spent);
    return took(w, KL__PART_feedforward, of_rows(a->y, 3 * a->y.dim[1]), from, kl_swiglu(w->be, a, w->err));
}

kl_status kl__walk_router(struct kl__walk *w, kl_router_args *a)
{
    a->work = w->work;
    if (w->measure && measured(w, kl_router_workspace(w->be, a)))
        return KL_OK;
    double from = kl__watch_clock(w->spent);
    return took(w, KL__PART_router, of_rows(a->logits, a->logits.dim[1]), from, kl_router(w->be, a, w->err));
}
