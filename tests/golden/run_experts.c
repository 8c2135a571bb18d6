#include "golden/golden.h"

void golden_experts(const golden_run *r)
{
    kl_experts_args a = {
        .x = golden_half(r, "x"),
        .id = golden_input(r, "id"),
        .weight = golden_input(r, "weight"),
        .w_gate = golden_half(r, "w_gate"),
        .w_up = golden_half(r, "w_up"),
        .w_down = golden_half(r, "w_down"),
        .add = golden_number(r->c, "add", 0) != 0,
    };
    a.y = a.add ? golden_input(r, "y_before") : golden_output(r, "y");
    a.work = kt_work(kl_experts_workspace(r->be, &a));
    KT_OK(kl_experts(r->be, &a, KT_ERR));
    golden_expect(r, "y", a.y, 1, GOLDEN_FORWARD);

    kl_experts_bwd_args b = {
        .fwd = a,
        .d_y = golden_input(r, "d_y"),
        .d_x = golden_output(r, "d_x"),
        .d_weight = golden_output(r, "d_weight"),
        .d_w_gate = golden_sum(r, "d_w_gate"),
        .d_w_up = golden_sum(r, "d_w_up"),
        .d_w_down = golden_sum(r, "d_w_down"),
    };
    b.work = kt_work(kl_experts_bwd_workspace(r->be, &b));
    for (int times = 1; times <= 2; times++) {
        KT_OK(kl_experts_bwd(r->be, &b, KT_ERR));
        golden_expect(r, "d_x", b.d_x, 1, GOLDEN_BACKWARD);
        golden_expect(r, "d_weight", b.d_weight, 1, GOLDEN_BACKWARD);
        golden_expect(r, "d_w_gate", b.d_w_gate, times, GOLDEN_BACKWARD);
        golden_expect(r, "d_w_up", b.d_w_up, times, GOLDEN_BACKWARD);
        golden_expect(r, "d_w_down", b.d_w_down, times, GOLDEN_BACKWARD);
    }
}
