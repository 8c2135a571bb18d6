#include "support/bwd_adjoint64.h"

#include <math.h>
#include <string.h>

static double *doubles(int64_t n)
{
    double *x = kt_bytes((size_t)n * sizeof *x);
    for (int64_t i = 0; i < n; i++)
        x[i] = 0;
    return x;
}

static struct bwd_gradients no_gradients(const struct bwd_problem *p)
{
    int64_t qs = p->T * p->H * p->K, n = bwd_n_gate(p) ? bwd_n_gate(p) : 1;
    return (struct bwd_gradients){
        doubles(qs),           doubles(qs),    doubles(p->T * p->HV * p->V), doubles(p->T * p->HV * n),
        doubles(p->T * p->HV), doubles(p->HV), doubles(p->HV * n),           doubles(p->n_seq * p->HV * p->K * p->V),
        doubles(p->HV)};
}

int64_t bwd_state_at(const struct bwd_problem *p, int64_t seq, int64_t head, int64_t i, int64_t j)
{
    return (seq * p->HV + head) * p->K * p->V + (p->layout == KL_LAYOUT_KV ? i * p->V + j : j * p->K + i);
}

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static double beta_of(const struct bwd_problem *p, int64_t at)
{
    double x = p->has_beta ? p->beta[at] : 1;
    return (p->twice ? 2 : 1) * (p->sigmoid ? sigmoid(x) : x);
}

static double rate_of(const struct bwd_problem *p, int64_t head)
{
    return p->has_params ? exp((double)p->A_log[head]) : 1;
}

/* x + dt_bias of channel i. */
static double gate_input(const struct bwd_problem *p, int64_t t, int64_t head, int64_t i)
{
    int64_t n = bwd_n_gate(p);
    return (double)p->g[t * p->g_pitch + head * n + i] + (p->has_params ? (double)p->dt_bias[head * n + i] : 0);
}

static double log_decay_of(const struct bwd_problem *p, int64_t t, int64_t head, int64_t i)
{
    if (p->gate_shape == NO_GATE)
        return 0;
    double z = gate_input(p, t, head, p->gate_shape == PER_HEAD ? 0 : i), rate = rate_of(p, head);
    return p->gate == KL_GATE_SOFTPLUS  ? -rate * log1p(exp(z))
           : p->gate == KL_GATE_BOUNDED ? p->lower_bound * sigmoid(rate * z)
                                        : z;
}

/* dg of one channel (or head) through the gate. */
static void gate_adjoint(const struct bwd_problem *p, struct bwd_gradients *d, int64_t t, int64_t head, int64_t i,
                         double dg)
{
    int64_t n = bwd_n_gate(p);
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
static double key_row(const struct bwd_problem *p, double *y, const float *x, int64_t t, int64_t head)
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

static void key_adjoint(const struct bwd_problem *p, double *dx, const float *x, int64_t t, int64_t head,
                        const double *dy)
{
    double y[64], r = key_row(p, y, x, t, head), y_dy = 0;
    for (int64_t i = 0; i < p->K; i++)
        y_dy += y[i] * dy[i];
    double *to = dx + (t * p->H + head / (p->HV / p->H)) * p->K;
    for (int64_t i = 0; i < p->K; i++)
        to[i] += p->l2norm ? r * (dy[i] - y[i] * y_dy) : dy[i];
}

/* One token of the forward on S [K][V]; e [V] is the error that was written. */
static void step(const struct bwd_problem *p, double *S, double *e, int64_t t, int64_t head)
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
static void step_back(const struct bwd_problem *p, struct bwd_gradients *d, double *D, const double *before,
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

static void adjoint_of_head(const struct bwd_problem *p, struct bwd_gradients *d, int64_t seq, int64_t head)
{
    int64_t from = p->cu[seq], n = p->cu[seq + 1] - from, KV = p->K * p->V;
    double *S = doubles((n + 1) * KV), *e = doubles((n + 1) * p->V), *D = doubles(KV);
    for (int64_t i = 0; i < p->K; i++)
        for (int64_t j = 0; j < p->V; j++) {
            S[i * p->V + j] = p->has_states ? p->S0[bwd_state_at(p, seq, head, i, j)] : 0;
            D[i * p->V + j] = p->has_states ? p->dS[bwd_state_at(p, seq, head, i, j)] : 0;
        }
    for (int64_t t = 0; t < n; t++) {
        memcpy(S + (t + 1) * KV, S + t * KV, sizeof *S * (size_t)KV);
        step(p, S + (t + 1) * KV, e + t * p->V, from + t, head);
    }
    for (int64_t t = n - 1; t >= 0; t--)
        step_back(p, d, D, S + t * KV, S + (t + 1) * KV, e + t * p->V, from + t, head);
    for (int64_t i = 0; i < p->K; i++)
        for (int64_t j = 0; j < p->V; j++)
            d->S0[bwd_state_at(p, seq, head, i, j)] = D[i * p->V + j];
}

struct bwd_gradients bwd_adjoint64(const struct bwd_problem *p)
{
    struct bwd_gradients d = no_gradients(p);
    for (int64_t seq = 0; seq < p->n_seq; seq++)
        for (int64_t head = 0; head < p->HV; head++)
            adjoint_of_head(p, &d, seq, head);
    return d;
}

static void close_to(const struct bwd_problem *p, const char *level, const char *what, const float *got,
                     const double *want, int64_t n)
{
    double ratio = kt_ratio64(got, want, n);
    if (!(ratio <= 1e-5)) /* plain C is off by 4e-6 where two parts of an adjoint cancel */
        fail_msg("%s: %s is off by %.3g: %s", level, what, ratio, bwd_describe(p));
}

void bwd_compare(const struct bwd_problem *p, const char *level, const kl_kda_bwd_args *b,
                 const struct bwd_gradients *want)
{
    int64_t n = bwd_n_gate(p);
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
            fail_msg("%s: d_A_log is %g, expected %g: %s", level, got, want->A_log[h], bwd_describe(p));
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
            fail_msg("%s: d_dt_bias is off by %g of %g: %s", level, off, size, bwd_describe(p));
    }
}
