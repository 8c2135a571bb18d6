#include "golden/golden.h"

void golden_rope(const golden_run *r)
{
    kl_rope_args a = {
        .x = golden_half(r, "x"),
        .position = golden_int64s(r, "position", NULL),
        .n_rot = (int)golden_number(r->c, "n_rot", 0),
        .base = (float)golden_number(r->c, "base", 0),
        .interleaved = golden_number(r->c, "interleaved", 0) != 0,
    };
    a.work = kt_work(kl_rope_workspace(r->be, &a));
    KT_OK(kl_rope(r->be, &a, KT_ERR));
    golden_expect(r, "x_out", a.x, 1, GOLDEN_FORWARD);

    kl_rope_bwd_args b = a;
    b.x = golden_half(r, "d_x_out");
    b.work = kt_work(kl_rope_bwd_workspace(r->be, &b));
    KT_OK(kl_rope_bwd(r->be, &b, KT_ERR));
    golden_expect(r, "d_x", b.x, 1, GOLDEN_BACKWARD);
}
