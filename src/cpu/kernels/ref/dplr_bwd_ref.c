/* Gradients of the general diagonal-plus-low-rank rule, one chunk of one head, as the mathematics is written. */
#include "cpu/kernels/kernels.h"

#include <string.h>

static void clear(struct kl__dplr_chunk_bwd *out, const struct kl__dplr_chunk *c)
{
    size_t rows = sizeof(float) * (size_t)c->n * (size_t)c->ld, pairs = sizeof(float) * (size_t)c->n * KL_CHUNK_MAX;
    float *const row_arrays[] = {out->dqd, out->dbd, out->dku, out->dau};
    float *const pair_arrays[] = {out->dAbk, out->dAba, out->dAqk, out->dAqa};
    for (int i = 0; i < 4; i++) {
        memset(row_arrays[i], 0, rows);
        memset(pair_arrays[i], 0, pairs);
    }
    memset(out->dgamma, 0, sizeof(float) * (size_t)c->ld);
}

/* One value column through the chunk, last token first.  d[j] is D[j * KL_SLAB]. */
static void column_of_values(float *dy, float *dv, ptrdiff_t lddv, const float *d, const struct kl__dplr_chunk *c,
                             const float *d_o, ptrdiff_t lddo)
{
    for (int i = c->n - 1; i >= 0; i--) {
        float y = 0, v = 0;
        for (int j = 0; j < c->K; j++) {
            y -= c->au[i * c->ld + j] * d[j * KL_SLAB];
            v += c->ku[i * c->ld + j] * d[j * KL_SLAB];
        }
        for (int r = i; r < c->n; r++) {
            y -= c->Aqa[r * KL_CHUNK_MAX + i] * d_o[r * lddo];
            v += c->Aqk[r * KL_CHUNK_MAX + i] * d_o[r * lddo];
        }
        for (int r = i + 1; r < c->n; r++) {
            y -= c->Aba[r * KL_CHUNK_MAX + i] * dy[r];
            v += c->Abk[r * KL_CHUNK_MAX + i] * dy[r];
        }
        dy[i] = y;
        dv[i * lddv] = v;
    }
}

static void column_of_pairs(struct kl__dplr_chunk_bwd *out, int n, const float *y, ptrdiff_t ldy, const float *v,
                            ptrdiff_t ldv, const float *d_o, ptrdiff_t lddo, const float *dy)
{
    for (int r = 0; r < n; r++)
        for (int i = 0; i <= r; i++) {
            int pair = r * KL_CHUNK_MAX + i;
            out->dAqk[pair] += d_o[r * lddo] * v[i * ldv];
            out->dAqa[pair] -= d_o[r * lddo] * y[i * ldy];
            out->dAbk[pair] += dy[r] * v[i * ldv];
            out->dAba[pair] -= dy[r] * y[i * ldy];
        }
}

void kl__dplr_slabs_bwd_ref(float *D, struct kl__dplr_chunk_bwd *out, float *dv, ptrdiff_t lddv, const float *S,
                            const struct kl__dplr_chunk *c, const float *y, ptrdiff_t ldy, const float *v,
                            ptrdiff_t ldv, const float *d_o, ptrdiff_t lddo, int n_slab)
{
    float dy[KL_CHUNK_MAX];
    clear(out, c);
    for (int at = 0; at < n_slab * KL_SLAB; at++) {
        ptrdiff_t element = (ptrdiff_t)(at / KL_SLAB) * c->K * KL_SLAB + at % KL_SLAB;
        column_of_values(dy, dv + at, lddv, D + element, c, d_o + at, lddo);
        column_of_pairs(out, c->n, y + at, ldy, v + at, ldv, d_o + at, lddo, dy);
        for (int j = 0; j < c->K; j++) {
            float s = S[element + j * KL_SLAB], d = D[element + j * KL_SLAB], sum = c->gamma[j] * d;
            for (int r = 0; r < c->n; r++) {
                ptrdiff_t row = r * c->ld + j;
                out->dqd[row] += s * d_o[r * lddo + at];
                out->dbd[row] += s * dy[r];
                out->dku[row] += d * v[r * ldv + at];
                out->dau[row] -= d * y[r * ldy + at];
                sum += c->qd[row] * d_o[r * lddo + at] + c->bd[row] * dy[r];
            }
            out->dgamma[j] += s * d;
            D[element + j * KL_SLAB] = sum;
        }
    }
}

/* One channel.  `reach`: see kda_bwd_ref.c.  b meets the decays through the token before its own. */
static void channel_of_start(struct kl__dplr_chunk_bwd *out, const struct kl__dplr_chunk *c,
                             const struct kl__dplr_rows *x, float scale, ptrdiff_t j)
{
    float gamma[KL_CHUNK_MAX + 1], reach = out->dgamma[j]; /* gamma[r]: through the token before r */
    gamma[0] = 1;
    for (int r = 0; r < c->n; r++)
        gamma[r + 1] = gamma[r] * x->alpha[r * c->ld + j];
    for (int r = c->n - 1; r >= 0; r--) {
        ptrdiff_t at = r * c->ld + j;
        reach += scale * x->q[r * x->ldq + j] * out->dqd[at];
        out->dq[at] = scale * gamma[r + 1] * out->dqd[at];
        out->db[at] = gamma[r] * out->dbd[at];
        out->dg[at] = gamma[r + 1] * reach;
        reach = reach * x->alpha[at] + x->b[r * x->ldb + j] * out->dbd[at];
    }
}

/* Token i writes `written` (of its k or a): its pairs with the readers q and b of tokens from i on, its adjoint and the
 * decays between. */
static float channel_of_write(float written, float dxu, const float *dAq, const float *dAb,
                              struct kl__dplr_chunk_bwd *out, const struct kl__dplr_chunk *c,
                              const struct kl__dplr_rows *x, float scale, ptrdiff_t j, int i)
{
    float w[KL_CHUNK_MAX]; /* gamma_{i->r} written */
    for (int r = i; r < c->n; r++) {
        ptrdiff_t at = r * c->ld + j, pair = r * KL_CHUNK_MAX + i;
        w[r] = r == i ? written : w[r - 1] * x->alpha[at];
        out->dq[at] += scale * dAq[pair] * w[r];
        if (r > i)
            out->db[at] += dAb[pair] * w[r - 1];
    }
    float reach = dxu;
    for (int r = c->n - 1; r >= i; r--) {
        ptrdiff_t at = r * c->ld + j, pair = r * KL_CHUNK_MAX + i;
        reach += scale * dAq[pair] * x->q[r * x->ldq + j];
        if (r > i) {
            out->dg[at] += w[r] * reach;
            reach = reach * x->alpha[at] + dAb[pair] * x->b[r * x->ldb + j];
        }
    }
    return reach;
}

void kl__dplr_prep_bwd_ref(struct kl__dplr_chunk_bwd *out, const struct kl__dplr_chunk *c,
                           const struct kl__dplr_rows *x, float scale)
{
    for (ptrdiff_t j = 0; j < c->ld; j++) {
        channel_of_start(out, c, x, scale, j);
        for (int i = 0; i < c->n; i++) {
            ptrdiff_t at = i * c->ld + j;
            out->dk[at] = channel_of_write(x->k[i * x->ldk + j], out->dku[at], out->dAqk, out->dAbk, out, c, x, scale,
                                           j, i);
            out->da[at] = channel_of_write(x->a[i * x->lda + j], out->dau[at], out->dAqa, out->dAba, out, c, x, scale,
                                           j, i);
        }
    }
}
