#include "model/walk.h"

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

kl_status kl__walk_linears(struct kl__walk *w, const struct kl__weight_product *p, int n, kl_tensor x)
{
    if (w->measure && measured(w, kl__weight_linears_workspace(w->be, p, n, x.dim[0])))
        return KL_OK;
    return kl__weight_linears(w->be, p, n, x, w->work, w->err);
}

kl_status kl__walk_linear(struct kl__walk *w, kl_tensor y, kl_tensor x, const struct kl__weight *weight, bool add)
{
    if (w->measure && measured(w, kl__weight_linear_workspace(w->be, weight, x.dim[0])))
        return KL_OK;
    return kl__weight_linear(w->be, y, x, weight, add, w->work, w->err);
}

kl_status kl__walk_experts(struct kl__walk *w, kl_tensor id, kl_tensor weight, const struct kl__layer *l)
{
    const struct kl__weight *gate = &l->w[KL__EXPERT_GATE], *up = &l->w[KL__EXPERT_UP], *down = &l->w[KL__EXPERT_DOWN];
    if (w->measure && measured(w, kl__weight_experts_workspace(w->be, gate, up, down, id.dim[0], id.dim[1])))
        return KL_OK;
    return kl__weight_experts(w->be, kl__walk_rows(w, w->h), kl__walk_rows(w, w->n), id, weight, gate, up, down, true,
                              w->work, w->err);
}

kl_status kl__walk_norm(struct kl__walk *w, kl_tensor y, kl_tensor x, const struct kl__weight *weight, kl_tensor gate,
                        kl_activation act, float eps)
{
    kl_rmsnorm_args a = {
        .y = y, .x = x, .w = kl__tensor_of_weight(weight), .z = gate, .act = act, .eps = eps, .work = w->work};
    if (w->measure && measured(w, kl_rmsnorm_workspace(w->be, &a)))
        return KL_OK;
    return kl_rmsnorm(w->be, &a, w->err);
}

kl_status kl__walk_kda(struct kl__walk *w, kl_kda_args *a)
{
    a->work = w->work;
    if (w->measure && measured(w, kl_kda_workspace(w->be, a)))
        return KL_OK;
    return kl_kda(w->be, a, w->err);
}

kl_status kl__walk_mla(struct kl__walk *w, kl_mla_args *a)
{
    a->work = w->work;
    if (w->measure && measured(w, kl_mla_workspace(w->be, a)))
        return KL_OK;
    return kl_mla(w->be, a, w->err);
}

kl_status kl__walk_short_conv(struct kl__walk *w, kl_short_conv_args *a)
{
    a->work = w->work;
    if (w->measure && measured(w, kl_short_conv_workspace(w->be, a)))
        return KL_OK;
    return kl_short_conv(w->be, a, w->err);
}

kl_status kl__walk_rope(struct kl__walk *w, kl_rope_args *a)
{
    a->work = w->work;
    if (w->measure && measured(w, kl_rope_workspace(w->be, a)))
        return KL_OK;
    return kl_rope(w->be, a, w->err);
}

kl_status kl__walk_swiglu(struct kl__walk *w, kl_swiglu_args *a)
{
    a->work = w->work;
    if (w->measure && measured(w, kl_swiglu_workspace(w->be, a)))
        return KL_OK;
    return kl_swiglu(w->be, a, w->err);
}

kl_status kl__walk_router(struct kl__walk *w, kl_router_args *a)
{
    a->work = w->work;
    if (w->measure && measured(w, kl_router_workspace(w->be, a)))
        return KL_OK;
    return kl_router(w->be, a, w->err);
}
