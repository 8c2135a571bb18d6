/* The part of a chunk that does not depend on the state.  Lanes are channels.  Tokens come in blocks of KL_ROWS:
 *
 *     inside a block      token by token, the rows of ku that the block has so far decay by one more token and meet the
 *                         new k and q
 *     against earlier     a pair's decay is (from the writer to the start of this block) times (from there to the
 *     blocks              reader), and both are there: ku, and kd and qd while they begin with the block.  So these
 *                         pairs are products of rows, and a row of ku decays once a block
 *
 * Channels come in panels, so that the rows at work stay in the nearest cache. */
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/vec/prep.h"

#include <string.h>

/* A block of tokens on a panel of channels.  Pointers to rows are at the panel's first channel. */
struct block {
    int t0, n;     /* tokens t0 .. t0+n-1 */
    ptrdiff_t end; /* channels of the panel */
    bool add;      /* to the pairs of earlier panels */
    ptrdiff_t ld, ldq, ldk;
    const float *q, *k, *alpha; /* of the block */
    float scale;
    float *kd, *qd;    /* of the block */
    float *ku, *A, *P; /* of the chunk */
    float *gamma;      /* up to the block */
    float *decay;      /* [PANEL] over the block */
};

/* Pairs inside a block.  Reader r has r pairs of k and r + 1 of q, reader KL_ROWS-1-r what is missing to 2 KL_ROWS: the
 * two share an array of sums, lane by lane, and a tree that adds the lanes up. */
enum { N_SHARED = KL_ROWS / 2 };
typedef vf shared_sums_t[N_SHARED][2 * KL_ROWS];

INLINE int shared_array(int r)
{
    return r < N_SHARED ? r : KL_ROWS - 1 - r;
}
/* Where the pairs of k begin in it; those of q follow. */
INLINE int shared_place(int r)
{
    return r < N_SHARED ? 2 * KL_ROWS - (2 * r + 1) : 0;
}

/* Token r of the block over n_vec vectors from channel j of the panel on: rows of ku of earlier tokens of the block
 * decay and meet q and k; its own row begins. */
INLINE void meet_block(const struct block *b, int r, ptrdiff_t j, vf *sums, int n_vec)
{
    vf a[STEP], kr[STEP], qr[STEP];
    const float *alpha = b->alpha + r * b->ld + j, *k = b->k + r * b->ldk + j, *q = b->q + r * b->ldq + j;
    float *ku = b->ku + b->t0 * b->ld + j;
    bool first = j == 0;
#pragma GCC unroll 8
    for (int v = 0; v < n_vec; v++) {
        a[v] = vload(alpha + v * KL_LANES);
        kr[v] = vload(k + v * KL_LANES);
        qr[v] = b->scale * vload(q + v * KL_LANES);
    }
    for (int i = 0; i < r; i++, ku += b->ld) {
        vf x = first ? (vf){0} : sums[i], y = first ? (vf){0} : sums[r + i];
#pragma GCC unroll 8
        for (int v = 0; v < n_vec; v++) {
            vf w = vload(ku + v * KL_LANES) * a[v];
            vstore(ku + v * KL_LANES, w);
            x += w * kr[v];
            y += w * qr[v];
        }
        sums[i] = x;
        sums[r + i] = y;
    }
    vf y = first ? (vf){0} : sums[2 * r];
#pragma GCC unroll 8
    for (int v = 0; v < n_vec; v++) {
        vstore(ku + v * KL_LANES, kr[v]);
        y += kr[v] * qr[v];
    }
    sums[2 * r] = y;
}

INLINE void store_inside(const struct block *b, shared_sums_t sums)
{
    float *A = b->A + b->t0 * (KL_CHUNK_MAX + 1), *P = b->P + b->t0 * (KL_CHUNK_MAX + 1);
#pragma GCC unroll 4
    for (int s = 0; s < N_SHARED; s++) {
        vf sum[2 * KL_ROWS / KL_LANES];
        add_lanes(sum, sums[s], 2 * KL_ROWS);
#pragma GCC unroll 2
        for (int small = 0; small < 2; small++) {
            int r = small ? s : KL_ROWS - 1 - s, at = shared_place(r);
            if (r < b->n) {
                store_some(A + r * KL_CHUNK_MAX, sum, 2 * KL_ROWS, at, r, b->add);
                store_some(P + r * KL_CHUNK_MAX, sum, 2 * KL_ROWS, at + r, r + 1, b->add);
            }
        }
    }
}

INLINE void add_inside(const struct block *b)
{
    shared_sums_t sums;
    if (b->n < KL_ROWS)
        memset(sums, 0, sizeof sums);
    for (int r = 0; r < b->n; r++) {
        vf *own = sums[shared_array(r)] + shared_place(r);
        ptrdiff_t j = 0;
        for (; j + STEP * KL_LANES <= b->end; j += STEP * KL_LANES)
            meet_block(b, r, j, own, STEP);
        for (; j < b->end; j += KL_LANES)
            meet_block(b, r, j, own, 1);
    }
    store_inside(b, sums);
}

/* kd and qd, decayed from the block's start on; decay <- that over the whole block. */
INLINE void decay_rows(const struct block *b)
{
    for (ptrdiff_t j = 0; j < b->end; j += KL_LANES) {
        vf g = vset(1);
        for (int r = 0; r < b->n; r++) {
            g *= vload(b->alpha + r * b->ld + j);
            vstore(b->kd + r * b->ld + j, g * vload(b->k + r * b->ldk + j));
            vstore(b->qd + r * b->ld + j, g * (b->scale * vload(b->q + r * b->ldq + j)));
        }
        vstore(b->decay + j, g);
    }
}

/* What decays over the block, or has decayed before it. */
INLINE void join_block(const struct block *b)
{
    if (b->t0 == 0) {
        for (ptrdiff_t j = 0; j < b->end; j += KL_LANES)
            vstore(b->gamma + j, vload(b->decay + j));
        return;
    }
    multiply_rows(b->kd, b->ld, b->gamma, b->n, b->end);
    multiply_rows(b->qd, b->ld, b->gamma, b->n, b->end);
    multiply_rows(b->ku, b->ld, b->decay, b->t0, b->end);
    multiply_rows(b->gamma, 0, b->decay, 1, b->end);
}

void KL_VARIANT(kda_prep)(struct kl__kda_chunk *c, const float *q, ptrdiff_t ldq, const float *k, ptrdiff_t ldk,
                          const float *alpha, float scale)
{
    _Alignas(64) float decay[PANEL];
    const struct kl__kda_chunk x = *c;
    for (ptrdiff_t at = 0; at < x.ld; at += PANEL)
        for (int t0 = 0; t0 < x.n; t0 += KL_ROWS) {
            struct block b = {.t0 = t0,
                              .n = x.n - t0 < KL_ROWS ? x.n - t0 : KL_ROWS,
                              .end = x.ld - at < PANEL ? x.ld - at : PANEL,
                              .add = at > 0,
                              .ld = x.ld,
                              .ldq = ldq,
                              .ldk = ldk,
                              .q = q + t0 * ldq + at,
                              .k = k + t0 * ldk + at,
                              .alpha = alpha + t0 * x.ld + at,
                              .scale = scale,
                              .kd = x.kd + t0 * x.ld + at,
                              .qd = x.qd + t0 * x.ld + at,
                              .ku = x.ku + at,
                              .A = x.A,
                              .P = x.P,
                              .gamma = x.gamma + at,
                              .decay = decay};
            add_inside(&b);
            decay_rows(&b);
            const struct readers r = {b.t0, b.n, b.end, b.ld, b.add, b.kd, b.qd};
            pair_with_earlier(&r, b.ku, x.A, x.P, KL_ROWS);
            join_block(&b);
        }
}
