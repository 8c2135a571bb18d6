/* Hundreds of small calls of kl_kda and kl_kda_bwd with everything chosen at random that can be: shapes, offsets,
 * element types, pitches, gates, options, layouts, paths, levels, threads.  Compared with the float64 recurrence on the
 * very same inputs.  KDA_RANDOM_CALLS in the environment runs more of them than usual. */
#include "support/kda_case.h"
#include "support/pitched.h"

#include "ops/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { N_CALL = 250, MAX_SEQ = 6 };

static bool coin(kt_rng *r)
{
    return kt_below(r, 2);
}

static int64_t pick(kt_rng *r, const int64_t *from, int64_t n)
{
    return from[kt_below(r, n)];
}

/* Mostly odd sizes, sometimes one that kernels are tuned for. */
static int64_t draw_size(kt_rng *r)
{
    static const int64_t tuned[] = {8, 16, 32, 48, 64, 128};
    return kt_below(r, 3) ? 1 + kt_below(r, 40) : pick(r, tuned, 6);
}

static int64_t draw_length(kt_rng *r)
{
    static const int64_t edge[] = {0, 1, 1, 15, 16, 17, 32, 48, 64, 65};
    return coin(r) ? pick(r, edge, 10) : kt_below(r, 70);
}

static void draw_options(kt_rng *r, kl_kda_args *a)
{
    a->rule = kt_below(r, 4) ? KL_RULE_DELTA : KL_RULE_ADD;
    a->qk_l2norm = coin(r);
    a->beta_sigmoid = a->beta.n_dim && coin(r);
    a->beta_double = kt_below(r, 3) == 0;
    a->scale = coin(r) ? 0 : (float)(0.1 + kt_uniform(r));
    a->state_layout = coin(r) ? KL_LAYOUT_KV : KL_LAYOUT_VK;
    a->path = (kl_path)kt_below(r, 3);
    a->chunk = (int)pick(r, (const int64_t[]){0, 8, 16, 32, 64}, 5);
    a->snapshot_every = a->path == KL_PATH_RECURRENT || coin(r) ? 0 : (a->chunk ? a->chunk : 16) * (1 + kt_below(r, 2));
    if (a->beta_sigmoid)
        kt_fill_normal(r, a->beta.data, ref64_count(a->beta), 2);
    if (a->qk_l2norm) { /* any length will do */
        kt_fill_normal(r, a->q.data, ref64_count(a->q), 3);
        kt_fill_normal(r, a->k.data, ref64_count(a->k), 0.5f);
    }
}

static void draw_gate(kt_rng *r, kl_kda_args *a)
{
    if (!a->g.n_dim || coin(r))
        return;
    int64_t HV = a->v.dim[1], K = a->k.dim[2];
    a->gate = coin(r) ? KL_GATE_SOFTPLUS : KL_GATE_BOUNDED;
    a->lower_bound = a->gate == KL_GATE_BOUNDED ? -0.5f - 5 * (float)kt_uniform(r) : 0;
    kt_fill_normal(r, a->g.data, ref64_count(a->g), 2);
    if (coin(r))
        a->A_log = kl_view1(kt_normals(r, HV, 1), KL_F32, HV);
    if (coin(r))
        a->dt_bias = a->g.n_dim == 2 ? kl_view1(kt_normals(r, HV, 1), KL_F32, HV)
                                     : kl_view2(kt_normals(r, HV * K, 1), KL_F32, HV, K);
}

static kl_kda_args draw_call(kt_rng *r, int64_t *cu)
{
    int64_t n_seq = kt_below(r, MAX_SEQ), T = n_seq ? 0 : draw_length(r), H = 1 + kt_below(r, 3);
    cu[0] = 0;
    for (int64_t n = 0; n < n_seq; n++)
        T = cu[n + 1] = T + draw_length(r);
    kda_shape s = {.T = T, .H = H, .HV = H * pick(r, (const int64_t[]){1, 1, 2, 4}, 4), draw_size(r), draw_size(r)};
    static const kda_gates gates[] = {GATES_NONE,   GATES_A1,    GATES_A16,  GATES_WIDE,
                                      GATES_SPIKES, GATES_ERASE, GATES_HEAD, GATES_HEAD_ERASE};
    static const kda_keys keys[] = {KEYS_MODEL, KEYS_MODEL, KEYS_ZEROS, KEYS_SMALL};
    static const kda_betas betas[] = {BETAS_MODEL, BETAS_MODEL, BETAS_MODEL, BETAS_ONE, BETAS_ABSENT};
    kl_kda_args a = kda_draw(r, s, gates[kt_below(r, 8)], keys[kt_below(r, 4)], betas[kt_below(r, 5)]);
    draw_options(r, &a);
    draw_gate(r, &a);
    a.cu_seqlens = n_seq ? cu : NULL;
    a.n_seq = n_seq;
    a.state_in = coin(r) ? kda_states(r, &a, kl__n_seq(a.cu_seqlens, n_seq)) : (kl_tensor){0};

    kl_dtype dtype = coin(r) ? KL_F32 : KL_BF16;
    a.q = pitched_input(r, a.q, dtype);
    a.k = pitched_input(r, a.k, dtype);
    a.v = pitched_input(r, a.v, dtype);
    a.g = pitched_input(r, a.g, kt_below(r, 4) ? KL_F32 : KL_BF16);
    a.beta = pitched_input(r, a.beta, coin(r) ? KL_F32 : KL_BF16);
    a.state_in = pitched_input(r, a.state_in, KL_F32);
    return a;
}

static kl_tensor states_like(const kl_kda_args *a, int64_t n)
{
    int64_t HV = a->v.dim[1], K = a->k.dim[2], V = a->v.dim[2];
    bool vk = a->state_layout == KL_LAYOUT_VK;
    return kl_view4(NULL, KL_F32, n, HV, vk ? V : K, vk ? K : V);
}

static int64_t n_snapshot(const kl_kda_args *a)
{
    int64_t n = 0, T = a->v.dim[0];
    for (int64_t s = 0; s < kl__n_seq(a->cu_seqlens, a->n_seq); s++)
        n += (kl__seq_start(a->cu_seqlens, s + 1, T) - kl__seq_start(a->cu_seqlens, s, T)) / a->snapshot_every;
    return n;
}

static void describe(char *text, size_t bytes, int call, const kl_backend *be, const kl_kda_args *a)
{
    snprintf(text, bytes,
             "call %d on %s: T=%d n_seq=%d H=%d HV=%d K=%d V=%d %s gate=%d g[%d] rule=%d path=%d chunk=%d operands=%d "
             "norm=%d sigmoid=%d double=%d layout=%d",
             call, kl_backend_isa(be), (int)a->v.dim[0], (int)a->n_seq, (int)a->k.dim[1], (int)a->v.dim[1],
             (int)a->k.dim[2], (int)a->v.dim[2], kl_dtype_name(a->q.dtype), (int)a->gate, a->g.n_dim, (int)a->rule,
             (int)a->path, a->chunk, (int)a->operands, a->qk_l2norm, a->beta_sigmoid, a->beta_double,
             (int)a->state_layout);
}

static void forward(kt_rng *r, const kl_backend *be, kl_kda_args a, int call)
{
    char what[320];
    a.operands = kt_below(r, 4) ? KL_OPERANDS_F32 : KL_OPERANDS_BF16;
    describe(what, sizeof what, call, be, &a);
    if (a.snapshot_every)
        a.snapshots = pitched_output(r, states_like(&a, n_snapshot(&a)), KL_F32);
    if (a.path != KL_PATH_RECURRENT && coin(r))
        a.e = pitched_output(r, a.v, KL_F32);
    ref64_outputs want = ref64_kda(&a);
    a.o = pitched_output(r, a.v, coin(r) ? KL_F32 : KL_BF16);
    if (coin(r))
        a.state_out = pitched_output(r, states_like(&a, kl__n_seq(a.cu_seqlens, a.n_seq)), KL_F32);
    else if (a.state_in.n_dim)
        a.state_out = a.state_in = pitched_input(r, kda_copy(a.state_in), KL_F32);
    a.work = kt_work(kl_kda_workspace(be, &a));
    KT_OK(kl_kda(be, &a, KT_ERR));
    /* Small random calls average fewer roundings than the calls that the tolerance of bf16 operands is stated for. */
    kda_expect64(what, &a, want, a.operands == KL_OPERANDS_BF16 ? 2e-2 : 2e-6);
    pitched_check(what, a.o);
    pitched_check(what, a.snapshots);
    pitched_check(what, a.e);
    if (a.state_out.data != a.state_in.data)
        pitched_check(what, a.state_out);
}

/* A gradient of many numbers keeps 5e-6; a few numbers may all be sums that happen to cancel. */
static double tolerance_of(kl_tensor gradient)
{
    return ref64_count(gradient) < 16 ? 1e-4 : 5e-6;
}

static void backward(kt_rng *r, const kl_backend *be, kl_kda_args a, int call)
{
    char what[320];
    describe(what, sizeof what, call, be, &a);
    int64_t n = kl__n_seq(a.cu_seqlens, a.n_seq), n_o = ref64_count(a.v);
    if (a.snapshot_every) { /* kept by a forward of its own */
        a.path = KL_PATH_CHUNK;
        a = kda_run(be, a);
    }
    kl_tensor d_o = a.v;
    d_o.pitch = 0;
    d_o.dtype = KL_F32;
    d_o.data = kt_normals(r, n_o, 1);
    kl_tensor d_g = a.g, d_beta = a.beta;
    kl_kda_bwd_args b = {
        .fwd = a,
        .d_o = pitched_input(r, d_o, coin(r) ? KL_F32 : KL_BF16),
        .d_q = pitched_output(r, a.q, KL_F32),
        .d_k = pitched_output(r, a.k, KL_F32),
        .d_v = pitched_output(r, a.v, KL_F32),
        .d_g = pitched_output(r, d_g, KL_F32),
        .d_beta = pitched_output(r, d_beta, KL_F32),
        .d_A_log = a.A_log.n_dim ? kl_view1(kt_zeros(a.A_log.dim[0]), KL_F32, a.A_log.dim[0]) : a.A_log,
        .d_dt_bias = a.dt_bias,
        .d_state_in = pitched_output(r, states_like(&a, n), KL_F32),
    };
    if (coin(r))
        b.d_state_out = pitched_input(r, kda_states(r, &a, n), KL_F32);
    b.d_dt_bias.data = kt_zeros(ref64_count(a.dt_bias));
    ref64_kda_grads want = ref64_kda_bwd(&b);
    b.work = kt_work(kl_kda_bwd_workspace(be, &b));
    KT_OK(kl_kda_bwd(be, &b, KT_ERR));
    struct {
        const char *name;
        kl_tensor got;
        const double *want;
    } result[] = {{"d_q", b.d_q, want.q},
                  {"d_k", b.d_k, want.k},
                  {"d_v", b.d_v, want.v},
                  {"d_g", b.d_g, want.g},
                  {"d_beta", b.d_beta, want.beta},
                  {"d_A_log", b.d_A_log, want.A_log},
                  {"d_dt_bias", b.d_dt_bias, want.dt_bias},
                  {"d_state_in", b.d_state_in, want.state_in}};
    for (size_t i = 0; i < sizeof result / sizeof *result; i++) {
        char text[360];
        snprintf(text, sizeof text, "%s of %s", result[i].name, what);
        pitched_check(text, result[i].got);
        /* Where one key channel is all there is, norms and transitions cancel to nothing but rounding. */
        if (a.k.dim[2] > 1)
            ref64_expect(text, result[i].got, result[i].want, tolerance_of(result[i].got));
    }
}

static int n_call(void)
{
    const char *asked = getenv("KDA_RANDOM_CALLS");
    return asked ? (int)strtol(asked, NULL, 10) : N_CALL;
}

static int n_level(void)
{
    int n = 0;
    while (kt_level(n))
        n++;
    return n;
}

static void random_calls(void (*run)(kt_rng *, const kl_backend *, kl_kda_args, int))
{
    for (int call = 0; call < n_call(); call++) {
        kt_rng r = {(uint64_t)call * 7919 + 1};
        int64_t cu[MAX_SEQ + 1];
        kl_kda_args a = draw_call(&r, cu);
        run(&r, kt_backend(kt_level(call % n_level()), 1 + (int)kt_below(&r, 4)), a, call);
        kt_free_all();
    }
}

static void random_forward(void **state)
{
    (void)state;
    random_calls(forward);
}

static void random_backward(void **state)
{
    (void)state;
    random_calls(backward);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_forward),
        cmocka_unit_test(random_backward),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_free_backends();
    return failed;
}
