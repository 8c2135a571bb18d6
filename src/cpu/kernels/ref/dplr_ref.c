/* The general diagonal-plus-low-rank rule, one head, as the mathematics is written. */
#include "cpu/kernels/kernels.h"

static float dot(const float *x, const float *y, ptrdiff_t n)
{
    float sum = 0;
    for (ptrdiff_t j = 0; j < n; j++)
        sum += x[j] * y[j];
    return sum;
}

void kl__dplr_prep_ref(struct kl__dplr_chunk *c, const float *q, const float *k, const float *a, const float *b,
                       const float *alpha, float scale)
{
    ptrdiff_t ld = c->ld;
    for (ptrdiff_t j = 0; j < ld; j++)
        c->gamma[j] = 1;
    for (int r = 0; r < c->n; r++) {
        const float *br = b + r * ld, *qr = q + r * ld, *alpha_r = alpha + r * ld;
        for (int i = 0; i < r; i++) { /* ku, au have decayed through r-1: what b sees */
            c->Abk[r * KL_CHUNK_MAX + i] = dot(br, c->ku + i * ld, ld);
            c->Aba[r * KL_CHUNK_MAX + i] = dot(br, c->au + i * ld, ld);
        }
        for (ptrdiff_t j = 0; j < ld; j++) {
            c->bd[r * ld + j] = c->gamma[j] * br[j];
            c->gamma[j] *= alpha_r[j];
            c->qd[r * ld + j] = scale * c->gamma[j] * qr[j];
            for (int i = 0; i < r; i++) {
                c->ku[i * ld + j] *= alpha_r[j];
                c->au[i * ld + j] *= alpha_r[j];
            }
            c->ku[r * ld + j] = k[r * ld + j];
            c->au[r * ld + j] = a[r * ld + j];
        }
        for (int i = 0; i <= r; i++) {
            c->Aqk[r * KL_CHUNK_MAX + i] = scale * dot(qr, c->ku + i * ld, ld);
            c->Aqa[r * KL_CHUNK_MAX + i] = scale * dot(qr, c->au + i * ld, ld);
        }
    }
}

void kl__dplr_slabs_ref(float *S, float *o, ptrdiff_t ldo, float *y_out, ptrdiff_t ldy, const struct kl__dplr_chunk *c,
                        const float *v, ptrdiff_t ldv, int n_slab)
{
    float y[KL_CHUNK_MAX];
    for (int column = 0; column < n_slab * KL_SLAB; column++) {
        float *s = S + (ptrdiff_t)(column / KL_SLAB) * c->K * KL_SLAB + column % KL_SLAB;
        for (int r = 0; r < c->n; r++) {
            float sum = 0;
            for (int j = 0; j < c->K; j++)
                sum += c->bd[r * c->ld + j] * s[j * KL_SLAB];
            for (int i = 0; i < r; i++)
                sum += c->Abk[r * KL_CHUNK_MAX + i] * v[i * ldv + column] - c->Aba[r * KL_CHUNK_MAX + i] * y[i];
            y[r] = sum;
            if (y_out)
                y_out[r * ldy + column] = sum;
        }
        for (int r = 0; o && r < c->n; r++) {
            float sum = 0;
            for (int j = 0; j < c->K; j++)
                sum += c->qd[r * c->ld + j] * s[j * KL_SLAB];
            for (int i = 0; i <= r; i++)
                sum += c->Aqk[r * KL_CHUNK_MAX + i] * v[i * ldv + column] - c->Aqa[r * KL_CHUNK_MAX + i] * y[i];
            o[r * ldo + column] = sum;
        }
        for (int j = 0; j < c->K; j++) {
            float sum = c->gamma[j] * s[j * KL_SLAB];
            for (int i = 0; i < c->n; i++)
                sum += c->ku[i * c->ld + j] * v[i * ldv + column] - c->au[i * c->ld + j] * y[i];
            s[j * KL_SLAB] = sum;
        }
    }
}

void kl__dplr_step_ref(float *o, float *S, const float *q, const float *k, const float *v, const float *a,
                       const float *b, const float *alpha, float scale, int64_t K, int64_t V)
{
    for (int64_t j = 0; j < V; j++) {
        float *s = S + j, y = 0, sum = 0;
        for (int64_t i = 0; i < K; i++)
            y += b[i] * s[i * V];
        for (int64_t i = 0; i < K; i++) {
            s[i * V] = alpha[i] * s[i * V] - a[i] * y + k[i] * v[j];
            sum += q[i] * s[i * V];
        }
        o[j] = scale * sum;
    }
}
