#include "golden/golden.h"

void golden_l2norm(const golden_run *r)
{
    kl_l2norm_args a = {
        .y = golden_half_output(r, "y"),
        .x = golden_half(r, "x"),
        .eps = (float)golden_number(r->c, "eps", 0),
    };
    a.work = kt_work(kl_l2norm_workspace(r->be, &a));
    KT_OK(kl_l2norm(r->be, &a, KT_ERR));
    golden_expect(r, "y", a.y, 1, GOLDEN_FORWARD);

    kl_l2norm_bwd_args b = {.fwd = a, .d_y = golden_half(r, "d_y"), .d_x = golden_output(r, "d_x")};
    b.work = kt_work(kl_l2norm_bwd_workspace(r->be, &b));
    KT_OK(kl_l2norm_bwd(r->be, &b, KT_ERR));
    golden_expect(r, "d_x", b.d_x, 1, GOLDEN_BACKWARD);
}
