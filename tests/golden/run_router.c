#include "golden/golden.h"

void golden_router(const golden_run *r)
{
    kl_router_args a = {
        .id = golden_output(r, "id"),
        .weight = golden_output(r, "weight"),
        .logits = golden_input(r, "logits"),
        .bias = golden_input(r, "bias"),
        .score = (kl_score)golden_number(r->c, "score", 0),
        .topk = (int)golden_number(r->c, "topk", 0),
        .n_group = (int)golden_number(r->c, "n_group", 0),
        .topk_group = (int)golden_number(r->c, "topk_group", 0),
        .renormalise = golden_number(r->c, "renormalise", 0) != 0,
        .scale = (float)golden_number(r->c, "scale", 0),
    };
    a.work = kt_work(kl_router_workspace(r->be, &a));
    KT_OK(kl_router(r->be, &a, KT_ERR));
    golden_expect(r, "id", a.id, 1, 0);
    golden_expect(r, "weight", a.weight, 1, GOLDEN_FORWARD);

    kl_router_bwd_args b = {.fwd = a, .d_weight = golden_input(r, "d_weight")};
    b.d_logits = golden_output(r, "d_logits");
    b.work = kt_work(kl_router_bwd_workspace(r->be, &b));
    KT_OK(kl_router_bwd(r->be, &b, KT_ERR));
    golden_expect(r, "d_logits", b.d_logits, 1, GOLDEN_BACKWARD);
}
