#include "support/attention64.h"

#include "support/kt.h"

#include <math.h>
#include <string.h>

static double dot(const double *a, const double *b, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* One query row: (t, h) of sequence n. */
struct row {
    int64_t at;           /* t * H + h */
    int64_t first, n_key; /* rows of the cache of its sequence */
    int64_t end;          /* it sees the first `end` of them */
    int64_t head;         /* key head */
};

static struct row row_of(const struct attention64 *x, int64_t n, int64_t t, int64_t h)
{
    int64_t n_query = x->cu_q[n + 1] - x->cu_q[n], n_key = x->cu_k[n + 1] - x->cu_k[n];
    int64_t end = x->causal ? n_key - n_query + t - x->cu_q[n] + 1 : n_key;
    return (struct row){t * x->H + h, x->cu_k[n], n_key, end > 0 ? end : 0, h / (x->H / x->HK)};
}

static const double *key(const struct attention64 *x, const struct row *r, int64_t s)
{
    return x->k + ((r->first + s) * x->HK + r->head) * x->DK;
}

static const double *value(const struct attention64 *x, const struct row *r, int64_t s)
{
    return x->v + ((r->first + s) * x->HK + r->head) * x->DV;
}

/* Its probabilities into p [n_key]; returns lse. */
static double probabilities(const struct attention64 *x, const struct row *r, double *p)
{
    double max = -INFINITY, sum = 0;
    for (int64_t s = 0; s < r->end; s++) {
        p[s] = x->scale * dot(x->q + r->at * x->DK, key(x, r, s), x->DK);
        max = p[s] > max ? p[s] : max;
    }
    for (int64_t s = 0; s < r->end; s++)
        sum += p[s] = exp(p[s] - max);
    for (int64_t s = 0; s < r->end; s++)
        p[s] /= sum;
    return r->end > 0 ? max + log(sum) : -INFINITY;
}

typedef void row_fn(const struct attention64 *x, const struct row *r, void *ctx);

static void each_row(const struct attention64 *x, row_fn *fn, void *ctx)
{
    for (int64_t n = 0; n < x->n_seq; n++)
        for (int64_t t = x->cu_q[n]; t < x->cu_q[n + 1]; t++)
            for (int64_t h = 0; h < x->H; h++) {
                struct row r = row_of(x, n, t, h);
                fn(x, &r, ctx);
            }
}

struct forward {
    double *o, *lse, *p;
};

static void forward_row(const struct attention64 *x, const struct row *r, void *ctx)
{
    struct forward *f = ctx;
    double *o = f->o + r->at * x->DV;
    f->lse[r->at] = probabilities(x, r, f->p);
    memset(o, 0, (size_t)x->DV * sizeof *o);
    for (int64_t s = 0; s < r->end; s++)
        for (int64_t d = 0; d < x->DV; d++)
            o[d] += f->p[s] * value(x, r, s)[d];
}

void attention64(const struct attention64 *x, double *o, double *lse)
{
    struct forward f = {o, lse, doubles(x->cu_k[x->n_seq])};
    each_row(x, forward_row, &f);
}

struct backward {
    const double *d_o;
    double *d_q, *d_k, *d_v, *p;
};

static void backward_row(const struct attention64 *x, const struct row *r, void *ctx)
{
    struct backward *b = ctx;
    const double *d_o = b->d_o + r->at * x->DV, *q = x->q + r->at * x->DK;
    double *d_q = b->d_q + r->at * x->DK, delta = 0;
    probabilities(x, r, b->p);
    for (int64_t s = 0; s < r->end; s++)
        delta += b->p[s] * dot(d_o, value(x, r, s), x->DV);
    for (int64_t s = 0; s < r->end; s++) {
        double *d_k = b->d_k + (key(x, r, s) - x->k), *d_v = b->d_v + (value(x, r, s) - x->v);
        double ds = x->scale * b->p[s] * (dot(d_o, value(x, r, s), x->DV) - delta);
        for (int64_t d = 0; d < x->DV; d++)
            d_v[d] += b->p[s] * d_o[d];
        for (int64_t d = 0; d < x->DK; d++) {
            d_k[d] += ds * q[d];
            d_q[d] += ds * key(x, r, s)[d];
        }
    }
}

void attention64_bwd(const struct attention64 *x, const double *d_o, double *d_q, double *d_k, double *d_v)
{
    int64_t n_token = x->cu_q[x->n_seq], n_key = x->cu_k[x->n_seq];
    memset(d_q, 0, (size_t)(n_token * x->H * x->DK) * sizeof *d_q);
    memset(d_k, 0, (size_t)(n_key * x->HK * x->DK) * sizeof *d_k);
    memset(d_v, 0, (size_t)(n_key * x->HK * x->DV) * sizeof *d_v);
    struct backward b = {d_o, d_q, d_k, d_v, doubles(n_key)};
    each_row(x, backward_row, &b);
}

double *doubles(int64_t n)
{
    double *x = kt_bytes((size_t)n * sizeof *x);
    memset(x, 0, (size_t)n * sizeof *x);
    return x;
}

double *doubles_of(const float *x, int64_t n)
{
    double *y = doubles(n);
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i];
    return y;
}
