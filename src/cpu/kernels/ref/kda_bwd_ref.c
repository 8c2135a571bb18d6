/* Gradients of the delta-rule family, one chunk of one head, as the mathematics is written. */
#include "cpu/kernels/kernels.h"

#include <math.h>
#include <string.h>

/* The error of token r, of one column. */
static float error_of(int r, const float *s, const struct kl__kda_chunk *c, const float *e, ptrdiff_t lde,
                      const float *v, ptrdiff_t ldv)
{
    float sum = v[r * ldv];
    for (int j = 0; j < c->K; j++)
        sum -= c->kd[r * c->ld + j] * s[j * KL_SLAB];
    for (int i = 0; i < r; i++)
        sum -= c->A[r * KL_CHUNK_MAX + i] * (c->beta[i] * e[i * lde]);
    return sum;
}

void kl__kda_again_ref(float *to, const float *S, float *e, ptrdiff_t lde, const struct kl__kda_chunk *c,
                       const float *v, ptrdiff_t ldv, int n_slab)
{
    for (int column = 0; column < n_slab * KL_SLAB; column++) {
        ptrdiff_t element = (ptrdiff_t)(column / KL_SLAB) * c->K * KL_SLAB + column % KL_SLAB;
        for (int r = 0; r < c->n; r++)
            e[r * lde + column] = error_of(r, S + element, c, e + column, lde, v + column, ldv);
    }
    if (to)
        kl__kda_write_ref(to, S, c, e, lde, n_slab);
}

void kl__kda_write_ref(float *to, const float *S, const struct kl__kda_chunk *c, const float *e, ptrdiff_t lde,
                       int n_slab)
{
    for (int column = 0; column < n_slab * KL_SLAB; column++) {
        ptrdiff_t element = (ptrdiff_t)(column / KL_SLAB) * c->K * KL_SLAB + column % KL_SLAB;
        for (int j = 0; j < c->K; j++) {
            float sum = c->gamma[j] * S[element + j * KL_SLAB];
            for (int i = 0; i < c->n; i++)
                sum += c->ku[i * c->ld + j] * (c->beta[i] * e[i * lde + column]);
            to[element + j * KL_SLAB] = sum;
        }
    }
}

static void clear(struct kl__kda_chunk_bwd *b, const struct kl__kda_chunk *c)
{
    size_t rows = sizeof(float) * (size_t)c->n * (size_t)c->ld, pairs = sizeof(float) * (size_t)c->n * KL_CHUNK_MAX;
    memset(b->dqd, 0, rows);
    memset(b->dkd, 0, rows);
    memset(b->dku, 0, rows);
    memset(b->dA, 0, pairs);
    memset(b->dP, 0, pairs);
    memset(b->dgamma, 0, sizeof(float) * (size_t)c->ld);
    memset(b->dbeta, 0, sizeof(float) * (size_t)c->n);
}

/* One value column through the chunk, last token first: du, and dv = beta du.  d[j] is D[j * KL_SLAB]. */
static void column_of_values(float *du, float *dv, ptrdiff_t lddv, const float *d, const struct kl__kda_chunk *c,
                             const float *d_o, ptrdiff_t lddo, kl_rule rule)
{
    for (int i = c->n - 1; i >= 0; i--) {
        float sum = 0;
        for (int j = 0; j < c->K; j++)
            sum += c->ku[i * c->ld + j] * d[j * KL_SLAB];
        for (int r = i; r < c->n; r++)
            sum += c->P[r * KL_CHUNK_MAX + i] * d_o[r * lddo];
        for (int r = i + 1; rule == KL_RULE_DELTA && r < c->n; r++)
            sum -= c->beta[r] * c->A[r * KL_CHUNK_MAX + i] * du[r];
        du[i] = sum;
        dv[i * lddv] = c->beta[i] * sum;
    }
}

static void column_of_pairs(struct kl__kda_chunk_bwd *b, const struct kl__kda_chunk *c, const float *u,
                            const float *d_o, ptrdiff_t lddo, const float *du, kl_rule rule)
{
    for (int r = 0; r < c->n; r++)
        for (int i = 0; i <= r; i++) {
            b->dP[r * KL_CHUNK_MAX + i] += d_o[r * lddo] * u[i];
            if (i < r && rule == KL_RULE_DELTA)
                b->dA[r * KL_CHUNK_MAX + i] -= c->beta[r] * du[r] * u[i];
        }
}

/* The rows that meet the state, and the state's own adjoint. */
static void column_of_state(float *d, struct kl__kda_chunk_bwd *b, const float *s, const struct kl__kda_chunk *c,
                            const float *u, const float *d_o, ptrdiff_t lddo, const float *dv, ptrdiff_t lddv,
                            kl_rule rule)
{
    bool delta = rule == KL_RULE_DELTA;
    for (int j = 0; j < c->K; j++) {
        float S = s[j * KL_SLAB], D = d[j * KL_SLAB], sum = c->gamma[j] * D;
        for (int r = 0; r < c->n; r++) {
            b->dqd[r * c->ld + j] += S * d_o[r * lddo];
            b->dku[r * c->ld + j] += D * u[r];
            sum += c->qd[r * c->ld + j] * d_o[r * lddo];
            if (delta) {
                b->dkd[r * c->ld + j] -= S * dv[r * lddv];
                sum -= c->kd[r * c->ld + j] * dv[r * lddv];
            }
        }
        b->dgamma[j] += S * D;
        d[j * KL_SLAB] = sum;
    }
}

void kl__kda_slabs_bwd_ref(float *D, struct kl__kda_chunk_bwd *b, float *dv, ptrdiff_t lddv, const float *S,
                           const struct kl__kda_chunk *c, const float *e, ptrdiff_t lde, const float *d_o,
                           ptrdiff_t lddo, int n_slab, kl_rule rule)
{
    float du[KL_CHUNK_MAX], u[KL_CHUNK_MAX];
    clear(b, c);
    for (int at = 0; at < n_slab * KL_SLAB; at++) {
        ptrdiff_t element = (ptrdiff_t)(at / KL_SLAB) * c->K * KL_SLAB + at % KL_SLAB;
        column_of_values(du, dv + at, lddv, D + element, c, d_o + at, lddo, rule);
        for (int r = 0; r < c->n; r++) {
            b->dbeta[r] += du[r] * e[r * lde + at];
            u[r] = c->beta[r] * e[r * lde + at];
        }
        column_of_pairs(b, c, u, d_o + at, lddo, du, rule);
        column_of_state(D + element, b, S + element, c, u, d_o + at, lddo, dv + at, lddv, rule);
    }
}

/* One channel.  `reach` is the adjoint of a product of decays as it stood after token r: what all tokens
 * from r on hang on it.  Walking back one token multiplies it by one decay. */
static void channel_of_start(struct kl__kda_chunk_bwd *b, const struct kl__kda_chunk *c, const float *q, ptrdiff_t ldq,
                             const float *k, ptrdiff_t ldk, const float *alpha, float scale, ptrdiff_t j)
{
    float gamma[KL_CHUNK_MAX], reach = b->dgamma[j];
    for (int r = 0; r < c->n; r++)
        gamma[r] = (r ? gamma[r - 1] : 1) * alpha[r * c->ld + j];
    for (int r = c->n - 1; r >= 0; r--) {
        ptrdiff_t at = r * c->ld + j;
        reach += scale * q[r * ldq + j] * b->dqd[at] + k[r * ldk + j] * b->dkd[at];
        b->dq[at] = scale * gamma[r] * b->dqd[at];
        b->dk[at] = gamma[r] * b->dkd[at];
        b->dg[at] = gamma[r] * reach;
        reach *= alpha[at];
    }
}

static void channel_of_write(struct kl__kda_chunk_bwd *b, const struct kl__kda_chunk *c, const float *q, ptrdiff_t ldq,
                             const float *k, ptrdiff_t ldk, const float *alpha, float scale, ptrdiff_t j, int i)
{
    float w[KL_CHUNK_MAX]; /* gamma_{i->r} k_i */
    for (int r = i; r < c->n; r++) {
        ptrdiff_t at = r * c->ld + j, pair = r * KL_CHUNK_MAX + i;
        w[r] = r == i ? k[r * ldk + j] : w[r - 1] * alpha[at];
        b->dq[at] += scale * b->dP[pair] * w[r];
        if (r > i)
            b->dk[at] += b->dA[pair] * w[r];
    }
    float reach = b->dku[i * c->ld + j];
    for (int r = c->n - 1; r >= i; r--) {
        ptrdiff_t at = r * c->ld + j, pair = r * KL_CHUNK_MAX + i;
        reach += scale * b->dP[pair] * q[r * ldq + j];
        if (r > i) {
            reach += b->dA[pair] * k[r * ldk + j];
            b->dg[at] += w[r] * reach;
            reach *= alpha[at];
        }
    }
    b->dk[i * c->ld + j] += reach;
}

void kl__kda_prep_bwd_ref(struct kl__kda_chunk_bwd *b, const struct kl__kda_chunk *c, const float *q, ptrdiff_t ldq,
                          const float *k, ptrdiff_t ldk, const float *alpha, float scale)
{
    for (ptrdiff_t j = 0; j < c->ld; j++) {
        channel_of_start(b, c, q, ldq, k, ldk, alpha, scale, j);
        for (int i = 0; i < c->n; i++)
            channel_of_write(b, c, q, ldq, k, ldk, alpha, scale, j, i);
    }
}

/* g and z = x + bias of one channel; dg/dz with dg, so that a gradient of 0 stays 0 where g is infinite. */
static float gate_bwd(float *d_log_rate, float dg, float z, kl_gate gate, float rate, float lower_bound)
{
    *d_log_rate = 0;
    if (dg == 0)
        return 0;
    float sigmoid = 1 / (1 + expf(gate == KL_GATE_BOUNDED ? -rate * z : -z));
    if (gate == KL_GATE_SOFTPLUS) {
        *d_log_rate = dg * -rate * (z > 20 ? z : log1pf(expf(z)));
        return -rate * sigmoid * dg;
    }
    float dz = lower_bound * sigmoid * (1 - sigmoid) * rate * dg;
    *d_log_rate = dz * z;
    return dz;
}

void kl__decay_row_bwd_ref(float *dx, float *dbias, float *dA_log, const float *dg, const float *x, const float *bias,
                           int64_t n, kl_gate gate, float rate, float lower_bound)
{
    float sum = 0;
    for (int64_t i = 0; i < n; i++) {
        float d_log_rate = 0, dz = dg[i];
        if (gate != KL_GATE_LOG)
            dz = gate_bwd(&d_log_rate, dg[i], x[i] + (bias ? bias[i] : 0), gate, rate, lower_bound);
        sum += d_log_rate;
        dx[i] = dz;
        if (dbias)
            dbias[i] += dz;
    }
    if (dA_log)
        *dA_log += sum;
}
