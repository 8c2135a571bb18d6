/* What kl_mla and kl_mla_bwd refuse, and the workspace of shapes that nobody could hold. */
#include "support/mla_case.h"

#include <math.h>

static void refusals(void **state)
{
    (void)state;
    kl_error err;
    kt_rng r = {37};
    const kl_backend *be = kt_backend("ref", 1);
    static const int64_t cu_q[] = {0, 2, 4}, cu_k[] = {0, 5, 9};
    struct mla_problem p =
        mla_make(&r, (struct mla_problem){
                         .H = 2, .DN = 6, .DR = 2, .R = 5, .DV = 3, .n_seq = 2, .cu_q = cu_q, .cu_k = cu_k});
    float *o = kt_zeros(4 * 2 * 3), *lse = kt_zeros(8);
    const kl_mla_args good = mla_args(&p, KL_MLA_AUTO, o, lse);
    kl_mla_args a = good;
    KT_ASSERT_FAILED(kl_mla(be, NULL, &err), KL_ERR_ARGUMENT, &err, "kl_mla", "args is NULL");
    KT_ASSERT_FAILED(kl_mla(be, &a, &err), KL_ERR_WORKSPACE, &err, "workspace is 0 bytes");
    a.cache.dim[1] = 8;
    KT_ASSERT_FAILED(kl_mla(be, &a, &err), KL_ERR_SHAPE, &err, "cache is [9][8]", "[n][7]");
    a = good;
    a.w_uk.dim[1] = 9;
    KT_ASSERT_FAILED(kl_mla(be, &a, &err), KL_ERR_SHAPE, &err, "w_uk makes 9 columns", "the 8 of q");
    a = good;
    a.w_uv.dim[2] = 4;
    KT_ASSERT_FAILED(kl_mla(be, &a, &err), KL_ERR_SHAPE, &err, "w_uv is [2][3][4]", "[2][n][5]");
    a = good;
    a.w_uk.dim[0] = 1;
    KT_ASSERT_FAILED(kl_mla(be, &a, &err), KL_ERR_SHAPE, &err, "w_uk is [1][6][5]", "[2][n][n]");
    a = good;
    a.form = (kl_mla_form)7;
    KT_ASSERT_FAILED(kl_mla(be, &a, &err), KL_ERR_ARGUMENT, &err, "form is 7");
    a = good;
    a.scale = INFINITY;
    KT_ASSERT_FAILED(kl_mla(be, &a, &err), KL_ERR_ARGUMENT, &err, "scale is inf");
    a = good;
    a.o.data = p.q;
    KT_ASSERT_FAILED(kl_mla(be, &a, &err), KL_ERR_OVERLAP, &err, "o overlaps q");
    a = good;
    a.cu_k = cu_q;
    KT_ASSERT_FAILED(kl_mla(be, &a, &err), KL_ERR_ARGUMENT, &err, "cu_k[2] is 4", "0 to 9");
    int32_t table[] = {0, 3, 1, 0};
    a = good;
    a.cache = kl_view3(kt_zeros(3 * 4 * 7), KL_F32, 3, 4, 7);
    a.paging = (kl_paging){table, 2, 4, NULL};
    KT_ASSERT_FAILED(kl_mla(be, &a, &err), KL_ERR_ARGUMENT, &err, "paging.table[0][1] is 3", "0 .. 2");
    table[1] = -2;
    KT_ASSERT_FAILED(kl_mla(be, &a, &err), KL_ERR_ARGUMENT, &err, "paging.table[0][1] is -2");
    kl_mla_bwd_args b = {.fwd = a, .d_o = kl_view3(kt_zeros(4 * 2 * 3), KL_F32, 4, 2, 3)};
    KT_ASSERT_FAILED(kl_mla_bwd(be, &b, &err), KL_ERR_UNSUPPORTED, &err, "kl_mla_bwd", "paging");
    b.fwd = good;
    b.d_w_uk = kl_view3(p.w_uk, KL_F32, 2, 6, 5);
    KT_ASSERT_FAILED(kl_mla_bwd(be, &b, &err), KL_ERR_OVERLAP, &err, "d_w_uk overlaps w_uk");
    b.d_w_uk = kl_view3(kt_zeros(2 * 6 * 5), KL_BF16, 2, 6, 5);
    KT_ASSERT_FAILED(kl_mla_bwd(be, &b, &err), KL_ERR_DTYPE, &err, "d_w_uk is bf16");
    b.fwd.lse = (kl_tensor){0};
    KT_ASSERT_FAILED(kl_mla_bwd(be, &b, &err), KL_ERR_SHAPE, &err, "lse is absent");
    for (int i = 0; i < 4 * 2 * 3; i++)
        assert_true(o[i] == 0);
    kt_free_all();
}

/* What a call would need is known at once, however many tokens it claims to have; no tensor is looked at. */
static void workspace_of_any_shape(void **state)
{
    (void)state;
    int64_t n = (int64_t)1 << 38;
    char *address = (char *)((uintptr_t)1 << 20);
    for (kl_mla_form form = KL_MLA_AUTO; form <= KL_MLA_EXPANDED; form++) {
        kl_mla_args a = {.q = kl_view3(address, KL_F32, n, 1, 3), .form = form};
        a.o = kl_view3(address + ((int64_t)1 << 44), KL_F32, n, 1, 2);
        a.cache = kl_view2(address + ((int64_t)1 << 45), KL_F32, n, 5);
        a.w_uk = kl_view3(address + ((int64_t)1 << 46), KL_F32, 1, 2, 4);
        a.w_uv = a.w_uk;
        assert_true(kl_mla_workspace(kt_backend("ref", 3), &a) > 0);
        a.q.dim[0] = a.o.dim[0] = n - 100;
        assert_true(kl_mla_workspace(kt_backend("ref", 3), &a) > 0);
    }
    kt_free_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refusals),
        cmocka_unit_test(workspace_of_any_shape),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_free_backends();
    return failed;
}
