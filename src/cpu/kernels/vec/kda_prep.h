/* The part of a chunk that does not depend on the state.  Lanes are channels.  Token by token, the rows of ku that are
 * already there decay by one more token and meet the new k and q; a block of channels of the new token stays in
 * registers meanwhile. */
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/vec/pairs.h"

enum { MAX_BLOCK = KL_LANES == 16 ? 8 : 4 }; /* vectors of a block: three rows of it and some temporaries fit */

/* Rows i < r over one block of channels: ku_i *= alpha_r; kk[i] (+)= ku_i . k_r; qk[i] (+)= ku_i . q_r, lane by lane.
 * Row r begins: ku_r = k_r. */
static inline __attribute__((always_inline)) void meet_block(float *ku, ptrdiff_t ld, const float *q, const float *k,
                                                             const float *alpha, vf *kk, vf *qk, int r, int n_vec,
                                                             bool first)
{
    vf a[MAX_BLOCK], kr[MAX_BLOCK], qr[MAX_BLOCK];
    for (int j = 0; j < n_vec; j++) {
        a[j] = vload(alpha + j * KL_LANES);
        kr[j] = vload(k + j * KL_LANES);
        qr[j] = vload(q + j * KL_LANES);
    }
    for (int i = 0; i < r; i++) {
        vf x = first ? (vf){0} : kk[i], y = first ? (vf){0} : qk[i];
        for (int j = 0; j < n_vec; j++) {
            float *at = ku + i * ld + j * KL_LANES;
            vf w = vload(at) * a[j];
            vstore(at, w);
            x += w * kr[j];
            y += w * qr[j];
        }
        kk[i] = x;
        qk[i] = y;
    }
    vf y = first ? (vf){0} : qk[r];
    for (int j = 0; j < n_vec; j++) {
        vstore(ku + r * ld + j * KL_LANES, kr[j]);
        y += kr[j] * qr[j];
    }
    qk[r] = y;
}

void KL_VARIANT(kda_prep)(struct kl__kda_chunk *c, const float *q, ptrdiff_t ldq, const float *k, ptrdiff_t ldk,
                          const float *alpha, float scale)
{
    vf kk[KL_CHUNK_MAX + KL_LANES], qk[KL_CHUNK_MAX + KL_LANES];
    ptrdiff_t ld = c->ld;
    for (ptrdiff_t j = 0; j < ld; j += KL_LANES) {
        vf gamma = vset(1);
        for (int r = 0; r < c->n; r++) {
            gamma *= vload(alpha + r * ld + j);
            vstore(c->kd + r * ld + j, gamma * vload(k + r * ldk + j));
            vstore(c->qd + r * ld + j, scale * gamma * vload(q + r * ldq + j));
        }
        vstore(c->gamma + j, gamma);
    }
    for (int r = 0; r < c->n; r++) {
        const float *qr = q + r * ldq, *kr = k + r * ldk, *alpha_r = alpha + r * ld;
        ptrdiff_t j = 0;
        for (; j + MAX_BLOCK * KL_LANES <= ld; j += MAX_BLOCK * KL_LANES)
            meet_block(c->ku + j, ld, qr + j, kr + j, alpha_r + j, kk, qk, r, MAX_BLOCK, j == 0);
        for (; j < ld; j += KL_LANES)
            meet_block(c->ku + j, ld, qr + j, kr + j, alpha_r + j, kk, qk, r, 1, j == 0);
        store_sums(c->A + r * KL_CHUNK_MAX, kk, r, 1);
        store_sums(c->P + r * KL_CHUNK_MAX, qk, r + 1, scale);
    }
}
