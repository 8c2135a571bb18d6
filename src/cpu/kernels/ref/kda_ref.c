/* The delta-rule family, one head, as the mathematics is written. */
#include "cpu/kernels/kernels.h"

#include <math.h>
#include <string.h>

void kl__kda_prep_ref(struct kl__kda_chunk *c, const float *q, ptrdiff_t ldq, const float *k, ptrdiff_t ldk,
                      const float *alpha, float scale)
{
    ptrdiff_t ld = c->ld;
    for (ptrdiff_t j = 0; j < ld; j++)
        c->gamma[j] = 1;
    for (int r = 0; r < c->n; r++) {
        for (ptrdiff_t j = 0; j < ld; j++) {
            c->gamma[j] *= alpha[r * ld + j];
            c->kd[r * ld + j] = c->gamma[j] * k[r * ldk + j];
            c->qd[r * ld + j] = scale * c->gamma[j] * q[r * ldq + j];
            c->ku[r * ld + j] = k[r * ldk + j];
        }
        /* Rows i < r of ku have decayed through token r-1; now through r. */
        for (int i = 0; i <= r; i++) {
            float kk = 0, qk = 0;
            for (ptrdiff_t j = 0; j < ld; j++) {
                if (i < r)
                    c->ku[i * ld + j] *= alpha[r * ld + j];
                kk += k[r * ldk + j] * c->ku[i * ld + j];
                qk += q[r * ldq + j] * c->ku[i * ld + j];
            }
            if (i < r)
                c->A[r * KL_CHUNK_MAX + i] = kk;
            c->P[r * KL_CHUNK_MAX + i] = scale * qk;
        }
    }
}

/* e_r = v_r - S^T kd_r - sum_{i<r} A_ri u_i and u_r = beta_r e_r of one column; s[i] is S[i * KL_SLAB]. */
static void pseudo_values(float *u, float *e, const float *s, const struct kl__kda_chunk *c, const float *v,
                          ptrdiff_t ldv, kl_rule rule)
{
    for (int r = 0; r < c->n; r++) {
        e[r] = v[r * ldv];
        if (rule == KL_RULE_DELTA) {
            for (int j = 0; j < c->K; j++)
                e[r] -= c->kd[r * c->ld + j] * s[j * KL_SLAB];
            for (int i = 0; i < r; i++)
                e[r] -= c->A[r * KL_CHUNK_MAX + i] * u[i];
        }
        u[r] = c->beta[r] * e[r];
    }
}

void kl__kda_slabs_ref(float *S, float *o, ptrdiff_t ldo, float *e_out, ptrdiff_t lde, const struct kl__kda_chunk *c,
                       const float *v, ptrdiff_t ldv, int n_slab, kl_rule rule)
{
    float u[KL_CHUNK_MAX], e[KL_CHUNK_MAX];
    for (int column = 0; column < n_slab * KL_SLAB; column++) {
        float *s = S + (ptrdiff_t)(column / KL_SLAB) * c->K * KL_SLAB + column % KL_SLAB;
        pseudo_values(u, e, s, c, v + column, ldv, rule);
        for (int r = 0; o && r < c->n; r++) {
            float sum = 0;
            for (int j = 0; j < c->K; j++)
                sum += c->qd[r * c->ld + j] * s[j * KL_SLAB];
            for (int i = 0; i <= r; i++)
                sum += c->P[r * KL_CHUNK_MAX + i] * u[i];
            o[r * ldo + column] = sum;
        }
        for (int r = 0; e_out && r < c->n; r++)
            e_out[r * lde + column] = e[r];
        for (int j = 0; j < c->K; j++) {
            float sum = c->gamma[j] * s[j * KL_SLAB];
            for (int i = 0; i < c->n; i++)
                sum += c->ku[i * c->ld + j] * u[i];
            s[j * KL_SLAB] = sum;
        }
    }
}

/* Nothing is rounded here: what a variant loses shows. */
void kl__kda_slabs_half_ref(float *S, float *squares, float *o, ptrdiff_t ldo, float *e, ptrdiff_t lde,
                            const struct kl__kda_chunk *c, const float *v, ptrdiff_t ldv, int n_slab, kl_rule rule)
{
    kl__kda_slabs_ref(S, o, ldo, e, lde, c, v, ldv, n_slab, rule);
    for (int column = 0; column < n_slab * KL_SLAB; column++) {
        const float *s = S + (ptrdiff_t)(column / KL_SLAB) * c->K * KL_SLAB + column % KL_SLAB;
        squares[column] = 0;
        for (int j = 0; j < c->K; j++)
            squares[column] += s[j * KL_SLAB] * s[j * KL_SLAB];
    }
}

/* One token on a state whose element (i, j) is S[i * row + j * column]. */
static void step(float *o, float *S, int64_t row, int64_t column, const float *q, const float *k, const float *v,
                 const float *alpha, float beta, float scale, int64_t K, int64_t V, kl_rule rule)
{
    for (int64_t j = 0; j < V; j++) {
        float *s = S + j * column, e = v[j], sum = 0;
        for (int64_t i = 0; i < K; i++) {
            s[i * row] *= alpha[i];
            if (rule == KL_RULE_DELTA)
                e -= k[i] * s[i * row];
        }
        for (int64_t i = 0; i < K; i++) {
            s[i * row] += k[i] * (beta * e);
            sum += q[i] * s[i * row];
        }
        o[j] = scale * sum;
    }
}

void kl__kda_step_ref(float *o, float *S, const float *q, const float *k, const float *v, const float *alpha,
                      float beta, float scale, int64_t K, int64_t V, kl_rule rule)
{
    step(o, S, V, 1, q, k, v, alpha, beta, scale, K, V, rule);
}

void kl__kda_step_vk_ref(float *o, float *S, const float *q, const float *k, const float *v, const float *alpha,
                         float beta, float scale, int64_t K, int64_t V, kl_rule rule)
{
    step(o, S, 1, K, q, k, v, alpha, beta, scale, K, V, rule);
}

static float softplus(float x)
{
    return x > 20 ? x : log1pf(expf(x)); /* log(1 + exp(x)) as written would lose all of a small result */
}

void kl__decay_row_ref(float *alpha, const float *x, const float *bias, int64_t n, kl_gate gate, float rate,
                       float lower_bound)
{
    for (int64_t i = 0; i < n; i++) {
        float z = x[i] + (bias ? bias[i] : 0);
        float g = gate == KL_GATE_SOFTPLUS  ? -rate * softplus(z)
                  : gate == KL_GATE_BOUNDED ? lower_bound / (1 + expf(-rate * z))
                                            : x[i];
        alpha[i] = expf(g);
    }
}
