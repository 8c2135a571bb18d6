#include "golden/golden.h"

void golden_rmsnorm(const golden_run *r)
{
    kl_rmsnorm_args a = {
        .y = golden_half_output(r, "y"),
        .x = golden_half(r, "x"),
        .w = golden_half(r, "w"),
        .z = golden_half(r, "z"),
        .act = (kl_activation)golden_number(r->c, "act", 0),
        .eps = (float)golden_number(r->c, "eps", 0),
    };
    a.work = kt_work(kl_rmsnorm_workspace(r->be, &a));
    KT_OK(kl_rmsnorm(r->be, &a, KT_ERR));
    golden_expect(r, "y", a.y, 1, GOLDEN_FORWARD);

    kl_rmsnorm_bwd_args b = {
        .fwd = a,
        .d_y = golden_half(r, "d_y"),
        .d_x = golden_output(r, "d_x"),
        .d_w = golden_sum(r, "d_w"),
        .d_z = golden_output(r, "d_z"),
    };
    b.work = kt_work(kl_rmsnorm_bwd_workspace(r->be, &b));
    for (int times = 1; times <= 2; times++) {
        KT_OK(kl_rmsnorm_bwd(r->be, &b, KT_ERR));
        golden_expect(r, "d_x", b.d_x, 1, GOLDEN_BACKWARD);
        golden_expect(r, "d_w", b.d_w, times, GOLDEN_BACKWARD);
        golden_expect(r, "d_z", b.d_z, 1, GOLDEN_BACKWARD);
    }
}
