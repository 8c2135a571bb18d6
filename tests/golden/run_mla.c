/* kl_mla in both forms, contiguous and paged; its backward in both forms. */
#include "golden/golden.h"
#include "golden/paged.h"

static kl_mla_args inputs_of(const golden_run *r)
{
    kl_mla_args a = {
        .q = golden_half(r, "q"),
        .cache = golden_half(r, "cache"),
        .w_uk = golden_half(r, "w_uk"),
        .w_uv = golden_half(r, "w_uv"),
        .scale = (float)golden_number(r->c, "scale", 0),
        .causal = golden_number(r->c, "causal", 0) != 0,
    };
    a.cu_q = golden_int64s(r, "cu_q", &a.n_seq);
    a.cu_k = golden_int64s(r, "cu_k", NULL);
    a.n_seq -= a.cu_q != NULL;
    return a;
}

static void forward(const golden_run *r, kl_mla_args *a)
{
    a->o = golden_half_output(r, "o");
    a->lse = golden_output(r, "lse");
    a->work = kt_work(kl_mla_workspace(r->be, a));
    KT_OK(kl_mla(r->be, a, KT_ERR));
    golden_expect(r, "o", a->o, 1, GOLDEN_FORWARD);
    golden_expect(r, "lse", a->lse, 1, GOLDEN_FORWARD);
}

static void paged(const golden_run *r, kl_mla_args a, int64_t page_tokens)
{
    a.paging = golden_pages(a.cu_k, a.n_seq, a.cache.dim[0], page_tokens);
    a.cache = golden_paged(&a.paging, a.cache, a.cu_k, a.n_seq);
    forward(r, &a);
}

static void backward(const golden_run *r, const kl_mla_args *fwd)
{
    kl_mla_bwd_args b = {
        .fwd = *fwd,
        .d_o = golden_half(r, "d_o"),
        .d_q = golden_output(r, "d_q"),
        .d_cache = golden_output(r, "d_cache"),
        .d_w_uk = golden_sum(r, "d_w_uk"),
        .d_w_uv = golden_sum(r, "d_w_uv"),
    };
    double tolerance = r->half ? 8e-3 : GOLDEN_BACKWARD; /* o comes back rounded in bf16 */
    b.work = kt_work(kl_mla_bwd_workspace(r->be, &b));
    for (int times = 1; times <= 2; times++) {
        KT_OK(kl_mla_bwd(r->be, &b, KT_ERR));
        golden_expect(r, "d_q", b.d_q, 1, tolerance);
        golden_expect(r, "d_cache", b.d_cache, 1, tolerance);
        golden_expect(r, "d_w_uk", b.d_w_uk, times, tolerance);
        golden_expect(r, "d_w_uv", b.d_w_uv, times, tolerance);
    }
}

void golden_mla(const golden_run *r)
{
    kl_mla_args a = inputs_of(r);
    for (kl_mla_form form = KL_MLA_AUTO; form <= KL_MLA_EXPANDED; form++) {
        a.form = form;
        forward(r, &a);
        backward(r, &a);
        if (a.cu_k) {
            paged(r, a, 1);
            paged(r, a, 4);
        }
    }
}
