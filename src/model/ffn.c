/* Feed-forward layers: SwiGLU, dense or as routed experts beside a shared one. */
#include "model/trace.h"
#include "model/walk.h"

/* *hidden = silu(gate n) * up n. */
static kl_status hide(struct kl__walk *w, kl_tensor *hidden, const struct kl__weight *gate,
                      const struct kl__weight *up)
{
    kl_tensor g = kl__stage(w, gate->n_out), u = kl__stage(w, up->n_out);
    struct kl__weight_product p[2] = {{g, gate, false}, {u, up, false}};
    *hidden = g;
    KL_TRY(kl__walk_linears(w, KL__PART_feedforward, p, 2, kl__walk_rows(w, w->n)));
    return kl__walk_swiglu(w, &(kl_swiglu_args){.y = g, .gate = g, .up = u});
}

/* h += down hidden. */
static kl_status show(struct kl__walk *w, kl_tensor hidden, const struct kl__weight *down)
{
    return kl__walk_linear(w, KL__PART_feedforward, kl__walk_rows(w, w->h), hidden, down, true);
}

kl_status kl__ffn_dense_forward(struct kl__walk *w, int layer)
{
    const struct kl__layer *l = &w->net->layer[layer];
    kl_tensor hidden;
    KL_TRY(hide(w, &hidden, &l->w[KL__FFN_GATE], &l->w[KL__FFN_UP]));
    return show(w, hidden, &l->w[KL__FFN_DOWN]);
}

/* The router works in f32: near-ties decide which experts run. */
static kl_status route(struct kl__walk *w, const struct kl__layer *l, kl_tensor id, kl_tensor weight)
{
    const kl_config *c = &w->net->c;
    kl_tensor logits = kl__stage(w, c->n_expert);
    KL_TRY(kl__walk_linear(w, KL__PART_router, logits, kl__walk_rows(w, w->n), &l->w[KL__ROUTER], false));
    return kl__walk_router(w, &(kl_router_args){
                                  .id = id,
                                  .weight = weight,
                                  .logits = logits,
                                  .bias = kl__tensor_of_weight(&l->w[KL__ROUTER_BIAS]),
                                  .score = c->router_softmax ? KL_SCORE_SOFTMAX : KL_SCORE_SIGMOID,
                                  .topk = c->n_expert_used,
                                  .n_group = c->n_group > 1 ? c->n_group : 0,
                                  .topk_group = c->topk_group,
                                  .renormalise = c->router_renormalise && c->n_expert_used > 1,
                                  .weight_biased = c->router_weight_biased,
                                  .scale = c->router_scale,
                              });
}

/* The first half of the shared expert is computed while routed ones are still being read. */
kl_status kl__ffn_moe_forward(struct kl__walk *w, int layer)
{
    const struct kl__layer *l = &w->net->layer[layer];
    const kl_config *c = &w->net->c;
    kl_tensor id = kl__stage(w, c->n_expert_used), weight = kl__stage(w, c->n_expert_used);
    id.dtype = KL_I32;
    KL_TRY(route(w, l, id, weight));
    KL_TRY(kl__walk_want_experts(w, id));
    kl_tensor hidden;
    kl_status status = KL_OK;
    if (c->n_expert_shared)
        status = hide(w, &hidden, &l->w[KL__SHARED_GATE], &l->w[KL__SHARED_UP]);
    if (status != KL_OK) {
        kl__walk_leave_experts(w);
        return status;
    }
    for (int i = 0; i < w->batch->n_seq; i++)
        if (w->batch->seq[i].trace)
            kl__trace_route(w->batch->seq[i].trace, &w->batch->seq[i], layer, id.data, weight.data);
    KL_TRY(kl__walk_experts(w, id, weight, l));
    return c->n_expert_shared ? show(w, hidden, &l->w[KL__SHARED_DOWN]) : KL_OK;
}
