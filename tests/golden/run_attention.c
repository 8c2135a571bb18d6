/* kl_attention over a contiguous cache and over pages; its backward. */
#include "golden/golden.h"
#include "golden/paged.h"

static kl_attention_args inputs_of(const golden_run *r)
{
    kl_attention_args a = {
        .q = golden_half(r, "q"),
        .k = golden_half(r, "k"),
        .v = golden_half(r, "v"),
        .scale = (float)golden_number(r->c, "scale", 0),
        .causal = golden_number(r->c, "causal", 0) != 0,
    };
    a.cu_q = golden_int64s(r, "cu_q", &a.n_seq);
    a.cu_k = golden_int64s(r, "cu_k", NULL);
    a.n_seq -= a.cu_q != NULL;
    return a;
}

static void forward(const golden_run *r, kl_attention_args *a)
{
    a->o = golden_half_output(r, "o");
    a->lse = golden_output(r, "lse");
    a->work = kt_work(kl_attention_workspace(r->be, a));
    KT_OK(kl_attention(r->be, a, KT_ERR));
    golden_expect(r, "o", a->o, 1, GOLDEN_FORWARD);
    golden_expect(r, "lse", a->lse, 1, GOLDEN_FORWARD);
}

static void paged(const golden_run *r, kl_attention_args a, int64_t page_tokens)
{
    a.paging = golden_pages(a.cu_k ? a.cu_k : a.cu_q, a.n_seq, a.k.dim[0], page_tokens);
    a.k = golden_paged(&a.paging, a.k, a.cu_k ? a.cu_k : a.cu_q, a.n_seq);
    a.v = golden_paged(&a.paging, a.v, a.cu_k ? a.cu_k : a.cu_q, a.n_seq);
    forward(r, &a);
}

static void backward(const golden_run *r, const kl_attention_args *fwd)
{
    kl_attention_bwd_args b = {
        .fwd = *fwd,
        .d_o = golden_half(r, "d_o"),
        .d_q = golden_output(r, "d_q"),
        .d_k = golden_output(r, "d_k"),
        .d_v = golden_output(r, "d_v"),
    };
    /* In bf16 the backward starts from an o that has been rounded. */
    double tolerance = r->half ? 8e-3 : GOLDEN_BACKWARD;
    b.work = kt_work(kl_attention_bwd_workspace(r->be, &b));
    KT_OK(kl_attention_bwd(r->be, &b, KT_ERR));
    golden_expect(r, "d_q", b.d_q, 1, tolerance);
    golden_expect(r, "d_k", b.d_k, 1, tolerance);
    golden_expect(r, "d_v", b.d_v, 1, tolerance);
}

void golden_attention(const golden_run *r)
{
    kl_attention_args a = inputs_of(r);
    forward(r, &a);
    backward(r, &a);
    if (a.cu_q) { /* paging is per sequence of offsets */
        paged(r, a, 1);
        paged(r, a, 3);
        paged(r, a, 16);
    }
}
