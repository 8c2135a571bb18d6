/* kl_dplr_bwd against the recurrent adjoint in double, over random shapes and decays; then properties. */
#include "support/kt.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_SEQ = 3, N_ROWS = 5 }; /* q k a b g */

struct problem {
    int64_t T, H, K, V, n_seq, cu[MAX_SEQ + 1];
    kl_layout layout;
    bool has_g, has_states, bf16;
    int chunk;
    float scale;
    float *row[N_ROWS], *v, *d_o, *S0, *dS;
    uint16_t *row16[N_ROWS], *v16, *d_o16;
};

static float log_decay(kt_rng *r, int regime)
{
    float mild = -expf((float)(2 * kt_normal(r) - 2));
    switch (regime) {
    case 0:
        return 0;
    case 1:
        return -50;
    case 2:
        return kt_below(r, 10) ? mild : -50;
    case 3:
        return kt_below(r, 10) ? mild : -INFINITY;
    default:
        return mild;
    }
}

/* b of unit length and a = gain b, so that the transition contracts. */
static void fill_problem(kt_rng *r, struct problem *p, int regime)
{
    int64_t rows = p->T * p->H, states = p->n_seq * p->H * p->K * p->V;
    for (int i = 0; i < N_ROWS; i++)
        p->row[i] = kt_normals(r, rows * p->K, i < 2 ? 1 : 0.1f);
    for (int64_t at = 0; at < rows; at++) {
        double n = 1e-9, gain = kt_uniform(r);
        for (int64_t i = 0; i < p->K; i++)
            n += (double)p->row[3][at * p->K + i] * p->row[3][at * p->K + i];
        for (int64_t i = 0; i < p->K; i++) {
            p->row[3][at * p->K + i] /= (float)sqrt(n);
            p->row[2][at * p->K + i] = (float)gain * p->row[3][at * p->K + i] + 0.1f * p->row[2][at * p->K + i];
            p->row[4][at * p->K + i] = p->has_g ? log_decay(r, regime) : 0;
        }
    }
    p->v = kt_normals(r, rows * p->V, 1);
    p->d_o = kt_normals(r, rows * p->V, 1);
    p->S0 = kt_normals(r, states, 1);
    p->dS = kt_normals(r, states, 1);
    if (p->bf16) {
        for (int i = 0; i < N_ROWS; i++)
            p->row16[i] = kt_bf16_of(p->row[i], rows * p->K);
        p->v16 = kt_bf16_of(p->v, rows * p->V);
        p->d_o16 = kt_bf16_of(p->d_o, rows * p->V);
    }
}

static struct problem random_problem(kt_rng *r)
{
    static const int64_t lengths[] = {0, 1, 7, 15, 16, 17, 33, 100}, sizes[] = {1, 5, 16, 17, 32, 40};
    static const int chunks[] = {0, 8, 16, 32, 64};
    struct problem p = {.H = 1 + kt_below(r, 3), .K = sizes[kt_below(r, 6)], .V = sizes[kt_below(r, 6)]};
    p.n_seq = 1 + kt_below(r, MAX_SEQ);
    for (int64_t i = 0; i < p.n_seq; i++)
        p.cu[i + 1] = p.cu[i] + lengths[kt_below(r, 8)];
    p.T = p.cu[p.n_seq];
    p.layout = (kl_layout)kt_below(r, 2);
    p.has_g = kt_below(r, 5);
    p.has_states = kt_below(r, 4);
    p.bf16 = kt_below(r, 4) == 0;
    p.chunk = chunks[kt_below(r, 5)];
    p.scale = kt_below(r, 2) ? 0.37f : 0;
    fill_problem(r, &p, (int)kt_below(r, 6));
    return p;
}

/* ------------------------------------------------------------------------------ the recurrent adjoint, in double -- */

struct gradients {
    double *row[N_ROWS], *v, *S0;
};

static double *doubles(int64_t n)
{
    double *x = kt_bytes((size_t)n * sizeof *x);
    for (int64_t i = 0; i < n; i++)
        x[i] = 0;
    return x;
}

static int64_t state_at(const struct problem *p, int64_t seq, int64_t head, int64_t i, int64_t j)
{
    return (seq * p->H + head) * p->K * p->V + (p->layout == KL_LAYOUT_KV ? i * p->V + j : j * p->K + i);
}

/* S [K][V] and y [V] = S^T b before. */
static void step(const struct problem *p, double *S, double *y, int64_t at)
{
    const float *k = p->row[1] + at * p->K, *a = p->row[2] + at * p->K, *b = p->row[3] + at * p->K;
    for (int64_t j = 0; j < p->V; j++) {
        y[j] = 0;
        for (int64_t i = 0; i < p->K; i++)
            y[j] += S[i * p->V + j] * b[i];
        for (int64_t i = 0; i < p->K; i++)
            S[i * p->V + j] = S[i * p->V + j] * exp((double)p->row[4][at * p->K + i]) - a[i] * y[j] +
                              (double)k[i] * p->v[at * p->V + j];
    }
}

static void step_back(const struct problem *p, struct gradients *d, double *D, const double *before,
                      const double *after, const double *y, int64_t at)
{
    const float *q = p->row[0] + at * p->K, *k = p->row[1] + at * p->K, *a = p->row[2] + at * p->K,
                *b = p->row[3] + at * p->K, *g = p->row[4] + at * p->K;
    double *dq = d->row[0] + at * p->K, *dk = d->row[1] + at * p->K, *da = d->row[2] + at * p->K,
           *db = d->row[3] + at * p->K, *dg = d->row[4] + at * p->K;
    double scale = p->scale != 0 ? p->scale : 1 / sqrt((double)p->K);
    for (int64_t j = 0; j < p->V; j++) {
        double d_o = p->d_o[at * p->V + j], v = p->v[at * p->V + j], dv = 0, dy = 0;
        for (int64_t i = 0; i < p->K; i++) {
            double *D_ij = D + i * p->V + j;
            *D_ij += scale * q[i] * d_o;
            dq[i] += scale * after[i * p->V + j] * d_o;
            dv += *D_ij * k[i];
            dk[i] += *D_ij * v;
            dy -= *D_ij * a[i];
            da[i] -= *D_ij * y[j];
        }
        for (int64_t i = 0; i < p->K; i++) {
            double *D_ij = D + i * p->V + j, S = before[i * p->V + j], alpha = exp((double)g[i]);
            db[i] += S * dy;
            dg[i] += *D_ij * alpha * S;
            *D_ij = alpha * *D_ij + b[i] * dy;
        }
        d->v[at * p->V + j] = dv;
    }
}

static void adjoint_of_head(const struct problem *p, struct gradients *d, int64_t seq, int64_t head)
{
    int64_t from = p->cu[seq], n = p->cu[seq + 1] - from, KV = p->K * p->V;
    double *S = doubles((n + 1) * KV), *y = doubles((n + 1) * p->V), *D = doubles(KV);
    for (int64_t i = 0; p->has_states && i < p->K; i++)
        for (int64_t j = 0; j < p->V; j++) {
            S[i * p->V + j] = p->S0[state_at(p, seq, head, i, j)];
            D[i * p->V + j] = p->dS[state_at(p, seq, head, i, j)];
        }
    for (int64_t t = 0; t < n; t++) {
        memcpy(S + (t + 1) * KV, S + t * KV, sizeof *S * (size_t)KV);
        step(p, S + (t + 1) * KV, y + t * p->V, (from + t) * p->H + head);
    }
    for (int64_t t = n - 1; t >= 0; t--)
        step_back(p, d, D, S + t * KV, S + (t + 1) * KV, y + t * p->V, (from + t) * p->H + head);
    for (int64_t i = 0; i < p->K; i++)
        for (int64_t j = 0; j < p->V; j++)
            d->S0[state_at(p, seq, head, i, j)] = D[i * p->V + j];
}

static struct gradients adjoint(const struct problem *p)
{
    struct gradients d = {.v = doubles(p->T * p->H * p->V), .S0 = doubles(p->n_seq * p->H * p->K * p->V)};
    for (int i = 0; i < N_ROWS; i++)
        d.row[i] = doubles(p->T * p->H * p->K);
    for (int64_t seq = 0; seq < p->n_seq; seq++)
        for (int64_t head = 0; head < p->H; head++)
            adjoint_of_head(p, &d, seq, head);
    return d;
}

/* -------------------------------------------------------------------------------------------- the operator's way -- */

static kl_tensor tensor3(const struct problem *p, float *x, uint16_t *x16, int64_t dim)
{
    return kl_view3(p->bf16 ? (void *)x16 : x, p->bf16 ? KL_BF16 : KL_F32, p->T, p->H, dim);
}

static kl_tensor state_tensor(const struct problem *p, float *x)
{
    bool vk = p->layout == KL_LAYOUT_VK;
    return kl_view4(x, KL_F32, p->n_seq, p->H, vk ? p->V : p->K, vk ? p->K : p->V);
}

static kl_dplr_args forward_args(const struct problem *p)
{
    kl_dplr_args a = {.q = tensor3(p, p->row[0], p->row16[0], p->K),
                      .k = tensor3(p, p->row[1], p->row16[1], p->K),
                      .a = tensor3(p, p->row[2], p->row16[2], p->K),
                      .b = tensor3(p, p->row[3], p->row16[3], p->K),
                      .v = tensor3(p, p->v, p->v16, p->V),
                      .scale = p->scale,
                      .state_layout = p->layout,
                      .cu_seqlens = p->cu,
                      .n_seq = p->n_seq,
                      .path = KL_PATH_CHUNK,
                      .chunk = p->chunk};
    if (p->has_g)
        a.g = tensor3(p, p->row[4], p->row16[4], p->K);
    if (p->has_states)
        a.state_in = state_tensor(p, p->S0);
    return a;
}

static void run_forward(const struct problem *p, const kl_backend *be, float *o, float *state_out)
{
    kl_dplr_args a = forward_args(p);
    a.o = kl_view3(o, KL_F32, p->T, p->H, p->V);
    a.state_out = state_tensor(p, state_out);
    a.work = kt_work(kl_dplr_workspace(be, &a));
    KT_OK(kl_dplr(be, &a, KT_ERR));
}

static kl_tensor new_rows(const struct problem *p, int64_t dim)
{
    return kl_view3(kt_floats(p->T * p->H * dim), KL_F32, p->T, p->H, dim);
}

static kl_dplr_bwd_args backward_args(const struct problem *p)
{
    kl_dplr_bwd_args b = {.fwd = forward_args(p), .d_o = tensor3(p, p->d_o, p->d_o16, p->V)};
    b.d_q = new_rows(p, p->K);
    b.d_k = new_rows(p, p->K);
    b.d_a = new_rows(p, p->K);
    b.d_b = new_rows(p, p->K);
    b.d_v = new_rows(p, p->V);
    if (p->has_g)
        b.d_g = new_rows(p, p->K);
    b.d_state_in = state_tensor(p, kt_floats(p->n_seq * p->H * p->K * p->V));
    if (p->has_states)
        b.d_state_out = state_tensor(p, p->dS);
    return b;
}

static void run_backward(const kl_backend *be, kl_dplr_bwd_args *b)
{
    b->work = kt_work(kl_dplr_bwd_workspace(be, b));
    KT_OK(kl_dplr_bwd(be, b, KT_ERR));
}

enum { N_OUT = 7 };
static const char *const out_name[N_OUT] = {"d_q", "d_k", "d_a", "d_b", "d_g", "d_v", "d_state_in"};

static void outputs_of(const kl_dplr_bwd_args *b, kl_tensor out[N_OUT])
{
    const kl_tensor all[N_OUT] = {b->d_q, b->d_k, b->d_a, b->d_b, b->d_g, b->d_v, b->d_state_in};
    memcpy(out, all, sizeof all);
}

static int64_t elements(kl_tensor t)
{
    int64_t n = t.n_dim > 0;
    for (int i = 0; i < t.n_dim; i++)
        n *= t.dim[i];
    return n;
}

static void same_outputs(const char *what, const kl_dplr_bwd_args *a, const kl_dplr_bwd_args *b)
{
    kl_tensor x[N_OUT], y[N_OUT];
    outputs_of(a, x);
    outputs_of(b, y);
    for (int i = 0; i < N_OUT; i++)
        if (x[i].n_dim && y[i].n_dim)
            kt_assert_same_bits(what, x[i].data, y[i].data, (size_t)elements(x[i]) * sizeof(float));
}

static const kl_backend *fastest(int n_thread)
{
    int l = 0;
    while (kt_level(l + 1))
        l++;
    return kt_backend(kt_level(l), n_thread);
}

/* --------------------------------------------------------------------------------------------------------- tests -- */

static void matches_the_recurrent_adjoint(void **state)
{
    (void)state;
    for (int i = 0; i < 100; i++) {
        kt_rng r = {1000 + (uint64_t)i};
        struct problem p = random_problem(&r);
        struct gradients d = adjoint(&p);
        const double *want[N_OUT] = {d.row[0], d.row[1], d.row[2], d.row[3], d.row[4], d.v, d.S0};
        for (int l = 0; kt_level(l); l++) {
            kl_tensor out[N_OUT];
            kl_dplr_bwd_args b = backward_args(&p);
            run_backward(kt_backend(kt_level(l), 1 + i % 3), &b);
            outputs_of(&b, out);
            for (int j = 0; j < N_OUT; j++) {
                double ratio = out[j].n_dim ? kt_ratio64(out[j].data, want[j], elements(out[j])) : 0;
                if (!(ratio <= 5e-6))
                    fail_msg("%s: %s is off by %.3g: problem %d, T %lld, H %lld, K %lld, V %lld, layout %d, g %d, "
                             "states %d, bf16 %d, chunk %d",
                             kt_level(l), out_name[j], ratio, i, (long long)p.T, (long long)p.H, (long long)p.K,
                             (long long)p.V, (int)p.layout, p.has_g, p.has_states, p.bf16, p.chunk);
            }
        }
        kt_free_all();
    }
}

static struct problem plain_problem(kt_rng *r, int64_t T)
{
    struct problem p = {.T = T, .H = 3, .K = 24, .V = 20, .n_seq = 1, .cu = {0, T}, .has_g = true, .has_states = true};
    fill_problem(r, &p, 5);
    return p;
}

struct finite {
    const struct problem *p;
    const kl_backend *be;
    float *o, *S;
};

static double loss(void *ctx)
{
    struct finite *f = ctx;
    const struct problem *p = f->p;
    run_forward(p, f->be, f->o, f->S);
    return kt_dot(p->d_o, f->o, p->T * p->H * p->V) + kt_dot(p->dS, f->S, p->n_seq * p->H * p->K * p->V);
}

static void finite_differences(void **state)
{
    (void)state;
    for (int l = 0; kt_level(l); l++) {
        kt_rng r = {7};
        struct problem p = plain_problem(&r, 37);
        struct finite f = {&p, kt_backend(kt_level(l), 1), kt_floats(p.T * p.H * p.V),
                           kt_floats(p.n_seq * p.H * p.K * p.V)};
        kl_dplr_bwd_args b = backward_args(&p);
        run_backward(f.be, &b);
        kl_tensor out[N_OUT];
        outputs_of(&b, out);
        float *const x[N_OUT] = {p.row[0], p.row[1], p.row[2], p.row[3], p.row[4], p.v, p.S0};
        for (int i = 0; i < N_OUT; i++)
            kt_check_gradient(out_name[i], loss, &f, x[i], out[i].data, elements(out[i]), 1e-2, 1e-2, &r);
        kt_free_all();
    }
}

static void threads_change_no_bit(void **state)
{
    (void)state;
    for (int l = 0; kt_level(l); l++) {
        kt_rng r = {11};
        struct problem p = plain_problem(&r, 70);
        kl_dplr_bwd_args one = backward_args(&p);
        run_backward(kt_backend(kt_level(l), 1), &one);
        for (int threads = 2; threads <= 3; threads++) {
            kl_dplr_bwd_args b = backward_args(&p);
            run_backward(kt_backend(kt_level(l), threads), &b);
            same_outputs("threads", &b, &one);
        }
        kt_free_all();
    }
}

static void each_output_may_be_absent(void **state)
{
    (void)state;
    kt_rng r = {12};
    struct problem p = plain_problem(&r, 20);
    kl_dplr_bwd_args all = backward_args(&p);
    run_backward(fastest(1), &all);
    for (int i = 0; i <= N_OUT; i++) {
        kl_dplr_bwd_args b = backward_args(&p);
        kl_tensor *const out[N_OUT] = {&b.d_q, &b.d_k, &b.d_a, &b.d_b, &b.d_g, &b.d_v, &b.d_state_in};
        for (int j = 0; j < N_OUT; j++)
            if (i == j || i == N_OUT)
                out[j]->n_dim = 0;
        run_backward(fastest(1), &b);
        same_outputs("others", &b, &all);
    }
    kt_free_all();
}

/* What holds whatever the loss, for readers q, b and writers k, a of every token:
 *     dg_t = sum_{r >= t} (q . dq - k . dk - a . da)_r + sum_{r > t} (b . db)_r + rowsum(S_T . dS_T). */
static void gauge(void **state)
{
    (void)state;
    kt_rng r = {15};
    struct problem p = plain_problem(&r, 45);
    float *S = kt_floats(p.H * p.K * p.V), *want = kt_floats(p.T * p.H * p.K);
    run_forward(&p, fastest(1), kt_floats(p.T * p.H * p.V), S);
    kl_dplr_bwd_args b = backward_args(&p);
    run_backward(fastest(1), &b);
    const float *dq = b.d_q.data, *dk = b.d_k.data, *da = b.d_a.data, *db = b.d_b.data;
    for (int64_t h = 0; h < p.H; h++)
        for (int64_t i = 0; i < p.K; i++) {
            double sum = 0;
            for (int64_t j = 0; j < p.V; j++)
                sum += (double)S[state_at(&p, 0, h, i, j)] * p.dS[state_at(&p, 0, h, i, j)];
            for (int64_t t = p.T - 1; t >= 0; t--) {
                int64_t at = (t * p.H + h) * p.K + i;
                sum += (double)p.row[0][at] * dq[at] - (double)p.row[1][at] * dk[at] - (double)p.row[2][at] * da[at];
                want[at] = (float)sum;
                sum += (double)p.row[3][at] * db[at];
            }
        }
    kt_assert_close("d_g", b.d_g.data, want, p.T * p.H * p.K, 1e-5);
    kt_free_all();
}

static void refusals(void **state)
{
    (void)state;
    kl_error err;
    kt_rng r = {18};
    struct problem p = plain_problem(&r, 5);
    const kl_backend *be = kt_backend("ref", 1);
    kl_dplr_bwd_args good = backward_args(&p), b = good;
    good.work = kt_work(kl_dplr_bwd_workspace(be, &good));
    b.d_a.dim[2] = 7;
    KT_ASSERT_FAILED(kl_dplr_bwd(be, &b, &err), KL_ERR_SHAPE, &err, "d_a", "[7]");
    b = good;
    b.d_b.data = b.d_v.data;
    KT_ASSERT_FAILED(kl_dplr_bwd(be, &b, &err), KL_ERR_OVERLAP, &err, "d_b", "d_v");
    b = good;
    b.fwd.g.n_dim = 0;
    KT_ASSERT_FAILED(kl_dplr_bwd(be, &b, &err), KL_ERR_ARGUMENT, &err, "d_g is wanted, but g is absent");
    b = good;
    b.work.bytes = 16;
    KT_ASSERT_FAILED(kl_dplr_bwd(be, &b, &err), KL_ERR_WORKSPACE, &err, "workspace is 16 bytes");
    kt_free_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches_the_recurrent_adjoint),
        cmocka_unit_test(finite_differences),
        cmocka_unit_test(threads_change_no_bit),
        cmocka_unit_test(each_output_may_be_absent),
        cmocka_unit_test(gauge),
        cmocka_unit_test(refusals),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_free_backends();
    return failed;
}
