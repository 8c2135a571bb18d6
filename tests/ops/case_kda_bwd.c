/* kl_kda_bwd against the recurrent adjoint in double, over random settings of everything; then properties. */
#include "support/kt.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_SEQ = 5 };

/* ----------------------------------------------------------------------------------------------------- a problem -- */

enum gate_shape { NO_GATE, PER_HEAD, PER_CHANNEL };
enum gate_regime { MILD, ALL_ZERO, ALL_FIFTY, HALF_FIFTY, SPIKES, FORGETS, N_REGIME };

struct problem {
    int64_t T, H, HV, K, V, n_seq, cu[MAX_SEQ + 1];
    enum gate_shape gate_shape;
    enum gate_regime regime;
    kl_gate gate;
    kl_rule rule;
    kl_layout layout;
    bool l2norm, sigmoid, twice, has_beta, has_params, has_states, bf16, padded;
    int chunk;
    int64_t snapshot_every; /* 0: none */
    float scale, lower_bound;
    /* f32 values, rounded to bf16 where the tensors are */
    float *q, *k, *v, *g, *beta, *A_log, *dt_bias, *S0, *d_o, *dS;
    int64_t q_pitch, v_pitch, g_pitch; /* elements */
    uint16_t *q16, *k16, *v16, *g16, *beta16, *d_o16;
    float *snapshots, *errors; /* errors NULL: not kept */
    bool has_errors;
};

static int64_t n_gate(const struct problem *p)
{
    return p->gate_shape == PER_CHANNEL ? p->K : p->gate_shape == PER_HEAD ? 1 : 0;
}

static void unit_rows(float *x, int64_t pitch, const struct problem *p)
{
    for (int64_t t = 0; t < p->T; t++)
        for (int64_t h = 0; h < p->H; h++) {
            float *row = x + t * pitch + h * p->K;
            double n = 0;
            for (int64_t i = 0; i < p->K; i++)
                n += (double)row[i] * row[i];
            for (int64_t i = 0; i < p->K; i++)
                row[i] /= (float)sqrt(n);
        }
}

static float log_decay(kt_rng *r, const struct problem *p)
{
    if (p->gate != KL_GATE_LOG)
        return (float)(2 * kt_normal(r) - 1);
    float mild = -expf((float)(2 * kt_normal(r) - 2));
    switch (p->regime) {
    case ALL_ZERO:
        return 0;
    case ALL_FIFTY:
        return -50;
    case HALF_FIFTY:
        return kt_below(r, 2) ? -50 : 0;
    case SPIKES:
        return kt_below(r, 10) == 0 ? -50 : mild;
    case FORGETS:
        return kt_below(r, 10) == 0 ? -INFINITY : mild;
    default:
        return mild;
    }
}

static void fill_problem(kt_rng *r, struct problem *p)
{
    int64_t T = p->T, pad = p->padded ? 5 : 0, states = p->n_seq * p->HV * p->K * p->V;
    p->q_pitch = p->H * p->K + pad;
    p->v_pitch = p->HV * p->V + pad;
    p->g_pitch = p->HV * n_gate(p) + pad;
    p->q = kt_normals(r, T * p->q_pitch, 1);
    p->k = kt_normals(r, T * p->q_pitch, 1);
    p->v = kt_normals(r, T * p->v_pitch, 1);
    p->d_o = kt_normals(r, T * p->v_pitch, 1);
    p->g = kt_zeros(T * p->g_pitch);
    p->beta = kt_floats(T * p->HV);
    p->A_log = kt_normals(r, p->HV, 0.5f);
    p->dt_bias = kt_normals(r, p->HV * (n_gate(p) ? n_gate(p) : 1), 0.5f);
    p->S0 = kt_normals(r, states, 1);
    p->dS = kt_normals(r, states, 1);
    for (int64_t i = 0; i < T * p->g_pitch; i++)
        p->g[i] = log_decay(r, p);
    for (int64_t i = 0; i < T * p->HV; i++)
        p->beta[i] = (float)(p->sigmoid ? kt_normal(r) : kt_below(r, 8) ? kt_uniform(r) : 0);
    if (!p->l2norm)
        unit_rows(p->k, p->q_pitch, p);
    if (p->bf16) {
        p->q16 = kt_bf16_of(p->q, T * p->q_pitch);
        p->k16 = kt_bf16_of(p->k, T * p->q_pitch);
        p->v16 = kt_bf16_of(p->v, T * p->v_pitch);
        p->d_o16 = kt_bf16_of(p->d_o, T * p->v_pitch);
        p->g16 = kt_bf16_of(p->g, T * p->g_pitch);
        p->beta16 = kt_bf16_of(p->beta, T * p->HV);
    }
}

static struct problem random_problem(kt_rng *r)
{
    static const int64_t lengths[] = {0, 1, 7, 15, 16, 17, 33, 100};
    static const int chunks[] = {0, 8, 16, 32, 64};
    static const int64_t sizes[] = {2, 5, 16, 17, 32, 40};
    struct problem p = {.H = 1 + kt_below(r, 2), .K = sizes[kt_below(r, 6)], .V = sizes[kt_below(r, 6)]};
    p.HV = p.H * (1 << kt_below(r, 3));
    p.n_seq = 1 + kt_below(r, 3);
    for (int64_t i = 0; i < p.n_seq; i++)
        p.cu[i + 1] = p.cu[i] + lengths[kt_below(r, 8)];
    p.T = p.cu[p.n_seq];
    p.gate_shape = (enum gate_shape)kt_below(r, 3);
    p.gate = p.gate_shape == NO_GATE ? KL_GATE_LOG : (kl_gate)kt_below(r, 3);
    p.regime = (enum gate_regime)kt_below(r, N_REGIME);
    p.lower_bound = p.gate == KL_GATE_BOUNDED ? -5 : 0;
    p.rule = kt_below(r, 4) ? KL_RULE_DELTA : KL_RULE_ADD;
    p.layout = (kl_layout)kt_below(r, 2);
    p.l2norm = kt_below(r, 2);
    p.has_beta = kt_below(r, 5);
    p.sigmoid = p.has_beta && kt_below(r, 2);
    p.twice = kt_below(r, 2);
    p.has_params = p.gate != KL_GATE_LOG && kt_below(r, 4);
    p.has_states = kt_below(r, 4);
    p.bf16 = kt_below(r, 4) == 0;
    p.padded = kt_below(r, 2);
    p.chunk = chunks[kt_below(r, 5)];
    p.snapshot_every = kt_below(r, 3) ? 0 : (p.chunk ? p.chunk : 16) * (1 + kt_below(r, 3));
    p.scale = kt_below(r, 2) ? 0.37f : 0;
    p.has_errors = kt_below(r, 2);
    fill_problem(r, &p);
    return p;
}

static const char *describe(const struct problem *p)
{
    static char text[400];
    snprintf(text, sizeof text,
             "T %lld in %lld sequences, H %lld, HV %lld, K %lld, V %lld, gate shape %d form %d regime %d, rule %d, "
             "layout %d, l2norm %d, beta %d sigmoid %d twice %d, params %d, states %d, bf16 %d, chunk %d, "
             "snapshots %lld, errors %d",
             (long long)p->T, (long long)p->n_seq, (long long)p->H, (long long)p->HV, (long long)p->K, (long long)p->V,
             (int)p->gate_shape, (int)p->gate, (int)p->regime, (int)p->rule, (int)p->layout, p->l2norm, p->has_beta,
             p->sigmoid, p->twice, p->has_params, p->has_states, p->bf16, p->chunk, (long long)p->snapshot_every,
             p->has_errors);
    return text;
}

/* ------------------------------------------------------------------------------ the recurrent adjoint, in double -- */

struct gradients {
    double *q, *k, *v, *g, *beta, *A_log, *dt_bias, *S0; /* dense */
    double *A_log_size;                                  /* [HV] sum of the magnitudes that d_A_log adds up */
};

static double *doubles(int64_t n)
{
    double *x = kt_bytes((size_t)n * sizeof *x);
    for (int64_t i = 0; i < n; i++)
        x[i] = 0;
    return x;
}

static struct gradients no_gradients(const struct problem *p)
{
    int64_t qs = p->T * p->H * p->K, n = n_gate(p) ? n_gate(p) : 1;
    return (struct gradients){
        doubles(qs),           doubles(qs),    doubles(p->T * p->HV * p->V), doubles(p->T * p->HV * n),
        doubles(p->T * p->HV), doubles(p->HV), doubles(p->HV * n),           doubles(p->n_seq * p->HV * p->K * p->V),
        doubles(p->HV)};
}

static int64_t state_at(const struct problem *p, int64_t seq, int64_t head, int64_t i, int64_t j)
{
    return (seq * p->HV + head) * p->K * p->V + (p->layout == KL_LAYOUT_KV ? i * p->V + j : j * p->K + i);
}

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static double beta_of(const struct problem *p, int64_t at)
{
    double x = p->has_beta ? p->beta[at] : 1;
    return (p->twice ? 2 : 1) * (p->sigmoid ? sigmoid(x) : x);
}

static double rate_of(const struct problem *p, int64_t head)
{
    return p->has_params ? exp((double)p->A_log[head]) : 1;
}

/* x + dt_bias of channel i. */
static double gate_input(const struct problem *p, int64_t t, int64_t head, int64_t i)
{
    int64_t n = n_gate(p);
    return (double)p->g[t * p->g_pitch + head * n + i] + (p->has_params ? (double)p->dt_bias[head * n + i] : 0);
}

static double log_decay_of(const struct problem *p, int64_t t, int64_t head, int64_t i)
{
    if (p->gate_shape == NO_GATE)
        return 0;
    double z = gate_input(p, t, head, p->gate_shape == PER_HEAD ? 0 : i), rate = rate_of(p, head);
    return p->gate == KL_GATE_SOFTPLUS  ? -rate * log1p(exp(z))
           : p->gate == KL_GATE_BOUNDED ? p->lower_bound * sigmoid(rate * z)
                                        : z;
}

/* dg of one channel (or head) through the gate. */
static void gate_adjoint(const struct problem *p, struct gradients *d, int64_t t, int64_t head, int64_t i, double dg)
{
    int64_t n = n_gate(p);
    double z = gate_input(p, t, head, i), rate = rate_of(p, head), dz = dg, dA = 0;
    if (p->gate == KL_GATE_SOFTPLUS) {
        dz = -rate * sigmoid(z) * dg;
        dA = dg * -rate * log1p(exp(z));
    } else if (p->gate == KL_GATE_BOUNDED) {
        double s = sigmoid(rate * z);
        dz = p->lower_bound * s * (1 - s) * rate * dg;
        dA = dz * z;
    }
    d->g[(t * p->HV + head) * n + i] = dz;
    d->dt_bias[head * n + i] += dz;
    d->A_log[head] += dA;
    d->A_log_size[head] += fabs(dA);
}

/* Rows of q or k after the norm, [K] in double; returns the factor. */
static double key_row(const struct problem *p, double *y, const float *x, int64_t t, int64_t head)
{
    const float *row = x + t * p->q_pitch + head / (p->HV / p->H) * p->K;
    double n = 1e-6;
    for (int64_t i = 0; i < p->K; i++)
        n += (double)row[i] * row[i];
    double r = p->l2norm ? 1 / sqrt(n) : 1;
    for (int64_t i = 0; i < p->K; i++)
        y[i] = row[i] * r;
    return r;
}

static void key_adjoint(const struct problem *p, double *dx, const float *x, int64_t t, int64_t head, const double *dy)
{
    double y[64], r = key_row(p, y, x, t, head), y_dy = 0;
    for (int64_t i = 0; i < p->K; i++)
        y_dy += y[i] * dy[i];
    double *to = dx + (t * p->H + head / (p->HV / p->H)) * p->K;
    for (int64_t i = 0; i < p->K; i++)
        to[i] += p->l2norm ? r * (dy[i] - y[i] * y_dy) : dy[i];
}

/* One token of the forward on S [K][V]; e [V] is the error that was written. */
static void step(const struct problem *p, double *S, double *e, int64_t t, int64_t head)
{
    double k[64], beta = beta_of(p, t * p->HV + head);
    key_row(p, k, p->k, t, head);
    for (int64_t j = 0; j < p->V; j++) {
        e[j] = p->v[t * p->v_pitch + head * p->V + j];
        for (int64_t i = 0; i < p->K; i++) {
            S[i * p->V + j] *= exp(log_decay_of(p, t, head, i));
            if (p->rule == KL_RULE_DELTA)
                e[j] -= S[i * p->V + j] * k[i];
        }
        for (int64_t i = 0; i < p->K; i++)
            S[i * p->V + j] += k[i] * beta * e[j];
    }
}

/* One token back: `before` is S_{t-1}, `after` S_t, D the adjoint of S_t and then of S_{t-1}. */
static void step_back(const struct problem *p, struct gradients *d, double *D, const double *before,
                      const double *after, const double *e, int64_t t, int64_t head)
{
    double q[64], k[64], dq[64] = {0}, dk[64] = {0}, dg_head = 0, dbeta = 0, beta = beta_of(p, t * p->HV + head);
    double scale = p->scale != 0 ? p->scale : 1 / sqrt((double)p->K);
    int64_t V = p->V;
    key_row(p, q, p->q, t, head);
    key_row(p, k, p->k, t, head);
    for (int64_t j = 0; j < V; j++) {
        double d_o = p->d_o[t * p->v_pitch + head * V + j], du = 0;
        for (int64_t i = 0; i < p->K; i++) {
            D[i * V + j] += scale * q[i] * d_o;
            dq[i] += scale * after[i * V + j] * d_o;
            du += D[i * V + j] * k[i];
            dk[i] += D[i * V + j] * beta * e[j];
        }
        dbeta += du * e[j];
        d->v[(t * p->HV + head) * V + j] = beta * du;
        for (int64_t i = 0; p->rule == KL_RULE_DELTA && i < p->K; i++) {
            dk[i] -= exp(log_decay_of(p, t, head, i)) * before[i * V + j] * beta * du;
            D[i * V + j] -= k[i] * beta * du;
        }
    }
    for (int64_t i = 0; i < p->K; i++) {
        double alpha = exp(log_decay_of(p, t, head, i)), dg = 0;
        for (int64_t j = 0; j < V; j++) {
            dg += D[i * V + j] * alpha * before[i * V + j];
            D[i * V + j] *= alpha;
        }
        dg_head += dg;
        if (p->gate_shape == PER_CHANNEL)
            gate_adjoint(p, d, t, head, i, dg);
    }
    if (p->gate_shape == PER_HEAD)
        gate_adjoint(p, d, t, head, 0, dg_head);
    double x = p->sigmoid ? sigmoid(p->beta[t * p->HV + head]) : 0;
    d->beta[t * p->HV + head] = (p->twice ? 2 : 1) * (p->sigmoid ? x * (1 - x) : 1) * dbeta;
    key_adjoint(p, d->q, p->q, t, head, dq);
    key_adjoint(p, d->k, p->k, t, head, dk);
}

static void adjoint_of_head(const struct problem *p, struct gradients *d, int64_t seq, int64_t head)
{
    int64_t from = p->cu[seq], n = p->cu[seq + 1] - from, KV = p->K * p->V;
    double *S = doubles((n + 1) * KV), *e = doubles((n + 1) * p->V), *D = doubles(KV);
    for (int64_t i = 0; i < p->K; i++)
        for (int64_t j = 0; j < p->V; j++) {
            S[i * p->V + j] = p->has_states ? p->S0[state_at(p, seq, head, i, j)] : 0;
            D[i * p->V + j] = p->has_states ? p->dS[state_at(p, seq, head, i, j)] : 0;
        }
    for (int64_t t = 0; t < n; t++) {
        memcpy(S + (t + 1) * KV, S + t * KV, sizeof *S * (size_t)KV);
        step(p, S + (t + 1) * KV, e + t * p->V, from + t, head);
    }
    for (int64_t t = n - 1; t >= 0; t--)
        step_back(p, d, D, S + t * KV, S + (t + 1) * KV, e + t * p->V, from + t, head);
    for (int64_t i = 0; i < p->K; i++)
        for (int64_t j = 0; j < p->V; j++)
            d->S0[state_at(p, seq, head, i, j)] = D[i * p->V + j];
}

static struct gradients adjoint(const struct problem *p)
{
    struct gradients d = no_gradients(p);
    for (int64_t seq = 0; seq < p->n_seq; seq++)
        for (int64_t head = 0; head < p->HV; head++)
            adjoint_of_head(p, &d, seq, head);
    return d;
}

/* -------------------------------------------------------------------------------------------- the operator's way -- */

static kl_tensor tensor3(const struct problem *p, float *x, uint16_t *x16, int64_t heads, int64_t dim, int64_t pitch)
{
    kl_tensor t = kl_view3(p->bf16 ? (void *)x16 : x, p->bf16 ? KL_BF16 : KL_F32, p->T, heads, dim);
    t.pitch = pitch;
    return t;
}

static kl_tensor state_tensor(const struct problem *p, float *x, int64_t n)
{
    bool vk = p->layout == KL_LAYOUT_VK;
    return kl_view4(x, KL_F32, n, p->HV, vk ? p->V : p->K, vk ? p->K : p->V);
}

static kl_kda_args forward_args(const struct problem *p)
{
    kl_kda_args a = {.q = tensor3(p, p->q, p->q16, p->H, p->K, p->q_pitch),
                     .k = tensor3(p, p->k, p->k16, p->H, p->K, p->q_pitch),
                     .v = tensor3(p, p->v, p->v16, p->HV, p->V, p->v_pitch),
                     .gate = p->gate,
                     .lower_bound = p->lower_bound,
                     .rule = p->rule,
                     .qk_l2norm = p->l2norm,
                     .beta_sigmoid = p->sigmoid,
                     .beta_double = p->twice,
                     .scale = p->scale,
                     .state_layout = p->layout,
                     .cu_seqlens = p->cu,
                     .n_seq = p->n_seq,
                     .path = KL_PATH_CHUNK,
                     .chunk = p->chunk};
    if (p->gate_shape != NO_GATE) {
        a.g = tensor3(p, p->g, p->g16, p->HV, p->K, p->g_pitch);
        a.g.n_dim = p->gate_shape == PER_HEAD ? 2 : 3;
    }
    if (p->has_beta)
        a.beta = kl_view2(p->bf16 ? (void *)p->beta16 : p->beta, p->bf16 ? KL_BF16 : KL_F32, p->T, p->HV);
    if (p->has_params) {
        a.A_log = kl_view1(p->A_log, KL_F32, p->HV);
        a.dt_bias =
            p->gate_shape == PER_HEAD ? kl_view1(p->dt_bias, KL_F32, p->HV) : kl_view2(p->dt_bias, KL_F32, p->HV, p->K);
    }
    if (p->has_states)
        a.state_in = state_tensor(p, p->S0, p->n_seq);
    if (p->snapshot_every) {
        int64_t n = 0;
        for (int64_t s = 0; s < p->n_seq; s++)
            n += (p->cu[s + 1] - p->cu[s]) / p->snapshot_every;
        a.snapshots = state_tensor(p, p->snapshots, n);
        a.snapshot_every = p->snapshot_every;
    }
    if (p->errors)
        a.e = kl_view3(p->errors, KL_F32, p->T, p->HV, p->V);
    return a;
}

/* Runs the forward for its outputs; allocates what it needs. */
static void run_forward(const struct problem *p, const kl_backend *be, float *o, float *state_out)
{
    kl_kda_args a = forward_args(p);
    a.o = kl_view3(o, KL_F32, p->T, p->HV, p->V);
    if (state_out)
        a.state_out = state_tensor(p, state_out, p->n_seq);
    a.work = kt_work(kl_kda_workspace(be, &a));
    KT_OK(kl_kda(be, &a, KT_ERR));
}

/* Parameters start from 3, to see that gradients are added. */
static kl_kda_bwd_args backward_args(const struct problem *p)
{
    kl_kda_bwd_args b = {.fwd = forward_args(p), .d_o = tensor3(p, p->d_o, p->d_o16, p->HV, p->V, p->v_pitch)};
    b.d_q = kl_view3(kt_floats(p->T * p->H * p->K), KL_F32, p->T, p->H, p->K);
    b.d_k = kl_view3(kt_floats(p->T * p->H * p->K), KL_F32, p->T, p->H, p->K);
    b.d_v = kl_view3(kt_floats(p->T * p->HV * p->V), KL_F32, p->T, p->HV, p->V);
    b.d_beta = kl_view2(kt_floats(p->T * p->HV), KL_F32, p->T, p->HV);
    b.d_state_in = state_tensor(p, kt_floats(p->n_seq * p->HV * p->K * p->V), p->n_seq);
    if (p->gate_shape != NO_GATE) {
        b.d_g = kl_view3(kt_floats(p->T * p->HV * n_gate(p)), KL_F32, p->T, p->HV, p->K);
        b.d_g.n_dim = b.fwd.g.n_dim;
    }
    if (p->has_params) {
        b.d_A_log = b.fwd.A_log;
        b.d_A_log.data = kt_floats(p->HV);
        b.d_dt_bias = b.fwd.dt_bias;
        b.d_dt_bias.data = kt_floats(p->HV * n_gate(p));
        for (int64_t i = 0; i < p->HV; i++)
            ((float *)b.d_A_log.data)[i] = 3;
        for (int64_t i = 0; i < p->HV * n_gate(p); i++)
            ((float *)b.d_dt_bias.data)[i] = 3;
    }
    if (p->has_states)
        b.d_state_out = state_tensor(p, p->dS, p->n_seq);
    return b;
}

static void run_backward(const kl_backend *be, kl_kda_bwd_args *b)
{
    b->work = kt_work(kl_kda_bwd_workspace(be, b));
    KT_OK(kl_kda_bwd(be, b, KT_ERR));
}

static void close_to(const struct problem *p, const char *level, const char *what, const float *got, const double *want,
                     int64_t n)
{
    double ratio = kt_ratio64(got, want, n);
    if (!(ratio <= 5e-6))
        fail_msg("%s: %s is off by %.3g: %s", level, what, ratio, describe(p));
}

static void compare(const struct problem *p, const char *level, const kl_kda_bwd_args *b, const struct gradients *want)
{
    int64_t n = n_gate(p);
    close_to(p, level, "d_q", b->d_q.data, want->q, p->T * p->H * p->K);
    close_to(p, level, "d_k", b->d_k.data, want->k, p->T * p->H * p->K);
    close_to(p, level, "d_v", b->d_v.data, want->v, p->T * p->HV * p->V);
    close_to(p, level, "d_beta", b->d_beta.data, want->beta, p->T * p->HV);
    close_to(p, level, "d_state_in", b->d_state_in.data, want->S0, p->n_seq * p->HV * p->K * p->V);
    if (n)
        close_to(p, level, "d_g", b->d_g.data, want->g, p->T * p->HV * n);
    for (int64_t h = 0; p->has_params && h < p->HV; h++) {
        double got = ((float *)b->d_A_log.data)[h] - 3.0;
        if (!(fabs(got - want->A_log[h]) <= 5e-6 * want->A_log_size[h] + 1e-6))
            fail_msg("%s: d_A_log is %g, expected %g: %s", level, got, want->A_log[h], describe(p));
    }
    if (p->has_params) {
        float *bias = kt_copy(b->d_dt_bias.data, p->HV * n);
        for (int64_t i = 0; i < p->HV * n; i++)
            bias[i] = (float)(bias[i] - 3.0 - want->dt_bias[i]);
        double size = 0, off = 0;
        for (int64_t i = 0; i < p->HV * n; i++) {
            off = fmax(off, fabs(bias[i]));
            size = fmax(size, fabs(want->dt_bias[i]));
        }
        if (!(off <= 5e-6 * size + 1e-6))
            fail_msg("%s: d_dt_bias is off by %g of %g: %s", level, off, size, describe(p));
    }
}

/* What a forward that is followed by a backward writes. */
static void keep(struct problem *p)
{
    int64_t n = 0;
    for (int64_t s = 0; p->snapshot_every && s < p->n_seq; s++)
        n += (p->cu[s + 1] - p->cu[s]) / p->snapshot_every;
    p->errors = p->has_errors ? kt_floats(p->T * p->HV * p->V) : NULL;
    p->snapshots = kt_floats(n * p->HV * p->K * p->V);
    run_forward(p, kt_backend("ref", 1), kt_floats(p->T * p->HV * p->V), NULL);
}

/* --------------------------------------------------------------------------------------------------------- tests -- */

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
        struct problem p = random_problem(&r);
        keep(&p);
        struct gradients want = adjoint(&p);
        for (int l = 0; kt_level(l); l++) {
            kl_kda_bwd_args b = backward_args(&p);
            run_backward(kt_backend(kt_level(l), 1 + i % 3), &b);
            compare(&p, kt_level(l), &b, &want);
        }
        kt_free_all();
    }
}

static struct problem plain_problem(kt_rng *r, int64_t T)
{
    struct problem p = {.H = 2,
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
    fill_problem(r, &p);
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
    return kt_dot(p->d_o, f->o, p->T * p->HV * p->V) + kt_dot(p->dS, f->S, p->n_seq * p->HV * p->K * p->V);
}

static void finite_differences(void **state)
{
    (void)state;
    for (int l = 0; kt_level(l); l++) {
        kt_rng r = {7};
        struct problem p = plain_problem(&r, 37);
        struct finite f = {&p, kt_backend(kt_level(l), 1), kt_floats(p.T * p.HV * p.V),
                           kt_floats(p.n_seq * p.HV * p.K * p.V)};
        kl_kda_bwd_args b = backward_args(&p);
        memset(b.d_A_log.data, 0, sizeof(float) * (size_t)p.HV);
        memset(b.d_dt_bias.data, 0, sizeof(float) * (size_t)(p.HV * p.K));
        run_backward(f.be, &b);
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
        struct problem p = plain_problem(&r, 70);
        p.n_seq = 3;
        p.cu[1] = 33, p.cu[2] = 33, p.cu[3] = 70;
        fill_problem(&r, &p);
        kl_kda_bwd_args one = backward_args(&p);
        run_backward(kt_backend(kt_level(l), 1), &one);
        for (int threads = 2; threads <= 3; threads++) {
            kl_kda_bwd_args b = backward_args(&p);
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
    kl_kda_bwd_args all = backward_args(&p);
    run_backward(fastest(), &all);
    for (int i = 0; i <= N_OUT; i++) {
        kl_kda_bwd_args b = backward_args(&p);
        kl_tensor *const out[N_OUT] = {&b.d_q,    &b.d_k,     &b.d_v,       &b.d_g,
                                       &b.d_beta, &b.d_A_log, &b.d_dt_bias, &b.d_state_in};
        for (int j = 0; j < N_OUT; j++)
            if (i == j || i == N_OUT)
                out[j]->n_dim = 0;
        run_backward(fastest(), &b);
        same_outputs("others", &b, &all);
    }
    kt_free_all();
}

/* The tokens from `from` to `to` of p as a problem of their own, with their own states. */
static struct problem part_of(const struct problem *p, int64_t from, int64_t to, float *S0, float *dS)
{
    struct problem x = *p;
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
        struct problem p = plain_problem(&r, 50);
        int64_t states = p.HV * p.K * p.V, cut = cuts[c];
        const kl_backend *be = fastest();
        kl_kda_bwd_args whole = backward_args(&p), first, second;
        run_backward(be, &whole);
        float *middle = kt_floats(states), *d_middle = kt_floats(states);
        struct problem head = part_of(&p, 0, cut, p.S0, d_middle), tail = part_of(&p, cut, p.T, middle, p.dS);
        run_forward(&head, be, kt_floats(p.T * p.HV * p.V), middle);
        second = backward_args(&tail);
        run_backward(be, &second);
        memcpy(d_middle, second.d_state_in.data, sizeof(float) * (size_t)states);
        first = backward_args(&head);
        first.d_A_log = second.d_A_log; /* added to */
        first.d_dt_bias = second.d_dt_bias;
        run_backward(be, &first);
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
    struct problem p = plain_problem(&r, 45);
    p.gate = KL_GATE_LOG;
    p.has_params = false;
    fill_problem(&r, &p);
    kl_kda_bwd_args b = backward_args(&p);
    run_backward(fastest(), &b);
    float *want = kt_zeros(p.HV * p.K);
    for (int64_t h = 0; h < p.HV; h++)
        for (int64_t i = 0; i < p.K; i++)
            for (int64_t j = 0; j < p.V; j++) {
                int64_t at = state_at(&p, 0, h, i, j);
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
    struct problem p = plain_problem(&r, 45);
    p.gate = KL_GATE_LOG;
    p.rule = KL_RULE_ADD;
    p.has_params = p.l2norm = false;
    p.HV = p.H;
    fill_problem(&r, &p);
    const kl_backend *be = fastest();
    float *S = kt_floats(p.HV * p.K * p.V), *want = kt_floats(p.T * p.HV * p.K);
    run_forward(&p, be, kt_floats(p.T * p.HV * p.V), S);
    kl_kda_bwd_args b = backward_args(&p);
    run_backward(be, &b);
    for (int64_t h = 0; h < p.HV; h++)
        for (int64_t i = 0; i < p.K; i++) {
            double sum = 0;
            for (int64_t j = 0; j < p.V; j++)
                sum += (double)S[state_at(&p, 0, h, i, j)] * p.dS[state_at(&p, 0, h, i, j)];
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
        struct problem p = plain_problem(&r, 40);
        p.gate = KL_GATE_LOG;
        p.has_params = false;
        p.regime = FORGETS;
        fill_problem(&r, &p);
        kl_kda_bwd_args b = backward_args(&p);
        run_backward(kt_backend(kt_level(l), 1), &b);
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
    struct problem p = plain_problem(&r, 20);
    kl_kda_bwd_args a = backward_args(&p), b = backward_args(&p);
    run_backward(fastest(), &a);
    b.d_state_out.data = b.d_state_in.data = kt_copy(p.dS, p.HV * p.K * p.V);
    run_backward(fastest(), &b);
    same_outputs("shared", &b, &a);
    kt_free_all();
}

static void refusals(void **state)
{
    (void)state;
    kl_error err;
    kt_rng r = {18};
    struct problem p = plain_problem(&r, 5);
    const kl_backend *be = kt_backend("ref", 1);
    kl_kda_bwd_args good = backward_args(&p), b = good;
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
