/* The backward of the part of a chunk of the general rule that does not depend on the state.  Lanes are channels, which
 * do not meet: a vector of them goes through the chunk alone, with the sums of its tokens close together. */
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/vec/vec.h"

/* One vector of channels of the tokens of a chunk. */
struct channels {
    int n;
    vf q[KL_CHUNK_MAX], b[KL_CHUNK_MAX], alpha[KL_CHUNK_MAX]; /* q with the scale */
    vf dq[KL_CHUNK_MAX], db[KL_CHUNK_MAX], dg[KL_CHUNK_MAX];  /* dq without it */
};

static void load(struct channels *c, const struct kl__dplr_rows *x, ptrdiff_t ld, ptrdiff_t j, float scale)
{
    for (int r = 0; r < c->n; r++) {
        c->q[r] = scale * vload(x->q + r * x->ldq + j);
        c->b[r] = vload(x->b + r * x->ldb + j);
        c->alpha[r] = vload(x->alpha + r * ld + j);
    }
}

/* What reads the state before the chunk.  `reach` is the adjoint of the decay from its start on: what all tokens
 * from r on hang on it.  b meets the decays through the token before its own. */
static void begin(struct channels *c, const struct kl__dplr_chunk_bwd *out, ptrdiff_t ld, ptrdiff_t j)
{
    vf gamma[KL_CHUNK_MAX + 1], reach = vload(out->dgamma + j); /* gamma[r]: through the token before r */
    gamma[0] = vset(1);
    for (int r = 0; r < c->n; r++)
        gamma[r + 1] = gamma[r] * c->alpha[r];
    for (int r = c->n - 1; r >= 0; r--) {
        vf dqd = vload(out->dqd + r * ld + j), dbd = vload(out->dbd + r * ld + j);
        reach += c->q[r] * dqd;
        c->dq[r] = gamma[r + 1] * dqd;
        c->db[r] = gamma[r] * dbd;
        c->dg[r] = gamma[r + 1] * reach;
        reach = reach * c->alpha[r] + c->b[r] * dbd;
    }
}

/* Token i writes `written`, whose adjoint at the end of the chunk is `reach`: its pairs with the readers from i on, and
 * the decays between.  Leaves the adjoint of what is written. */
static vf write_back(struct channels *c, vf written, vf reach, const float *dAq, const float *dAb, int i)
{
    vf w[KL_CHUNK_MAX]; /* written, as far as it has decayed at token r */
    w[i] = written;
    c->dq[i] += vset(dAq[i * KL_CHUNK_MAX + i]) * written;
    for (int r = i + 1; r < c->n; r++) {
        c->db[r] += vset(dAb[r * KL_CHUNK_MAX + i]) * w[r - 1];
        w[r] = w[r - 1] * c->alpha[r];
        c->dq[r] += vset(dAq[r * KL_CHUNK_MAX + i]) * w[r];
    }
    for (int r = c->n - 1; r > i; r--) {
        reach += vset(dAq[r * KL_CHUNK_MAX + i]) * c->q[r];
        c->dg[r] += w[r] * reach;
        reach = reach * c->alpha[r] + vset(dAb[r * KL_CHUNK_MAX + i]) * c->b[r];
    }
    return reach + vset(dAq[i * KL_CHUNK_MAX + i]) * c->q[i];
}

void KL_VARIANT(dplr_prep_bwd)(struct kl__dplr_chunk_bwd *out, const struct kl__dplr_chunk *c,
                               const struct kl__dplr_rows *x, float scale)
{
    ptrdiff_t ld = c->ld;
    for (ptrdiff_t j = 0; j < ld; j += KL_LANES) {
        struct channels s;
        s.n = c->n;
        load(&s, x, ld, j, scale);
        begin(&s, out, ld, j);
        for (int i = 0; i < c->n; i++) {
            ptrdiff_t at = i * ld + j;
            vf k = vload(x->k + i * x->ldk + j), a = vload(x->a + i * x->lda + j);
            vstore(out->dk + at, write_back(&s, k, vload(out->dku + at), out->dAqk, out->dAbk, i));
            vstore(out->da + at, write_back(&s, a, vload(out->dau + at), out->dAqa, out->dAba, i));
        }
        for (int r = 0; r < c->n; r++) {
            vstore(out->dq + r * ld + j, scale * s.dq[r]);
            vstore(out->db + r * ld + j, s.db[r]);
            vstore(out->dg + r * ld + j, s.dg[r]);
        }
    }
}
