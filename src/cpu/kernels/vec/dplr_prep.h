/* The part of a chunk of the general rule that does not depend on the state: kda_prep.h with two kinds of rows, ku and
 * au, that decay and meet each new token twice: before its decay its b, after it its q. */
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/vec/pairs.h"

enum { MAX_BLOCK = KL_LANES == 16 ? 8 : 4, ROOM = KL_CHUNK_MAX + KL_LANES };

/* Partial sums over channels, lane by lane, of the new token with each row. */
struct meetings {
    vf bk[ROOM], ba[ROOM], qk[ROOM], qa[ROOM];
};

/* A new token's channels in one block. */
struct token {
    const float *q, *k, *a, *b, *alpha;
};

static inline __attribute__((always_inline)) void meet_block(float *ku, float *au, ptrdiff_t ld, struct token t,
                                                             struct meetings *m, int r, int n_vec, bool first)
{
    vf alpha[MAX_BLOCK], b[MAX_BLOCK], q[MAX_BLOCK];
    for (int j = 0; j < n_vec; j++) {
        alpha[j] = vload(t.alpha + j * KL_LANES);
        b[j] = vload(t.b + j * KL_LANES);
        q[j] = vload(t.q + j * KL_LANES);
    }
    vf zero = {0};
    for (int i = 0; i < r; i++) {
        vf bk = first ? zero : m->bk[i], ba = first ? zero : m->ba[i];
        vf qk = first ? zero : m->qk[i], qa = first ? zero : m->qa[i];
        for (int j = 0; j < n_vec; j++) {
            float *k_at = ku + i * ld + j * KL_LANES, *a_at = au + i * ld + j * KL_LANES;
            vf k = vload(k_at), a = vload(a_at);
            bk += k * b[j];
            ba += a * b[j];
            k *= alpha[j];
            a *= alpha[j];
            vstore(k_at, k);
            vstore(a_at, a);
            qk += k * q[j];
            qa += a * q[j];
        }
        m->bk[i] = bk;
        m->ba[i] = ba;
        m->qk[i] = qk;
        m->qa[i] = qa;
    }
    vf qk = first ? zero : m->qk[r], qa = first ? zero : m->qa[r];
    for (int j = 0; j < n_vec; j++) {
        vf k = vload(t.k + j * KL_LANES), a = vload(t.a + j * KL_LANES);
        vstore(ku + r * ld + j * KL_LANES, k);
        vstore(au + r * ld + j * KL_LANES, a);
        qk += k * q[j];
        qa += a * q[j];
    }
    m->qk[r] = qk;
    m->qa[r] = qa;
}

static struct token token_at(const struct kl__dplr_rows *x, ptrdiff_t ld, int r, ptrdiff_t j)
{
    return (struct token){x->q + r * x->ldq + j, x->k + r * x->ldk + j, x->a + r * x->lda + j, x->b + r * x->ldb + j,
                          x->alpha + r * ld + j};
}

void KL_VARIANT(dplr_prep)(struct kl__dplr_chunk *c, const struct kl__dplr_rows *x, float scale)
{
    struct meetings m;
    ptrdiff_t ld = c->ld;
    for (ptrdiff_t j = 0; j < ld; j += KL_LANES) {
        vf gamma = vset(1);
        for (int r = 0; r < c->n; r++) {
            vstore(c->bd + r * ld + j, gamma * vload(x->b + r * x->ldb + j));
            gamma *= vload(x->alpha + r * ld + j);
            vstore(c->qd + r * ld + j, scale * gamma * vload(x->q + r * x->ldq + j));
        }
        vstore(c->gamma + j, gamma);
    }
    for (int r = 0; r < c->n; r++) {
        ptrdiff_t j = 0;
        for (; j + MAX_BLOCK * KL_LANES <= ld; j += MAX_BLOCK * KL_LANES)
            meet_block(c->ku + j, c->au + j, ld, token_at(x, ld, r, j), &m, r, MAX_BLOCK, j == 0);
        for (; j < ld; j += KL_LANES)
            meet_block(c->ku + j, c->au + j, ld, token_at(x, ld, r, j), &m, r, 1, j == 0);
        store_sums(c->Abk + r * KL_CHUNK_MAX, m.bk, r, 1);
        store_sums(c->Aba + r * KL_CHUNK_MAX, m.ba, r, 1);
        store_sums(c->Aqk + r * KL_CHUNK_MAX, m.qk, r + 1, scale);
        store_sums(c->Aqa + r * KL_CHUNK_MAX, m.qa, r + 1, scale);
    }
}
