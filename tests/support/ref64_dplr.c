/* kl_dplr in float64 and its adjoint, one (sequence, head) at a time. */
#include "support/ref64.h"

#include "ops/check.h"

#include <math.h>
#include <string.h>

struct call {
    const kl_dplr_args *a;
    int64_t T, H, K, V, n_seq;
    double scale;
};

struct token {
    double *q, *k, *a, *b, *alpha; /* [K] */
    double *v;                     /* [V] */
};

static double *doubles(int64_t n)
{
    double *x = kt_bytes((size_t)n * sizeof *x);
    memset(x, 0, (size_t)n * sizeof *x);
    return x;
}

static struct call call_of(const kl_dplr_args *a)
{
    struct call c = {.a = a, .T = a->v.dim[0], .H = a->v.dim[1], .K = a->k.dim[2], .V = a->v.dim[2]};
    c.n_seq = kl__n_seq(a->cu_seqlens, a->n_seq);
    c.scale = a->scale != 0 ? (double)a->scale : 1 / sqrt((double)c.K);
    return c;
}

static struct token token_of(const struct call *c)
{
    return (struct token){doubles(c->K), doubles(c->K), doubles(c->K), doubles(c->K), doubles(c->K), doubles(c->V)};
}

static void load_token(struct token *x, const struct call *c, int64_t t, int64_t j)
{
    int64_t at = (t * c->H + j) * c->K;
    for (int64_t i = 0; i < c->K; i++) {
        x->q[i] = ref64_get(c->a->q, at + i);
        x->k[i] = ref64_get(c->a->k, at + i);
        x->a[i] = ref64_get(c->a->a, at + i);
        x->b[i] = ref64_get(c->a->b, at + i);
        x->alpha[i] = c->a->g.n_dim ? exp(ref64_get(c->a->g, at + i)) : 1;
    }
    for (int64_t l = 0; l < c->V; l++)
        x->v[l] = ref64_get(c->a->v, (t * c->H + j) * c->V + l);
}

/* S [K][V] in and out, y [V] = b^T S before, o [V]. */
static void step(const struct call *c, const struct token *x, double *S, double *y, double *o)
{
    for (int64_t l = 0; l < c->V; l++) {
        double read = 0;
        y[l] = 0;
        for (int64_t i = 0; i < c->K; i++)
            y[l] += x->b[i] * S[i * c->V + l];
        for (int64_t i = 0; i < c->K; i++) {
            double *s = &S[i * c->V + l];
            *s = x->alpha[i] * *s - x->a[i] * y[l] + x->k[i] * x->v[l];
            read += x->q[i] * *s;
        }
        o[l] = c->scale * read;
    }
}

static int64_t state_index(const struct call *c, int64_t n, int64_t j, int64_t i, int64_t l)
{
    int64_t head = (n * c->H + j) * c->K * c->V;
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

ref64_outputs ref64_dplr(const kl_dplr_args *a)
{
    struct call c = call_of(a);
    ref64_outputs out = {.o = doubles(c.T * c.H * c.V), .state_out = doubles(c.n_seq * c.H * c.K * c.V)};
    struct token x = token_of(&c);
    double *S = doubles(c.K * c.V), *y = doubles(c.V);
    for (int64_t n = 0; n < c.n_seq; n++)
        for (int64_t j = 0; j < c.H; j++) {
            load_state(&c, S, a->state_in, n, j);
            for (int64_t t = kl__seq_start(a->cu_seqlens, n, c.T); t < kl__seq_start(a->cu_seqlens, n + 1, c.T); t++) {
                load_token(&x, &c, t, j);
                step(&c, &x, S, y, out.o + (t * c.H + j) * c.V);
            }
            store_state(&c, out.state_out, S, n, j);
        }
    return out;
}

/* One token backwards: D [K][V] in and out, `before` and `after` the states around it, y what b read. */
static void step_back(const struct call *c, ref64_dplr_grads *to, const struct token *x, double *D,
                      const double *before, const double *after, const double *y, const double *d_o, int64_t at_k,
                      int64_t at_v)
{
    for (int64_t i = 0; i < c->K; i++)
        for (int64_t l = 0; l < c->V; l++) {
            int64_t e = i * c->V + l;
            to->q[at_k + i] += c->scale * after[e] * d_o[l];
            D[e] += c->scale * x->q[i] * d_o[l];
            to->k[at_k + i] += D[e] * x->v[l];
            to->v[at_v + l] += D[e] * x->k[i];
            to->a[at_k + i] -= D[e] * y[l];
            to->g[at_k + i] += D[e] * x->alpha[i] * before[e];
        }
    for (int64_t l = 0; l < c->V; l++) {
        double dy = 0;
        for (int64_t i = 0; i < c->K; i++)
            dy -= D[i * c->V + l] * x->a[i];
        for (int64_t i = 0; i < c->K; i++) {
            int64_t e = i * c->V + l;
            to->b[at_k + i] += dy * before[e];
            D[e] = x->alpha[i] * D[e] + x->b[i] * dy;
        }
    }
}

ref64_dplr_grads ref64_dplr_bwd(const kl_dplr_bwd_args *b)
{
    struct call c = call_of(&b->fwd);
    int64_t n_k = c.T * c.H * c.K, size = c.K * c.V;
    ref64_dplr_grads to = {.q = doubles(n_k),
                           .k = doubles(n_k),
                           .a = doubles(n_k),
                           .b = doubles(n_k),
                           .v = doubles(c.T * c.H * c.V),
                           .g = doubles(n_k),
                           .state_in = doubles(c.n_seq * c.H * size)};
    struct token x = token_of(&c);
    double *S = doubles((c.T + 1) * size), *y = doubles(c.T * c.V), *D = doubles(size), *o = doubles(c.V);
    for (int64_t n = 0; n < c.n_seq; n++)
        for (int64_t j = 0; j < c.H; j++) {
            const int64_t *cu = b->fwd.cu_seqlens;
            int64_t start = kl__seq_start(cu, n, c.T), end = kl__seq_start(cu, n + 1, c.T);
            load_state(&c, S, b->fwd.state_in, n, j);
            for (int64_t t = start; t < end; t++) {
                double *at = S + (t - start) * size;
                memcpy(at + size, at, (size_t)size * sizeof *at);
                load_token(&x, &c, t, j);
                step(&c, &x, at + size, y + t * c.V, o);
            }
            load_state(&c, D, b->d_state_out, n, j);
            for (int64_t t = end; t-- > start;) {
                double *at = S + (t - start) * size;
                int64_t at_v = (t * c.H + j) * c.V;
                load_token(&x, &c, t, j);
                for (int64_t l = 0; l < c.V; l++)
                    o[l] = ref64_get(b->d_o, at_v + l);
                step_back(&c, &to, &x, D, at, at + size, y + t * c.V, o, (t * c.H + j) * c.K, at_v);
            }
            store_state(&c, to.state_in, D, n, j);
        }
    return to;
}
