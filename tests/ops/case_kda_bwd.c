/* kl_kda_bwd against the recurrent adjoint in double, over random settings of everything; then properties. */
#include "support/bwd_adjoint64.h"

#include <math.h>
#include <string.h>

static const kl_backend *fastest(void)
{
    int l = 0;
    while (kt_level(l + 1))
        l++;
    return kt_backend(kt_level(l), 1);
}

static void matches_the_recurrent_adjoint(void **state)
{
    (void)state;
    for (int i = 0; i < 150; i++) {
        kt_rng r = {1000 + (uint64_t)i};
        struct bwd_problem p = bwd_random(&r);
        bwd_keep(&p);
        struct bwd_gradients want = bwd_adjoint64(&p);
        for (int l = 0; kt_level(l); l++) {
            kl_kda_bwd_args b = bwd_args(&p);
            bwd_run(kt_backend(kt_level(l), 1 + i % 3), &b);
            bwd_compare(&p, kt_level(l), &b, &want);
        }
        kt_free_all();
    }
}

static struct bwd_problem plain_problem(kt_rng *r, int64_t T)
{
    struct bwd_problem p = {.H = 2,
                        .HV = 4,
                        .K = 24,
                        .V = 20,
                        .n_seq = 1,
                        .cu = {0, T},
                        .T = T,
                        .has_beta = true,
                        .gate_shape = PER_CHANNEL,
                        .gate = KL_GATE_SOFTPLUS,
                        .has_params = true,
                        .l2norm = true,
                        .sigmoid = true,
                        .has_states = true};
    bwd_fill(r, &p);
    return p;
}

struct finite {
    const struct bwd_problem *p;
    const kl_backend *be;
    float *o, *S;
};

static double loss(void *ctx)
{
    struct finite *f = ctx;
    const struct bwd_problem *p = f->p;
    bwd_run_forward(p, f->be, f->o, f->S);
    return kt_dot(p->d_o, f->o, p->T * p->HV * p->V) + kt_dot(p->dS, f->S, p->n_seq * p->HV * p->K * p->V);
}

static void finite_differences(void **state)
{
    (void)state;
    for (int l = 0; kt_level(l); l++) {
        kt_rng r = {7};
        struct bwd_problem p = plain_problem(&r, 37);
        struct finite f = {&p, kt_backend(kt_level(l), 1), kt_floats(p.T * p.HV * p.V),
                           kt_floats(p.n_seq * p.HV * p.K * p.V)};
        kl_kda_bwd_args b = bwd_args(&p);
        memset(b.d_A_log.data, 0, sizeof(float) * (size_t)p.HV);
        memset(b.d_dt_bias.data, 0, sizeof(float) * (size_t)(p.HV * p.K));
        bwd_run(f.be, &b);
        struct {
            const char *name;
            float *x;
            kl_tensor d;
            int64_t n;
        } input[] = {
            {"d_q", p.q, b.d_q, p.T * p.H * p.K},
            {"d_k", p.k, b.d_k, p.T * p.H * p.K},
            {"d_v", p.v, b.d_v, p.T * p.HV * p.V},
            {"d_g", p.g, b.d_g, p.T * p.HV * p.K},
            {"d_beta", p.beta, b.d_beta, p.T * p.HV},
            {"d_A_log", p.A_log, b.d_A_log, p.HV},
            {"d_dt_bias", p.dt_bias, b.d_dt_bias, p.HV * p.K},
            {"d_state_in", p.S0, b.d_state_in, p.n_seq * p.HV * p.K * p.V},
        };
        for (size_t i = 0; i < sizeof input / sizeof *input; i++)
            kt_check_gradient(input[i].name, loss, &f, input[i].x, input[i].d.data, input[i].n, 3e-3, 5e-3, &r);
        kt_free_all();
    }
}

/* The outputs of a backward, to compare all of them. */
enum { N_OUT = 8 };
static void outputs_of(const kl_kda_bwd_args *b, kl_tensor out[N_OUT])
{
    const kl_tensor all[N_OUT] = {b->d_q, b->d_k, b->d_v, b->d_g, b->d_beta, b->d_A_log, b->d_dt_bias, b->d_state_in};
    memcpy(out, all, sizeof all);
}

static size_t bytes_of(kl_tensor t)
{
    size_t n = t.n_dim ? sizeof(float) : 0;
    for (int i = 0; i < t.n_dim; i++)
        n *= (size_t)t.dim[i];
    return n;
}

static void same_outputs(const char *what, const kl_kda_bwd_args *a, const kl_kda_bwd_args *b)
{
    kl_tensor x[N_OUT], y[N_OUT];
    outputs_of(a, x);
    outputs_of(b, y);
    for (int i = 0; i < N_OUT; i++)
        if (x[i].n_dim && y[i].n_dim)
            kt_assert_same_bits(what, x[i].data, y[i].data, bytes_of(x[i]));
}

static void threads_change_no_bit(void **state)
{
    (void)state;
    for (int l = 0; kt_level(l); l++) {
        kt_rng r = {11};
        struct bwd_problem p = plain_problem(&r, 70);
        p.n_seq = 3;
        p.cu[1] = 33, p.cu[2] = 33, p.cu[3] = 70;
        bwd_fill(&r, &p);
        kl_kda_bwd_args one = bwd_args(&p);
        bwd_run(kt_backend(kt_level(l), 1), &one);
        for (int threads = 2; threads <= 3; threads++) {
            kl_kda_bwd_args b = bwd_args(&p);
            bwd_run(kt_backend(kt_level(l), threads), &b);
            same_outputs("threads", &b, &one);
        }
        kt_free_all();
    }
}

static void each_output_may_be_absent(void **state)
{
    (void)state;
    kt_rng r = {12};
    struct bwd_problem p = plain_problem(&r, 20);
    kl_kda_bwd_args all = bwd_args(&p);
    bwd_run(fastest(), &all);
    for (int i = 0; i <= N_OUT; i++) {
        kl_kda_bwd_args b = bwd_args(&p);
        kl_tensor *const out[N_OUT] = {&b.d_q,    &b.d_k,     &b.d_v,       &b.d_g,
                                       &b.d_beta, &b.d_A_log, &b.d_dt_bias, &b.d_state_in};
        for (int j = 0; j < N_OUT; j++)
            if (i == j || i == N_OUT)
                out[j]->n_dim = 0;
        bwd_run(fastest(), &b);
        same_outputs("others", &b, &all);
    }
    kt_free_all();
}

/* The tokens from `from` to `to` of p as a problem of their own, with their own states. */
static struct bwd_problem part_of(const struct bwd_problem *p, int64_t from, int64_t to, float *S0, float *dS)
{
    struct bwd_problem x = *p;
    x.T = x.cu[1] = to - from;
    x.q += from * p->q_pitch;
    x.k += from * p->q_pitch;
    x.v += from * p->v_pitch;
    x.d_o += from * p->v_pitch;
    x.g += from * p->g_pitch;
    x.beta += from * p->HV;
    x.S0 = S0;
    x.dS = dS;
    return x;
}

static void a_split_sequence_is_the_whole(void **state)
{
    (void)state;
    static const int64_t cuts[] = {1, 15, 16, 17, 32, 49};
    for (int c = 0; c < 6; c++) {
        kt_rng r = {13};
        struct bwd_problem p = plain_problem(&r, 50);
        int64_t states = p.HV * p.K * p.V, cut = cuts[c];
        const kl_backend *be = fastest();
        kl_kda_bwd_args whole = bwd_args(&p), first, second;
        bwd_run(be, &whole);
        float *middle = kt_floats(states), *d_middle = kt_floats(states);
        struct bwd_problem head = part_of(&p, 0, cut, p.S0, d_middle), tail = part_of(&p, cut, p.T, middle, p.dS);
        bwd_run_forward(&head, be, kt_floats(p.T * p.HV * p.V), middle);
        second = bwd_args(&tail);
        bwd_run(be, &second);
        memcpy(d_middle, second.d_state_in.data, sizeof(float) * (size_t)states);
        first = bwd_args(&head);
        first.d_A_log = second.d_A_log; /* added to */
        first.d_dt_bias = second.d_dt_bias;
        bwd_run(be, &first);
        kt_assert_close("d_state_in", first.d_state_in.data, whole.d_state_in.data, states, 5e-6);
        kt_assert_close("d_A_log", first.d_A_log.data, whole.d_A_log.data, p.HV, 5e-6);
        kt_assert_close("d_dt_bias", first.d_dt_bias.data, whole.d_dt_bias.data, p.HV * p.K, 5e-6);
        kt_assert_close("d_g", first.d_g.data, whole.d_g.data, cut * p.HV * p.K, 5e-6);
        kt_assert_close("d_q", (float *)second.d_q.data, (float *)whole.d_q.data + cut * p.H * p.K,
                        (p.T - cut) * p.H * p.K, 5e-6);
        kt_free_all();
    }
}

/* What the gate's gradient is equal to, whatever the loss: the channel's part of the first state and its adjoint. */
static void gauge_of_the_first_token(void **state)
{
    (void)state;
    kt_rng r = {14};
    struct bwd_problem p = plain_problem(&r, 45);
    p.gate = KL_GATE_LOG;
    p.has_params = false;
    bwd_fill(&r, &p);
    kl_kda_bwd_args b = bwd_args(&p);
    bwd_run(fastest(), &b);
    float *want = kt_zeros(p.HV * p.K);
    for (int64_t h = 0; h < p.HV; h++)
        for (int64_t i = 0; i < p.K; i++)
            for (int64_t j = 0; j < p.V; j++) {
                int64_t at = bwd_state_at(&p, 0, h, i, j);
                want[h * p.K + i] += p.S0[at] * ((float *)b.d_state_in.data)[at];
            }
    kt_assert_close("d_g of token 0", b.d_g.data, want, p.HV * p.K, 5e-6);
    kt_free_all();
}

/* With rule ADD keys only write, so the gauge holds for every token:
 *     dg_t = sum_{r >= t} (q . dq - k . dk)_r + rowsum(S_T . dS_T). */
static void gauge_of_all_tokens(void **state)
{
    (void)state;
    kt_rng r = {15};
    struct bwd_problem p = plain_problem(&r, 45);
    p.gate = KL_GATE_LOG;
    p.rule = KL_RULE_ADD;
    p.has_params = p.l2norm = false;
    p.HV = p.H;
    bwd_fill(&r, &p);
    const kl_backend *be = fastest();
    float *S = kt_floats(p.HV * p.K * p.V), *want = kt_floats(p.T * p.HV * p.K);
    bwd_run_forward(&p, be, kt_floats(p.T * p.HV * p.V), S);
    kl_kda_bwd_args b = bwd_args(&p);
    bwd_run(be, &b);
    for (int64_t h = 0; h < p.HV; h++)
        for (int64_t i = 0; i < p.K; i++) {
            double sum = 0;
            for (int64_t j = 0; j < p.V; j++)
                sum += (double)S[bwd_state_at(&p, 0, h, i, j)] * p.dS[bwd_state_at(&p, 0, h, i, j)];
            for (int64_t t = p.T - 1; t >= 0; t--) {
                int64_t at = (t * p.H + h) * p.K + i;
                sum += (double)p.q[at] * ((float *)b.d_q.data)[at] - (double)p.k[at] * ((float *)b.d_k.data)[at];
                want[at] = (float)sum;
            }
        }
    kt_assert_close("d_g", b.d_g.data, want, p.T * p.HV * p.K, 1e-5);
    kt_free_all();
}

static void a_decay_of_zero_has_no_gradient(void **state)
{
    (void)state;
    for (int l = 0; kt_level(l); l++) {
        kt_rng r = {16};
        struct bwd_problem p = plain_problem(&r, 40);
        p.gate = KL_GATE_LOG;
        p.has_params = false;
        p.regime = FORGETS;
        bwd_fill(&r, &p);
        kl_kda_bwd_args b = bwd_args(&p);
        bwd_run(kt_backend(kt_level(l), 1), &b);
        for (int64_t i = 0; i < p.T * p.HV * p.K; i++)
            if (isinf(p.g[i]))
                assert_true(((float *)b.d_g.data)[i] == 0);
        kt_free_all();
    }
}

static void states_may_share_memory(void **state)
{
    (void)state;
    kt_rng r = {17};
    struct bwd_problem p = plain_problem(&r, 20);
    kl_kda_bwd_args a = bwd_args(&p), b = bwd_args(&p);
    bwd_run(fastest(), &a);
    b.d_state_out.data = b.d_state_in.data = kt_copy(p.dS, p.HV * p.K * p.V);
    bwd_run(fastest(), &b);
    same_outputs("shared", &b, &a);
    kt_free_all();
}

static void refusals(void **state)
{
    (void)state;
    kl_error err;
    kt_rng r = {18};
    struct bwd_problem p = plain_problem(&r, 5);
    const kl_backend *be = kt_backend("ref", 1);
    kl_kda_bwd_args good = bwd_args(&p), b = good;
    good.work = kt_work(kl_kda_bwd_workspace(be, &good));
    b.d_q.dim[2] = 7;
    KT_ASSERT_FAILED(kl_kda_bwd(be, &b, &err), KL_ERR_SHAPE, &err, "d_q", "[7]");
    b = good;
    b.d_k.data = b.d_q.data;
    KT_ASSERT_FAILED(kl_kda_bwd(be, &b, &err), KL_ERR_OVERLAP, &err, "d_q", "d_k");
    b = good;
    b.fwd.g.n_dim = 0;
    b.fwd.gate = KL_GATE_LOG;
    b.fwd.A_log.n_dim = b.fwd.dt_bias.n_dim = 0;
    KT_ASSERT_FAILED(kl_kda_bwd(be, &b, &err), KL_ERR_ARGUMENT, &err, "d_g is wanted, but g is absent");
    b = good;
    b.work.bytes = 16;
    KT_ASSERT_FAILED(kl_kda_bwd(be, &b, &err), KL_ERR_WORKSPACE, &err, "workspace is 16 bytes");
    kt_free_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches_the_recurrent_adjoint), cmocka_unit_test(finite_differences),
        cmocka_unit_test(threads_change_no_bit),         cmocka_unit_test(each_output_may_be_absent),
        cmocka_unit_test(a_split_sequence_is_the_whole), cmocka_unit_test(gauge_of_the_first_token),
        cmocka_unit_test(gauge_of_all_tokens),           cmocka_unit_test(a_decay_of_zero_has_no_gradient),
        cmocka_unit_test(states_may_share_memory),       cmocka_unit_test(refusals),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_free_backends();
    return failed;
}
