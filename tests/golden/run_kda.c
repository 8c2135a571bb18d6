/* kl_kda along every path and chunk length; its backward with and without the forward's snapshots and errors. */
#include "golden/golden.h"

#include "ops/check.h"
#include "support/ref64.h"

static kl_kda_args inputs_of(const golden_run *r)
{
    kl_kda_args a = {
        .q = golden_half(r, "q"),
        .k = golden_half(r, "k"),
        .v = golden_half(r, "v"),
        .g = golden_half(r, "g"),
        .beta = golden_half(r, "beta"),
        .A_log = golden_input(r, "A_log"),
        .dt_bias = golden_input(r, "dt_bias"),
        .gate = (kl_gate)golden_number(r->c, "gate", 0),
        .lower_bound = (float)golden_number(r->c, "lower_bound", 0),
        .rule = (kl_rule)golden_number(r->c, "rule", 0),
        .qk_l2norm = golden_number(r->c, "qk_l2norm", 0) != 0,
        .beta_sigmoid = golden_number(r->c, "beta_sigmoid", 0) != 0,
        .beta_double = golden_number(r->c, "beta_double", 0) != 0,
        .scale = (float)golden_number(r->c, "scale", 0),
        .state_in = golden_input(r, "state_in"),
        .state_layout = (kl_layout)golden_number(r->c, "state_layout", 0),
        .snapshot_every = (int64_t)golden_number(r->c, "snapshot_every", 0),
    };
    a.cu_seqlens = golden_int64s(r, "cu_seqlens", &a.n_seq);
    a.n_seq -= a.cu_seqlens != NULL;
    return a;
}

static void forward(const golden_run *r, kl_kda_args a, double tolerance)
{
    a.o = golden_half_output(r, "o");
    a.state_out = golden_output(r, "state_out");
    a.snapshots = a.path == KL_PATH_RECURRENT ? (kl_tensor){0} : golden_output(r, "snapshots");
    a.work = kt_work(kl_kda_workspace(r->be, &a));
    KT_OK(kl_kda(r->be, &a, KT_ERR));
    golden_expect(r, "o", a.o, 1, tolerance);
    golden_expect(r, "state_out", a.state_out, 1, tolerance);
    golden_expect(r, "snapshots", a.snapshots, 1, tolerance);
}

/* States after every chunk and errors, for a backward that need not recompute them. */
static void keep(const golden_run *r, kl_kda_args *a)
{
    int64_t n = 0, n_token = a->v.dim[0], HV = a->v.dim[1], K = a->k.dim[2], V = a->v.dim[2];
    a->snapshot_every = 16;
    for (int64_t s = 0; s < kl__n_seq(a->cu_seqlens, a->n_seq); s++)
        n += (kl__seq_start(a->cu_seqlens, s + 1, n_token) - kl__seq_start(a->cu_seqlens, s, n_token)) / 16;
    bool kv = a->state_layout == KL_LAYOUT_KV;
    a->snapshots = kl_view4(kt_floats(n * HV * K * V), KL_F32, n, HV, kv ? K : V, kv ? V : K);
    a->e = kl_view3(kt_floats(n_token * HV * V), KL_F32, n_token, HV, V);
    a->path = KL_PATH_CHUNK;
    a->o = golden_half_output(r, "o");
    a->work = kt_work(kl_kda_workspace(r->be, a));
    KT_OK(kl_kda(r->be, a, KT_ERR));
}

static void backward(const golden_run *r, const kl_kda_args *fwd)
{
    kl_kda_bwd_args b = {
        .fwd = *fwd,
        .d_o = golden_half(r, "d_o"),
        .d_state_out = golden_input(r, "d_state_out"),
        .d_q = golden_output(r, "d_q"),
        .d_k = golden_output(r, "d_k"),
        .d_v = golden_output(r, "d_v"),
        .d_g = golden_output(r, "d_g"),
        .d_beta = golden_output(r, "d_beta"),
        .d_A_log = golden_sum(r, "d_A_log"),
        .d_dt_bias = golden_sum(r, "d_dt_bias"),
        .d_state_in = golden_output(r, "d_state_in"),
    };
    b.work = kt_work(kl_kda_bwd_workspace(r->be, &b));
    for (int times = 1; times <= 2; times++) {
        KT_OK(kl_kda_bwd(r->be, &b, KT_ERR));
        golden_expect(r, "d_q", b.d_q, 1, GOLDEN_BACKWARD);
        golden_expect(r, "d_k", b.d_k, 1, GOLDEN_BACKWARD);
        golden_expect(r, "d_v", b.d_v, 1, GOLDEN_BACKWARD);
        golden_expect(r, "d_g", b.d_g, 1, GOLDEN_BACKWARD);
        golden_expect(r, "d_beta", b.d_beta, 1, GOLDEN_BACKWARD);
        golden_expect(r, "d_A_log", b.d_A_log, times, GOLDEN_BACKWARD);
        golden_expect(r, "d_dt_bias", b.d_dt_bias, times, GOLDEN_BACKWARD);
        golden_expect(r, "d_state_in", b.d_state_in, 1, GOLDEN_BACKWARD);
    }
}

/* The float64 recurrence that other tests compare with is itself compared here. */
static void reference(const golden_run *r, kl_kda_args a)
{
    a.snapshots = golden_output(r, "snapshots");
    ref64_outputs out = ref64_kda(&a);
    golden_expect64(r, "o", out.o, 1e-12);
    golden_expect64(r, "state_out", out.state_out, 1e-12);
    golden_expect64(r, "snapshots", out.snapshots, 1e-12);
    kl_kda_bwd_args b = {.fwd = a, .d_o = golden_half(r, "d_o"), .d_state_out = golden_input(r, "d_state_out")};
    ref64_kda_grads d = ref64_kda_bwd(&b);
    golden_expect64(r, "d_q", d.q, 1e-11);
    golden_expect64(r, "d_k", d.k, 1e-11);
    golden_expect64(r, "d_v", d.v, 1e-11);
    golden_expect64(r, "d_g", d.g, 1e-11);
    golden_expect64(r, "d_beta", d.beta, 1e-11);
    golden_expect64(r, "d_A_log", d.A_log, 1e-11);
    golden_expect64(r, "d_dt_bias", d.dt_bias, 1e-11);
    golden_expect64(r, "d_state_in", d.state_in, 1e-11);
}

void golden_kda(const golden_run *r)
{
    static const int chunks[] = {0, 8, 16, 32, 64};
    kl_kda_args a = inputs_of(r);
    reference(r, a);
    for (kl_path path = KL_PATH_AUTO; path <= KL_PATH_CHUNK; path++)
        for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
            a.path = path;
            a.chunk = chunks[i];
            if (a.snapshot_every % (a.chunk ? a.chunk : 16))
                continue;
            a.operands = KL_OPERANDS_F32;
            forward(r, a, GOLDEN_FORWARD);
            a.operands = KL_OPERANDS_BF16;
            forward(r, a, golden_number(r->c, "correlated", 0) ? 4e-2 : 8e-3);
        }
    a.operands = KL_OPERANDS_F32;
    a.chunk = 0;
    backward(r, &a);
    keep(r, &a);
    backward(r, &a);
    a.snapshots = (kl_tensor){0};
    backward(r, &a);
}
