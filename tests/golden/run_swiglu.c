#include "golden/golden.h"

void golden_swiglu(const golden_run *r)
{
    kl_swiglu_args a = {
        .y = golden_half_output(r, "y"),
        .gate = golden_half(r, "gate"),
        .up = golden_half(r, "up"),
    };
    a.work = kt_work(kl_swiglu_workspace(r->be, &a));
    KT_OK(kl_swiglu(r->be, &a, KT_ERR));
    golden_expect(r, "y", a.y, 1, GOLDEN_FORWARD);

    kl_swiglu_bwd_args b = {
        .fwd = a,
        .d_y = golden_half(r, "d_y"),
        .d_gate = golden_output(r, "d_gate"),
        .d_up = golden_output(r, "d_up"),
    };
    b.work = kt_work(kl_swiglu_bwd_workspace(r->be, &b));
    KT_OK(kl_swiglu_bwd(r->be, &b, KT_ERR));
    golden_expect(r, "d_gate", b.d_gate, 1, GOLDEN_BACKWARD);
    golden_expect(r, "d_up", b.d_up, 1, GOLDEN_BACKWARD);
}
