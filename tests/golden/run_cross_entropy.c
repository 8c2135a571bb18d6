#include "golden/golden.h"

void golden_cross_entropy(const golden_run *r)
{
    kl_cross_entropy_args a = {
        .loss = golden_output(r, "loss"),
        .lse = golden_output(r, "lse"),
        .logits = golden_half(r, "logits"),
        .label = golden_input(r, "label"),
    };
    a.work = kt_work(kl_cross_entropy_workspace(r->be, &a));
    KT_OK(kl_cross_entropy(r->be, &a, KT_ERR));
    golden_expect(r, "loss", a.loss, 1, GOLDEN_FORWARD);
    golden_expect(r, "lse", a.lse, 1, GOLDEN_FORWARD);

    kl_cross_entropy_bwd_args b = {
        .fwd = a, .d_loss = golden_input(r, "d_loss"), .d_logits = golden_output(r, "d_logits")};
    b.work = kt_work(kl_cross_entropy_bwd_workspace(r->be, &b));
    KT_OK(kl_cross_entropy_bwd(r->be, &b, KT_ERR));
    golden_expect(r, "d_logits", b.d_logits, 1, GOLDEN_BACKWARD);
}
