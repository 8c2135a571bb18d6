/* kl_dplr along every path and chunk length, and its backward. */
#include "golden/golden.h"

#include "support/ref64.h"

static kl_dplr_args inputs_of(const golden_run *r)
{
    kl_dplr_args a = {
        .q = golden_half(r, "q"),
        .k = golden_half(r, "k"),
        .a = golden_half(r, "a"),
        .b = golden_half(r, "b"),
        .v = golden_half(r, "v"),
        .g = golden_half(r, "g"),
        .scale = (float)golden_number(r->c, "scale", 0),
        .state_in = golden_input(r, "state_in"),
        .state_layout = (kl_layout)golden_number(r->c, "state_layout", 0),
    };
    a.cu_seqlens = golden_int64s(r, "cu_seqlens", &a.n_seq);
    a.n_seq -= a.cu_seqlens != NULL;
    return a;
}

static void forward(const golden_run *r, kl_dplr_args a)
{
    a.o = golden_half_output(r, "o");
    a.state_out = golden_output(r, "state_out");
    a.work = kt_work(kl_dplr_workspace(r->be, &a));
    KT_OK(kl_dplr(r->be, &a, KT_ERR));
    golden_expect(r, "o", a.o, 1, GOLDEN_FORWARD);
    golden_expect(r, "state_out", a.state_out, 1, GOLDEN_FORWARD);
}

static void backward(const golden_run *r, const kl_dplr_args *fwd)
{
    kl_dplr_bwd_args b = {
        .fwd = *fwd,
        .d_o = golden_half(r, "d_o"),
        .d_state_out = golden_input(r, "d_state_out"),
        .d_q = golden_output(r, "d_q"),
        .d_k = golden_output(r, "d_k"),
        .d_a = golden_output(r, "d_a"),
        .d_b = golden_output(r, "d_b"),
        .d_v = golden_output(r, "d_v"),
        .d_g = golden_output(r, "d_g"),
        .d_state_in = golden_output(r, "d_state_in"),
    };
    b.work = kt_work(kl_dplr_bwd_workspace(r->be, &b));
    KT_OK(kl_dplr_bwd(r->be, &b, KT_ERR));
    golden_expect(r, "d_q", b.d_q, 1, GOLDEN_BACKWARD);
    golden_expect(r, "d_k", b.d_k, 1, GOLDEN_BACKWARD);
    golden_expect(r, "d_a", b.d_a, 1, GOLDEN_BACKWARD);
    golden_expect(r, "d_b", b.d_b, 1, GOLDEN_BACKWARD);
    golden_expect(r, "d_v", b.d_v, 1, GOLDEN_BACKWARD);
    golden_expect(r, "d_g", b.d_g, 1, GOLDEN_BACKWARD);
    golden_expect(r, "d_state_in", b.d_state_in, 1, GOLDEN_BACKWARD);
}

/* The float64 recurrence that other tests compare with is itself compared here. */
static void reference(const golden_run *r, const kl_dplr_args *a)
{
    ref64_outputs out = ref64_dplr(a);
    golden_expect64(r, "o", out.o, 1e-12);
    golden_expect64(r, "state_out", out.state_out, 1e-12);
    kl_dplr_bwd_args b = {.fwd = *a, .d_o = golden_half(r, "d_o"), .d_state_out = golden_input(r, "d_state_out")};
    ref64_dplr_grads d = ref64_dplr_bwd(&b);
    golden_expect64(r, "d_q", d.q, 1e-11);
    golden_expect64(r, "d_k", d.k, 1e-11);
    golden_expect64(r, "d_a", d.a, 1e-11);
    golden_expect64(r, "d_b", d.b, 1e-11);
    golden_expect64(r, "d_v", d.v, 1e-11);
    golden_expect64(r, "d_g", d.g, 1e-11);
    golden_expect64(r, "d_state_in", d.state_in, 1e-11);
}

void golden_dplr(const golden_run *r)
{
    static const int chunks[] = {0, 8, 16, 32, 64};
    kl_dplr_args a = inputs_of(r);
    reference(r, &a);
    for (kl_path path = KL_PATH_AUTO; path <= KL_PATH_CHUNK; path++)
        for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
            a.path = path;
            a.chunk = chunks[i];
            forward(r, a);
        }
    a.chunk = 0;
    backward(r, &a);
}
