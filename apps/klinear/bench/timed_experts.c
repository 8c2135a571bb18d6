/* Routing: which experts a token meets, and what they do with it.  Per token and head as in timed_layers.c. */
#include "timed_rows.h"

/* ---- router: 8 of 256 by sigmoid scores; per token, whatever the width */

enum { N_ROUTED = 256, CHOSEN = 8 };

static struct ka_cost router_cost(const struct ka_stage *s, const struct ka_case *c)
{
    (void)s;
    double T = (double)c->T;
    bool backward = c->pass == KA_BACKWARD;
    return (struct ka_cost){.tokens = c->T,
                            .flops = T * (backward ? 2 * N_ROUTED : 3 * N_ROUTED),
                            .bytes = T * 4 * (N_ROUTED * (backward ? 2 : 1) + 2 * CHOSEN)};
}

static size_t router_prepare(struct ka_stage *s, const struct ka_case *c, const kl_backend *be, union ka_call *call)
{
    s->n_expert = N_ROUTED;
    kl_router_args a = {
        .logits = ka_stage_rows(s, KA_NORMAL, 3, KL_F32, c->rows, c->T, N_ROUTED),
        .bias = kl_view1(ka_stage_data(s, KA_WEIGHT, 10, KL_F32, 1, N_ROUTED), KL_F32, N_ROUTED),
        .topk = CHOSEN,
        .renormalise = true,
    };
    if (c->pass == KA_FORWARD) {
        a.id = ka_stage_rows(s, KA_ZERO, 32, KL_I32, c->rows, c->T, CHOSEN);
        a.weight = gradient(s, c, 33, CHOSEN);
        call->router = a;
        return s->failed ? 0 : kl_router_workspace(be, &call->router);
    }
    a.id = ka_stage_rows(s, KA_EXPERT, 0, KL_I32, c->rows, c->T, CHOSEN);
    call->router_bwd = (kl_router_bwd_args){
        .fwd = a,
        .d_weight = ka_stage_rows(s, KA_NORMAL, 0, KL_F32, c->rows, c->T, CHOSEN),
        .d_logits = gradient(s, c, 34, N_ROUTED),
    };
    return s->failed ? 0 : kl_router_bwd_workspace(be, &call->router_bwd);
}

static kl_status router_run(const struct ka_case *c, const kl_backend *be, union ka_call *call, kl_workspace work,
                            kl_error *err)
{
    if (c->pass == KA_BACKWARD) {
        call->router_bwd.work = work;
        return kl_router_bwd(be, &call->router_bwd, err);
    }
    call->router.work = work;
    return kl_router(be, &call->router, err);
}

const struct ka_timed ka_timed_router = {
    .name = "router",
    PASSES,
    .cost = router_cost,
    .prepare = router_prepare,
    .run = router_run,
};

/* ---- routed experts: 2 of 16 for each token, each a quarter of the width */

enum { N_EXPERT = 16, TOP = 2 };

static struct ka_cost experts_cost(const struct ka_stage *s, const struct ka_case *c)
{
    double T = (double)c->T, W = (double)width(s), F = W / 4, e = (double)kl_dtype_bytes(c->dtype);
    double forward = T * TOP * 2 * 3 * W * F, all_weights = N_EXPERT * 3 * W * F;
    if (c->pass == KA_FORWARD)
        return (struct ka_cost){.tokens = c->T, .flops = forward, .bytes = T * W * (e + 4) + all_weights * e};
    return (struct ka_cost){.tokens = c->T, .flops = 2 * forward, .bytes = T * W * (e + 8) + all_weights * (e + 8)};
}

static kl_tensor expert_weights(struct ka_stage *s, kl_dtype dtype, enum ka_data data, int copy, int64_t n, int64_t m)
{
    return kl_view3(ka_stage_data(s, data, copy, dtype, N_EXPERT * n, m), dtype, N_EXPERT, n, m);
}

static size_t experts_prepare(struct ka_stage *s, const struct ka_case *c, const kl_backend *be, union ka_call *call)
{
    int64_t W = width(s), F = W >= 4 ? W / 4 : 1;
    s->n_expert = N_EXPERT;
    kl_experts_args a = {
        .x = rows(s, c, KA_NORMAL, 0, W),
        .id = ka_stage_rows(s, KA_EXPERT, 0, KL_I32, c->rows, c->T, TOP),
        .weight = ka_stage_rows(s, KA_ROUTE, 0, KL_F32, c->rows, c->T, TOP),
        .w_gate = expert_weights(s, c->dtype, KA_WEIGHT, 6, F, W),
        .w_up = expert_weights(s, c->dtype, KA_WEIGHT, 7, F, W),
        .w_down = expert_weights(s, c->dtype, KA_WEIGHT, 8, W, F),
    };
    if (c->pass == KA_FORWARD) {
        a.y = gradient(s, c, 0, W);
        call->experts = a;
        return s->failed ? 0 : kl_experts_workspace(be, &call->experts);
    }
    call->experts_bwd = (kl_experts_bwd_args){
        .fwd = a,
        .d_y = ka_stage_rows(s, KA_NORMAL, 1, KL_F32, c->rows, c->T, W),
        .d_x = gradient(s, c, 2, W),
        .d_weight = gradient(s, c, 24, TOP),
        .d_w_gate = expert_weights(s, KL_F32, KA_ZERO, 25, F, W),
        .d_w_up = expert_weights(s, KL_F32, KA_ZERO, 26, F, W),
        .d_w_down = expert_weights(s, KL_F32, KA_ZERO, 27, W, F),
    };
    return s->failed ? 0 : kl_experts_bwd_workspace(be, &call->experts_bwd);
}

static kl_status experts_run(const struct ka_case *c, const kl_backend *be, union ka_call *call, kl_workspace work,
                             kl_error *err)
{
    if (c->pass == KA_BACKWARD) {
        call->experts_bwd.work = work;
        return kl_experts_bwd(be, &call->experts_bwd, err);
    }
    call->experts.work = work;
    return kl_experts(be, &call->experts, err);
}

const struct ka_timed ka_timed_experts = {
    .name = "experts",
    PASSES,
    .cost = experts_cost,
    .prepare = experts_prepare,
    .run = experts_run,
};
