#include "golden/golden.h"

void golden_short_conv(const golden_run *r)
{
    kl_short_conv_args a = {
        .y = golden_half_output(r, "y"),
        .x = golden_half(r, "x"),
        .w = golden_half(r, "w"),
        .bias = golden_half(r, "bias"),
        .tail_in = golden_input(r, "tail_in"),
        .tail_out = golden_output(r, "tail_out"),
        .act = (kl_activation)golden_number(r->c, "act", 0),
    };
    a.cu_seqlens = golden_int64s(r, "cu_seqlens", &a.n_seq);
    a.n_seq -= a.cu_seqlens != NULL;
    a.work = kt_work(kl_short_conv_workspace(r->be, &a));
    KT_OK(kl_short_conv(r->be, &a, KT_ERR));
    golden_expect(r, "y", a.y, 1, GOLDEN_FORWARD);
    golden_expect(r, "tail_out", a.tail_out, 1, 0);

    kl_short_conv_bwd_args b = {
        .fwd = a,
        .d_y = golden_half(r, "d_y"),
        .d_x = golden_output(r, "d_x"),
        .d_w = golden_sum(r, "d_w"),
        .d_bias = golden_sum(r, "d_bias"),
        .d_tail_in = golden_output(r, "d_tail_in"),
    };
    b.work = kt_work(kl_short_conv_bwd_workspace(r->be, &b));
    for (int times = 1; times <= 2; times++) {
        KT_OK(kl_short_conv_bwd(r->be, &b, KT_ERR));
        golden_expect(r, "d_x", b.d_x, 1, GOLDEN_BACKWARD);
        golden_expect(r, "d_w", b.d_w, times, GOLDEN_BACKWARD);
        golden_expect(r, "d_bias", b.d_bias, times, GOLDEN_BACKWARD);
        golden_expect(r, "d_tail_in", b.d_tail_in, 1, GOLDEN_BACKWARD);
    }
}
