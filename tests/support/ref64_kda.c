/* kl_kda in float64 and its adjoint, one (sequence, value head) at a time. */
#include "support/ref64.h"

#include "ops/check.h"

#include <math.h>
#include <string.h>

static double *doubles(int64_t n)
{
    double *x = kt_bytes((size_t)n * sizeof *x);
    memset(x, 0, (size_t)n * sizeof *x);
    return x;
}

/* A call, unpacked. */
struct call {
    const kl_kda_args *a;
    int64_t T, H, HV, K, V, n_seq;
    double scale;
    bool per_head; /* g is [T][HV] */
};

static struct call call_of(const kl_kda_args *a)
{
    struct call c = {.a = a, .T = a->v.dim[0], .H = a->k.dim[1], .HV = a->v.dim[1], .K = a->k.dim[2], .V = a->v.dim[2]};
    c.n_seq = kl__n_seq(a->cu_seqlens, a->n_seq);
    c.scale = a->scale != 0 ? (double)a->scale : 1 / sqrt((double)c.K);
    c.per_head = a->g.n_dim == 2;
    return c;
}

/* What one token brings for one head, ready for the recurrence. */
struct token {
    double *q, *k;           /* [K] after the norm */
    double q_inv, k_inv;     /* 1 / norm, or 1 */
    double *alpha;           /* [K] */
    double beta, beta_slope; /* d beta / d raw */
};

static double sigmoid(double x)
{
    return x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x));
}

static double softplus(double x)
{
    return fmax(x, 0) + log1p(exp(-fabs(x)));
}

static int64_t gate_index(const struct call *c, int64_t t, int64_t j, int64_t i)
{
    return c->per_head ? t * c->HV + j : (t * c->HV + j) * c->K + i;
}

/* Input of the gate with its bias, and exp(A_log). */
static double gate_input(const struct call *c, int64_t t, int64_t j, int64_t i)
{
    double x = ref64_get(c->a->g, gate_index(c, t, j, i));
    if (c->a->dt_bias.n_dim)
        x += ref64_get(c->a->dt_bias, c->per_head ? j : j * c->K + i);
    return x;
}

static double gate_rate(const struct call *c, int64_t j)
{
    return c->a->A_log.n_dim ? exp(ref64_get(c->a->A_log, j)) : 1;
}

static double log_decay(const struct call *c, int64_t t, int64_t j, int64_t i)
{
    if (!c->a->g.n_dim)
        return 0;
    double x = gate_input(c, t, j, i);
    switch (c->a->gate) {
    case KL_GATE_SOFTPLUS:
        return -gate_rate(c, j) * softplus(x);
    case KL_GATE_BOUNDED:
        return (double)c->a->lower_bound * sigmoid(gate_rate(c, j) * x);
    default:
        return x;
    }
}

static double load_unit(double *to, const struct call *c, kl_tensor t, int64_t at)
{
    double square = 0;
    for (int64_t i = 0; i < c->K; i++) {
        to[i] = ref64_get(t, at + i);
        square += to[i] * to[i];
    }
    double inverse = c->a->qk_l2norm ? 1 / sqrt(square + 1e-6) : 1;
    for (int64_t i = 0; i < c->K; i++)
        to[i] *= inverse;
    return inverse;
}

static void load_token(struct token *to, const struct call *c, int64_t t, int64_t j)
{
    int64_t at = (t * c->H + j / (c->HV / c->H)) * c->K;
    to->q_inv = load_unit(to->q, c, c->a->q, at);
    to->k_inv = load_unit(to->k, c, c->a->k, at);
    for (int64_t i = 0; i < c->K; i++)
        to->alpha[i] = exp(log_decay(c, t, j, i));
    double raw = c->a->beta.n_dim ? ref64_get(c->a->beta, t * c->HV + j) : 1;
    double factor = c->a->beta_double ? 2 : 1;
    to->beta = factor * (c->a->beta_sigmoid ? sigmoid(raw) : raw);
    to->beta_slope = factor * (c->a->beta_sigmoid ? sigmoid(raw) * (1 - sigmoid(raw)) : 1);
}

static struct token token_of(const struct call *c)
{
    return (struct token){.q = doubles(c->K), .k = doubles(c->K), .alpha = doubles(c->K)};
}

/* One step: S [K][V] in and out, e [V] what is written (before beta), o [V]. */
static void step(const struct call *c, const struct token *x, const double *v, double *S, double *e, double *o)
{
    for (int64_t i = 0; i < c->K; i++)
        for (int64_t j = 0; j < c->V; j++)
            S[i * c->V + j] *= x->alpha[i];
    for (int64_t j = 0; j < c->V; j++) {
        double held = 0, read = 0;
        for (int64_t i = 0; i < c->K; i++)
            held += S[i * c->V + j] * x->k[i];
        e[j] = c->a->rule == KL_RULE_DELTA ? v[j] - held : v[j];
        for (int64_t i = 0; i < c->K; i++) {
            S[i * c->V + j] += x->k[i] * x->beta * e[j];
            read += S[i * c->V + j] * x->q[i];
        }
        o[j] = c->scale * read;
    }
}

/* Between a [K][V] state and its place in a tensor of states. */
static int64_t state_index(const struct call *c, int64_t n, int64_t j, int64_t i, int64_t l)
{
    int64_t head = (n * c->HV + j) * c->K * c->V;
    return head + (c->a->state_layout == KL_LAYOUT_VK ? l * c->K + i : i * c->V + l);
}

static void load_state(const struct call *c, double *S, kl_tensor from, int64_t n, int64_t j)
{
    for (int64_t i = 0; i < c->K; i++)
        for (int64_t l = 0; l < c->V; l++)
            S[i * c->V + l] = from.n_dim ? ref64_get(from, state_index(c, n, j, i, l)) : 0;
}

static void store_state(const struct call *c, double *to, const double *S, int64_t n, int64_t j)
{
    for (int64_t i = 0; i < c->K; i++)
        for (int64_t l = 0; l < c->V; l++)
            to[state_index(c, n, j, i, l)] = S[i * c->V + l];
}

static void load_value(const struct call *c, double *v, kl_tensor from, int64_t t, int64_t j)
{
    for (int64_t l = 0; l < c->V; l++)
        v[l] = ref64_get(from, (t * c->HV + j) * c->V + l);
}

ref64_outputs ref64_kda(const kl_kda_args *a)
{
    struct call c = call_of(a);
    ref64_outputs out = {.o = doubles(c.T * c.HV * c.V),
                         .state_out = doubles(c.n_seq * c.HV * c.K * c.V),
                         .e = doubles(c.T * c.HV * c.V)};
    if (a->snapshots.n_dim)
        out.snapshots = doubles(ref64_count(a->snapshots));
    struct token x = token_of(&c);
    double *S = doubles(c.K * c.V), *v = doubles(c.V);
    int64_t taken = 0;
    for (int64_t n = 0; n < c.n_seq; n++) {
        int64_t start = kl__seq_start(a->cu_seqlens, n, c.T), end = kl__seq_start(a->cu_seqlens, n + 1, c.T);
        for (int64_t j = 0; j < c.HV; j++) {
            load_state(&c, S, a->state_in, n, j);
            for (int64_t t = start; t < end; t++) {
                load_token(&x, &c, t, j);
                load_value(&c, v, a->v, t, j);
                step(&c, &x, v, S, out.e + (t * c.HV + j) * c.V, out.o + (t * c.HV + j) * c.V);
                if (out.snapshots && (t + 1 - start) % a->snapshot_every == 0)
                    store_state(&c, out.snapshots, S, taken + (t + 1 - start) / a->snapshot_every - 1, j);
            }
            store_state(&c, out.state_out, S, n, j);
        }
        if (out.snapshots)
            taken += (end - start) / a->snapshot_every;
    }
    return out;
}

/* ------------------------------------------------------------------------------------------------------- adjoint -- */

/* Through y = x inverse, inverse = (sum x^2 + eps)^-1/2 :  dx = inverse (dy - y (y . dy)). */
static void add_through_norm(const struct call *c, double *dx, const double *dy, const double *y, double inverse)
{
    double along = 0;
    for (int64_t i = 0; i < c->K; i++)
        along += y[i] * dy[i];
    for (int64_t i = 0; i < c->K; i++)
        dx[i] += c->a->qk_l2norm ? inverse * (dy[i] - y[i] * along) : dy[i];
}

/* d is the gradient of the log decay of (t, j, i). */
static void add_through_gate(const struct call *c, ref64_kda_grads *to, int64_t t, int64_t j, int64_t i, double d)
{
    if (!to->g)
        return;
    double dx = d, da = 0;
    if (c->a->gate != KL_GATE_LOG) {
        double x = gate_input(c, t, j, i), rate = gate_rate(c, j);
        if (c->a->gate == KL_GATE_SOFTPLUS) {
            dx = -rate * sigmoid(x) * d;
            da = -rate * softplus(x) * d;
        } else {
            double s = sigmoid(rate * x), slope = (double)c->a->lower_bound * s * (1 - s) * d;
            dx = slope * rate;
            da = slope * rate * x;
        }
    }
    to->g[gate_index(c, t, j, i)] += dx;
    if (to->A_log)
        to->A_log[j] += da;
    if (to->dt_bias)
        to->dt_bias[c->per_head ? j : j * c->K + i] += dx;
}

struct adjoint {
    double *S;                    /* [T+1][K][V] states of this (sequence, head): S[0] before its first token */
    double *D;                    /* [K][V] gradient of the state */
    double *v, *e, *o, *d_o, *du; /* [V] */
    double *dq, *dk, *dk_read;    /* [K] */
};

/* One token backwards.  `before` is the state before it, `after` the one after it. */
static void step_back(const struct call *c, struct adjoint *w, const struct token *x, const double *before,
                      const double *after, double *d_log, double *d_beta)
{
    bool delta = c->a->rule == KL_RULE_DELTA;
    *d_beta = 0;
    for (int64_t i = 0; i < c->K; i++) {
        w->dq[i] = w->dk[i] = w->dk_read[i] = d_log[i] = 0;
        for (int64_t l = 0; l < c->V; l++) {
            w->dq[i] += c->scale * after[i * c->V + l] * w->d_o[l];
            w->D[i * c->V + l] += c->scale * x->q[i] * w->d_o[l];
            w->dk[i] += w->D[i * c->V + l] * x->beta * w->e[l]; /* as writer */
        }
    }
    for (int64_t l = 0; l < c->V; l++) {
        w->du[l] = 0;
        for (int64_t i = 0; i < c->K; i++)
            w->du[l] += w->D[i * c->V + l] * x->k[i];
        *d_beta += w->du[l] * w->e[l];
    }
    for (int64_t i = 0; i < c->K; i++)
        for (int64_t l = 0; l < c->V; l++) {
            double decayed = x->alpha[i] * before[i * c->V + l], de = x->beta * w->du[l];
            if (delta) {
                w->dk_read[i] -= decayed * de; /* as reader */
                w->D[i * c->V + l] -= x->k[i] * de;
            }
            d_log[i] += w->D[i * c->V + l] * decayed;
            w->D[i * c->V + l] *= x->alpha[i];
        }
}

static ref64_kda_grads grads_for(const struct call *c)
{
    const kl_kda_args *a = c->a;
    return (ref64_kda_grads){
        .q = doubles(c->T * c->H * c->K),
        .k = doubles(c->T * c->H * c->K),
        .k_read = doubles(c->T * c->H * c->K),
        .k_write = doubles(c->T * c->H * c->K),
        .v = doubles(c->T * c->HV * c->V),
        .g = a->g.n_dim ? doubles(ref64_count(a->g)) : NULL,
        .beta = doubles(c->T * c->HV),
        .A_log = a->A_log.n_dim ? doubles(c->HV) : NULL,
        .dt_bias = a->dt_bias.n_dim ? doubles(ref64_count(a->dt_bias)) : NULL,
        .state_in = doubles(c->n_seq * c->HV * c->K * c->V),
    };
}

static void add_token(const struct call *c, ref64_kda_grads *to, struct adjoint *w, const struct token *x,
                      const double *d_log, double d_beta, int64_t t, int64_t j)
{
    int64_t at = (t * c->H + j / (c->HV / c->H)) * c->K;
    for (int64_t i = 0; i < c->K; i++) {
        to->k_write[at + i] += w->dk[i];
        to->k_read[at + i] += w->dk_read[i];
        w->dk[i] += w->dk_read[i];
        add_through_gate(c, to, t, j, i, d_log[i]);
    }
    add_through_norm(c, to->q + at, w->dq, x->q, x->q_inv);
    add_through_norm(c, to->k + at, w->dk, x->k, x->k_inv);
    to->beta[t * c->HV + j] = x->beta_slope * d_beta;
    for (int64_t l = 0; l < c->V; l++)
        to->v[(t * c->HV + j) * c->V + l] = x->beta * w->du[l];
}

ref64_kda_grads ref64_kda_bwd(const kl_kda_bwd_args *b)
{
    struct call c = call_of(&b->fwd);
    ref64_kda_grads to = grads_for(&c);
    struct token x = token_of(&c);
    int64_t size = c.K * c.V;
    struct adjoint w = {.S = doubles((c.T + 1) * size),
                        .D = doubles(size),
                        .v = doubles(c.V),
                        .e = doubles(c.V),
                        .o = doubles(c.V),
                        .d_o = doubles(c.V),
                        .du = doubles(c.V),
                        .dq = doubles(c.K),
                        .dk = doubles(c.K),
                        .dk_read = doubles(c.K)};
    double *e = doubles(c.T * c.V), *d_log = doubles(c.K), d_beta;
    for (int64_t n = 0; n < c.n_seq; n++)
        for (int64_t j = 0; j < c.HV; j++) {
            const int64_t *cu = b->fwd.cu_seqlens;
            int64_t start = kl__seq_start(cu, n, c.T), end = kl__seq_start(cu, n + 1, c.T);
            load_state(&c, w.S, b->fwd.state_in, n, j);
            for (int64_t t = start; t < end; t++) {
                double *S = w.S + (t - start) * size;
                memcpy(S + size, S, (size_t)size * sizeof *S);
                load_token(&x, &c, t, j);
                load_value(&c, w.v, b->fwd.v, t, j);
                step(&c, &x, w.v, S + size, e + t * c.V, w.o);
            }
            load_state(&c, w.D, b->d_state_out, n, j);
            for (int64_t t = end; t-- > start;) {
                double *S = w.S + (t - start) * size;
                load_token(&x, &c, t, j);
                load_value(&c, w.d_o, b->d_o, t, j);
                w.e = e + t * c.V;
                step_back(&c, &w, &x, S, S + size, d_log, &d_beta);
                add_token(&c, &to, &w, &x, d_log, d_beta, t, j);
            }
            store_state(&c, to.state_in, w.D, n, j);
        }
    return to;
}
