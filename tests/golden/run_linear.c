#include "golden/golden.h"

void golden_linear(const golden_run *r)
{
    kl_linear_args a = {
        .x = golden_half(r, "x"),
        .w = golden_half(r, "w"),
        .b = golden_half(r, "b"),
        .add = golden_number(r->c, "add", 0) != 0,
    };
    a.y = a.add ? golden_input(r, "y_before") : golden_half_output(r, "y");
    a.work = kt_work(kl_linear_workspace(r->be, &a));
    KT_OK(kl_linear(r->be, &a, KT_ERR));
    golden_expect(r, "y", a.y, 1, GOLDEN_FORWARD);

    kl_linear_bwd_args b = {
        .fwd = a,
        .d_y = golden_half(r, "d_y"),
        .d_x = golden_output(r, "d_x"),
        .d_w = golden_sum(r, "d_w"),
        .d_b = golden_sum(r, "d_b"),
    };
    b.work = kt_work(kl_linear_bwd_workspace(r->be, &b));
    for (int times = 1; times <= 2; times++) {
        b.add_dx = times == 2;
        KT_OK(kl_linear_bwd(r->be, &b, KT_ERR));
        golden_expect(r, "d_x", b.d_x, times, GOLDEN_BACKWARD);
        golden_expect(r, "d_w", b.d_w, times, GOLDEN_BACKWARD);
        golden_expect(r, "d_b", b.d_b, times, GOLDEN_BACKWARD);
    }
}
