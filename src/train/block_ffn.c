/* Feed-forward blocks: SwiGLU, dense or as routed experts beside a shared one. */
#include "base/error.h"
#include "tensor/tensor.h"
#include "train/pass.h"

/* The three matrices of a SwiGLU. */
struct swiglu {
    enum kl__param gate, up, down;
};
static const struct swiglu dense = {KL__FFN_GATE, KL__FFN_UP, KL__FFN_DOWN};
static const struct swiglu shared = {KL__SHARED_GATE, KL__SHARED_UP, KL__SHARED_DOWN};

struct record {
    struct kl__inputs x;
    kl_tensor hidden;     /* [T][F] of the dense or shared part */
    kl_tensor id, weight; /* [T][topk] */
};

/* out += down(silu(gate) up), gate and up being columns of what is projected already. */
static kl_status swiglu_forward(struct kl__pass *p, int layer, const struct swiglu *s, const struct record *r,
                                kl_tensor out)
{
    kl_swiglu_args a = {.y = r->hidden,
                        .gate = kl__pass_columns(p, r->x.wide, s->gate, layer),
                        .up = kl__pass_columns(p, r->x.wide, s->up, layer)};
    KL_TRY(kl__run_swiglu(&p->run, a));
    return kl__pass_linear(p, out, r->hidden, s->down, layer, true);
}

static kl_status swiglu_backward(struct kl__pass *p, int layer, const struct swiglu *s, const struct record *r,
                                 kl_tensor d_wide, kl_tensor d)
{
    struct kl__carver mark = p->temp;
    kl_tensor d_hidden = kl__pass_temp(p, r->hidden.dim[1]);
    KL_TRY(kl__pass_linear_bwd(p, d_hidden, d, r->hidden, s->down, layer, false));
    kl_swiglu_bwd_args a = {.fwd = {.gate = kl__pass_columns(p, r->x.wide, s->gate, layer),
                                    .up = kl__pass_columns(p, r->x.wide, s->up, layer)},
                            .d_y = d_hidden,
                            .d_gate = kl__pass_columns(p, d_wide, s->gate, layer),
                            .d_up = kl__pass_columns(p, d_wide, s->up, layer)};
    KL_TRY(kl__run_swiglu_bwd(&p->run, a));
    p->temp = mark;
    return KL_OK;
}

/* --------------------------------------------------------------------------------------------------------- dense -- */

static struct record lay_dense(struct kl__pass *p, int layer)
{
    struct record r = {.x = kl__pass_lay_inputs(p, KL__GROUP_FFN, layer)};
    r.hidden = kl__pass_keep(p, p->c->n_ff);
    return r;
}

static kl_status dense_forward(struct kl__pass *p, int layer, kl_tensor out, kl_tensor in)
{
    struct record r = lay_dense(p, layer);
    KL_TRY(kl__pass_inputs(p, &r.x, KL__GROUP_FFN, layer, in));
    kl__run_rows(&p->run, out, in, false);
    return swiglu_forward(p, layer, &dense, &r, out);
}

static kl_status dense_backward(struct kl__pass *p, int layer, kl_tensor in, kl_tensor d)
{
    struct record r = lay_dense(p, layer);
    kl_tensor d_wide = kl__pass_temp(p, r.x.wide.dim[1]);
    KL_TRY(swiglu_backward(p, layer, &dense, &r, d_wide, d));
    return kl__pass_inputs_bwd(p, &r.x, KL__GROUP_FFN, layer, in, d_wide, (kl_tensor){0}, d);
}

const struct kl__block kl__block_dense = {dense_forward, dense_backward};

/* ------------------------------------------------------------------------------------------------------- experts -- */

static struct record lay_moe(struct kl__pass *p, int layer)
{
    struct record r = {.x = kl__pass_lay_inputs(p, KL__GROUP_FFN, layer)};
    r.id = kl__pass_keep(p, p->c->n_expert_used);
    r.id.dtype = KL_I32;
    r.weight = kl__pass_keep(p, p->c->n_expert_used);
    if (p->c->n_expert_shared)
        r.hidden = kl__pass_keep(p, kl__width_shared(p->c));
    return r;
}

static kl_router_args router(const struct kl__pass *p, int layer, const struct record *r)
{
    const kl_config *c = p->c;
    return (kl_router_args){.id = r->id,
                            .weight = r->weight,
                            .logits = kl__pass_columns(p, r->x.wide, KL__ROUTER, layer),
                            .bias = kl__pass_value(p, KL__ROUTER_BIAS, layer),
                            .score = c->router_softmax ? KL_SCORE_SOFTMAX : KL_SCORE_SIGMOID,
                            .topk = c->n_expert_used,
                            .n_group = c->n_group > 1 ? c->n_group : 0,
                            .topk_group = c->topk_group,
                            .renormalise = c->router_renormalise && c->n_expert_used > 1,
                            .scale = c->router_scale};
}

static kl_experts_args experts(const struct kl__pass *p, int layer, const struct record *r)
{
    return (kl_experts_args){.x = r->x.n,
                             .id = r->id,
                             .weight = r->weight,
                             .w_gate = kl__pass_value(p, KL__EXPERT_GATE, layer),
                             .w_up = kl__pass_value(p, KL__EXPERT_UP, layer),
                             .w_down = kl__pass_value(p, KL__EXPERT_DOWN, layer),
                             .add = true};
}

static void count_load(const struct kl__pass *p, int layer, const struct record *r)
{
    int64_t *load = p->load && !p->run.measure ? p->load + (int64_t)layer * p->c->n_expert : NULL;
    for (int64_t t = 0; load && t < r->id.dim[0]; t++)
        for (int64_t j = 0; j < r->id.dim[1]; j++)
            load[((const int32_t *)kl__row(r->id, t))[j]]++;
}

static kl_status moe_forward(struct kl__pass *p, int layer, kl_tensor out, kl_tensor in)
{
    struct record r = lay_moe(p, layer);
    KL_TRY(kl__pass_inputs(p, &r.x, KL__GROUP_FFN, layer, in));
    KL_TRY(kl__run_router(&p->run, router(p, layer, &r)));
    count_load(p, layer, &r);
    kl__run_rows(&p->run, out, in, false);
    kl_experts_args a = experts(p, layer, &r);
    a.y = out;
    KL_TRY(kl__run_experts(&p->run, a));
    return p->c->n_expert_shared ? swiglu_forward(p, layer, &shared, &r, out) : KL_OK;
}

static kl_status moe_backward(struct kl__pass *p, int layer, kl_tensor in, kl_tensor d)
{
    struct record r = lay_moe(p, layer);
    kl_tensor d_wide = kl__pass_temp(p, r.x.wide.dim[1]), d_n = kl__pass_temp(p, p->c->n_embd);
    kl_tensor d_weight = kl__pass_temp(p, r.weight.dim[1]);
    kl_experts_bwd_args a = {.fwd = experts(p, layer, &r),
                             .d_y = d,
                             .d_x = d_n,
                             .d_weight = d_weight,
                             .d_w_gate = kl__pass_gradient(p, KL__EXPERT_GATE, layer),
                             .d_w_up = kl__pass_gradient(p, KL__EXPERT_UP, layer),
                             .d_w_down = kl__pass_gradient(p, KL__EXPERT_DOWN, layer)};
    KL_TRY(kl__run_experts_bwd(&p->run, a));
    kl_router_bwd_args b = {
        .fwd = router(p, layer, &r), .d_weight = d_weight, .d_logits = kl__pass_columns(p, d_wide, KL__ROUTER, layer)};
    KL_TRY(kl__run_router_bwd(&p->run, b));
    if (p->c->n_expert_shared)
        KL_TRY(swiglu_backward(p, layer, &shared, &r, d_wide, d));
    return kl__pass_inputs_bwd(p, &r.x, KL__GROUP_FFN, layer, in, d_wide, d_n, d);
}

const struct kl__block kl__block_moe = {moe_forward, moe_backward};
