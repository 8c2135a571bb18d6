/* MLA over a cache in blocks of q8_0: the bits of an f32 cache that holds the decoded numbers, contiguous and in pages,
 * in both forms; and what is refused. */
#include "support/kt.h"
#include "tensor/quant/quant.h"

#include <string.h>

enum {
    H = 3,
    DN = 13,
    DR = 8,
    R = 56,
    DV = 11,
    T = 70,
    S = 300,
    PAGE = 64,
    N_PAGE = 7,
    ROW = R + DR,
    BYTES = ROW / 32 * 34
};

static kl_mla_args call(kt_rng *r)
{
    return (kl_mla_args){.q = kl_view3(kt_normals(r, T * H * (DN + DR), 1), KL_F32, T, H, DN + DR),
                         .w_uk = kl_view3(kt_normals(r, H * DN * R, 0.1F), KL_F32, H, DN, R),
                         .w_uv = kl_view3(kt_normals(r, H * DV * R, 0.1F), KL_F32, H, DV, R),
                         .causal = true};
}

static float *run(const kl_backend *be, kl_mla_args a)
{
    static const int64_t cu_q[] = {0, T}, cu_k[] = {0, S};
    float *o = kt_floats(T * H * DV);
    a.o = kl_view3(o, KL_F32, T, H, DV);
    a.cu_q = cu_q;
    a.cu_k = cu_k;
    a.n_seq = 1;
    a.work = kt_work(kl_mla_workspace(be, &a));
    KT_OK(kl_mla(be, &a, KT_ERR));
    return o;
}

static void bits_of_the_decoded_cache(void **state)
{
    (void)state;
    static const int32_t table[] = {6, 0, 3, 2, 5};
    kt_rng r = {1};
    kl_mla_args a = call(&r);
    float *row = kt_normals(&r, S * ROW, 1);
    char *blocks = kt_bytes(S * BYTES), *pool = kt_bytes(N_PAGE * PAGE * BYTES);
    KT_OK(kl__encode(KL__TYPE_Q8_0, blocks, row, S * ROW, KT_ERR));
    kl__decode(KL__TYPE_Q8_0, row, blocks, S * ROW);
    for (int s = 0; s < S; s++)
        memcpy(pool + (table[s / PAGE] * PAGE + s % PAGE) * BYTES, blocks + s * BYTES, BYTES);
    for (int l = 0; kt_level(l); l++)
        for (int form = KL_MLA_ABSORBED; form <= KL_MLA_EXPANDED; form++) {
            const kl_backend *be = kt_backend(kt_level(l), 2);
            a.form = (kl_mla_form)form;
            a.paging = (kl_paging){0};
            a.cache = kl_view2(row, KL_F32, S, ROW);
            float *want = run(be, a);
            a.cache = kl_view2(blocks, KL_Q8_0, S, BYTES);
            kt_assert_same_bits("contiguous", run(be, a), want, T * H * DV * sizeof *want);
            a.cache = kl_view3(pool, KL_Q8_0, N_PAGE, PAGE, BYTES);
            a.paging = (kl_paging){table, 5, PAGE, NULL};
            kt_assert_same_bits("paged", run(be, a), want, T * H * DV * sizeof *want);
        }
    kt_free_all();
}

static void refusals(void **state)
{
    (void)state;
    kt_rng r = {2};
    kl_error err = {0};
    kl_mla_args a = call(&r);
    const kl_backend *be = kt_backend("ref", 1);
    a.o = kl_view3(kt_floats(T * H * DV), KL_F32, T, H, DV);
    a.cache = kl_view2(kt_bytes(T * ROW), KL_Q8_0, T, ROW);
    KT_ASSERT_FAILED(kl_mla(be, &a, &err), KL_ERR_SHAPE, &err, "cache", "[70][64]", "[n][68]");
    kl_mla_bwd_args b = {.fwd = a};
    b.fwd.cache = kl_view2(kt_bytes(T * BYTES), KL_Q8_0, T, BYTES);
    KT_ASSERT_FAILED(kl_mla_bwd(be, &b, &err), KL_ERR_DTYPE, &err, "cache is q8_0", "f32|bf16");
    a.w_uk.dim[2] = a.w_uv.dim[2] = R - 1;
    KT_ASSERT_FAILED(kl_mla(be, &a, &err), KL_ERR_SHAPE, &err, "63 numbers", "multiple of 32");
    kt_free_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bits_of_the_decoded_cache),
        cmocka_unit_test(refusals),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_free_backends();
    return failed;
}
