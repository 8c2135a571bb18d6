#include "golden/golden.h"

void golden_embedding(const golden_run *r)
{
    kl_embedding_args a = {
        .y = golden_half_output(r, "y"),
        .table = golden_half(r, "table"),
        .id = golden_input(r, "id"),
    };
    a.work = kt_work(kl_embedding_workspace(r->be, &a));
    KT_OK(kl_embedding(r->be, &a, KT_ERR));
    golden_expect(r, "y", a.y, 1, 0);

    kl_embedding_bwd_args b = {.fwd = a, .d_y = golden_half(r, "d_y"), .d_table = golden_sum(r, "d_table")};
    b.work = kt_work(kl_embedding_bwd_workspace(r->be, &b));
    for (int times = 1; times <= 2; times++) {
        KT_OK(kl_embedding_bwd(r->be, &b, KT_ERR));
        golden_expect(r, "d_table", b.d_table, times, GOLDEN_BACKWARD);
    }
}
