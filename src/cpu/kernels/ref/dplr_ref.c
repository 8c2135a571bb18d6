/* The general diagonal-plus-low-rank rule, one head, as the mathematics is written. */
#include "cpu/kernels/kernels.h"

static float dot(const float *x, const float *y, ptrdiff_t n)
{
    float sum = 0;
    for (ptrdiff_t j = 0; j < n; j++)
        sum += x[j] * y[j];
    return sum;
}

void kl__dplr_prep_ref(struct kl__dplr_chunk *c, const struct kl__dplr_rows *x, float scale)
{
    ptrdiff_t ld = c->ld;
    for (ptrdiff_t j = 0; j < ld; j++)
        c->gamma[j] = 1;
    for (int r = 0; r < c->n; r++) {
        const float *b = x->b + r * x->ldb, *q = x->q + r * x->ldq, *alpha = x->alpha + r * ld;
        for (int i = 0; i < r; i++) { /* ku, au have decayed through r-1: what b sees */
            c->Abk[r * KL_CHUNK_MAX + i] = dot(b, c->ku + i * ld, ld);
            c->Aba[r * KL_CHUNK_MAX + i] = dot(b, c->au + i * ld, ld);
        }
        for (ptrdiff_t j = 0; j < ld; j++) {
            c->bd[r * ld + j] = c->gamma[j] * b[j];
            c->gamma[j] *= alpha[j];
            c->qd[r * ld + j] = scale * c->gamma[j] * q[j];
            for (int i = 0; i < r; i++) {
                c->ku[i * ld + j] *= alpha[j];
                c->au[i * ld + j] *= alpha[j];
            }
            c->ku[r * ld + j] = x->k[r * x->ldk + j];
            c->au[r * ld + j] = x->a[r * x->lda + j];
        }
        for (int i = 0; i <= r; i++) {
            c->Aqk[r * KL_CHUNK_MAX + i] = scale * dot(q, c->ku + i * ld, ld);
            c->Aqa[r * KL_CHUNK_MAX + i] = scale * dot(q, c->au + i * ld, ld);
        }
    }
}

/* One value column: y of all tokens from the state `s` before the chunk. */
static void read_column(float *y, const float *s, const struct kl__dplr_chunk *c, const float *v, ptrdiff_t ldv)
{
    for (int r = 0; r < c->n; r++) {
        float sum = 0;
        for (int j = 0; j < c->K; j++)
            sum += c->bd[r * c->ld + j] * s[j * KL_SLAB];
        for (int i = 0; i < r; i++)
            sum += c->Abk[r * KL_CHUNK_MAX + i] * v[i * ldv] - c->Aba[r * KL_CHUNK_MAX + i] * y[i];
        y[r] = sum;
    }
}

/* The same of the outputs. */
static void output_column(float *o, ptrdiff_t ldo, const float *s, const struct kl__dplr_chunk *c, const float *v,
                          ptrdiff_t ldv, const float *y)
{
    for (int r = 0; r < c->n; r++) {
        float sum = 0;
        for (int j = 0; j < c->K; j++)
            sum += c->qd[r * c->ld + j] * s[j * KL_SLAB];
        for (int i = 0; i <= r; i++)
            sum += c->Aqk[r * KL_CHUNK_MAX + i] * v[i * ldv] - c->Aqa[r * KL_CHUNK_MAX + i] * y[i];
        o[r * ldo] = sum;
    }
}

/* And of the state after the chunk. */
static void write_column(float *to, const float *s, const struct kl__dplr_chunk *c, const float *v, ptrdiff_t ldv,
                         const float *y)
{
    for (int j = 0; j < c->K; j++) {
        float sum = c->gamma[j] * s[j * KL_SLAB];
        for (int i = 0; i < c->n; i++)
            sum += c->ku[i * c->ld + j] * v[i * ldv] - c->au[i * c->ld + j] * y[i];
        to[j * KL_SLAB] = sum;
    }
}

static void run(float *to, const float *from, float *o, ptrdiff_t ldo, float *y_out, ptrdiff_t ldy,
                const struct kl__dplr_chunk *c, const float *v, ptrdiff_t ldv, int n_slab)
{
    float y[KL_CHUNK_MAX];
    for (int column = 0; column < n_slab * KL_SLAB; column++) {
        ptrdiff_t at = (ptrdiff_t)(column / KL_SLAB) * c->K * KL_SLAB + column % KL_SLAB;
        read_column(y, from + at, c, v + column, ldv);
        for (int r = 0; y_out && r < c->n; r++)
            y_out[r * ldy + column] = y[r];
        if (o)
            output_column(o + column, ldo, from + at, c, v + column, ldv, y);
        if (to)
            write_column(to + at, from + at, c, v + column, ldv, y);
    }
}

void kl__dplr_slabs_ref(float *S, float *o, ptrdiff_t ldo, const struct kl__dplr_chunk *c, const float *v,
                        ptrdiff_t ldv, int n_slab)
{
    run(S, S, o, ldo, NULL, 0, c, v, ldv, n_slab);
}

void kl__dplr_again_ref(float *to, const float *from, float *y, ptrdiff_t ldy, const struct kl__dplr_chunk *c,
                        const float *v, ptrdiff_t ldv, int n_slab)
{
    run(to, from, NULL, 0, y, ldy, c, v, ldv, n_slab);
}

/* One value column of the state, its elements `row` apart. */
static float step_column(float *s, ptrdiff_t row, const struct kl__dplr_rows *x, float v, int64_t K)
{
    float y = 0, sum = 0;
    for (int64_t i = 0; i < K; i++)
        y += x->b[i] * s[i * row];
    for (int64_t i = 0; i < K; i++) {
        s[i * row] = x->alpha[i] * s[i * row] - x->a[i] * y + x->k[i] * v;
        sum += x->q[i] * s[i * row];
    }
    return sum;
}

void kl__dplr_step_ref(float *o, float *S, const struct kl__dplr_rows *x, const float *v, float scale, int64_t K,
                       int64_t V)
{
    for (int64_t j = 0; j < V; j++)
        o[j] = scale * step_column(S + j, V, x, v[j], K);
}

void kl__dplr_step_vk_ref(float *o, float *S, const struct kl__dplr_rows *x, const float *v, float scale, int64_t K,
                          int64_t V)
{
    for (int64_t j = 0; j < V; j++)
        o[j] = scale * step_column(S + j * K, 1, x, v[j], K);
}
