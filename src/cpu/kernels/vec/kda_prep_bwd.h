/* The backward of the part of a chunk that does not depend on the state.  Lanes are channels, and channels do not meet:
 * two vectors of them go through the chunk alone, with their rows copied to where they lie close together.
 *
 * A tile of KL_TILE tokens writes (i), tokens read (r).  Of what tokens write, w_i is k_i as far as it has decayed, and
 * reach_i the adjoint of w_i; what the decay of a token contributes to is the product of the two at that token.
 *
 *     near     readers in the tile itself: w_i and reach_i are carried from token to token
 *     far      readers after the tile: all w_i stand at its end, and the readers' q and k are brought there by the
 *     decay
 *              from the tile's end through themselves, so that a pair costs four multiply-adds
 *
 * Everything is a product of decays, and sums add what belongs together: a decay of 0 cuts exactly. */
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/vec/tile.h"

enum { GROUP = 2 }; /* vectors that go together: broadcasts serve both, and their chains of sums run side by side */

/* The group's channels of the tokens from some token on. */
struct rows {
    const float *q, *k, *alpha, *dqd, *dkd, *dku;
    ptrdiff_t ldq, ldk, ld; /* ld: of all but q and k */
    float scale;
};

INLINE struct rows rows_from(struct rows x, int r)
{
    return (struct rows){x.q + r * x.ldq,  x.k + r * x.ldk,  x.alpha + r * x.ld, x.dqd + r * x.ld,
                         x.dkd + r * x.ld, x.dku + r * x.ld, x.ldq,              x.ldk,
                         x.ld,             x.scale};
}

INLINE vf q_of(const struct rows *x, int r, int v)
{
    return x->scale * vload(x->q + r * x->ldq + v * KL_LANES);
}

INLINE vf k_of(const struct rows *x, int r, int v)
{
    return vload(x->k + r * x->ldk + v * KL_LANES);
}

INLINE vf alpha_of(const struct rows *x, int r, int v)
{
    return vload(x->alpha + r * x->ld + v * KL_LANES);
}

/* Gradients of a token in the group, dq without the scale. */
struct sums {
    vf dq[GROUP], dk[GROUP], dg[GROUP];
};

/* A token as a far reader: q and k brought to the end of the tile; what of its gradients hangs on the
 * decays between. */
struct far_token {
    vf q[GROUP], k[GROUP], hangs[GROUP];
};

/* Something of each token of a tile. */
struct writers {
    vf of[KL_TILE][GROUP];
};

/* What of the n tokens reads the state before the chunk: its decay begins with the chunk, so that the decay of a token
 * takes part in what all tokens from it on read. */
INLINE void begin(struct sums *s, const struct rows *x, const float *dgamma, int n, int n_vec)
{
    vf gamma[GROUP], sum[GROUP];
    for (int v = 0; v < n_vec; v++)
        gamma[v] = vset(1);
    for (int r = 0; r < n; r++)
        for (int v = 0; v < n_vec; v++) {
            ptrdiff_t at = r * x->ld + v * KL_LANES;
            gamma[v] *= alpha_of(x, r, v);
            vf dq = gamma[v] * vload(x->dqd + at), dk = gamma[v] * vload(x->dkd + at);
            s[r].dq[v] = dq;
            s[r].dk[v] = dk;
            s[r].dg[v] = q_of(x, r, v) * dq + k_of(x, r, v) * dk;
        }
    for (int v = 0; v < n_vec; v++)
        sum[v] = gamma[v] * vload(dgamma + v * KL_LANES);
    for (int r = n - 1; r >= 0; r--)
        for (int v = 0; v < n_vec; v++) {
            sum[v] += s[r].dg[v];
            s[r].dg[v] = sum[v];
        }
}

/* Token r of a tile meets the r older ones and itself. */
INLINE void read_near(struct sums *s, struct writers *w, struct writers *kept, const struct rows *x, const float *dP,
                      const float *dA, int r, int n_vec)
{
    struct sums t = *s;
    vf alpha[GROUP];
    for (int v = 0; v < n_vec; v++)
        alpha[v] = alpha_of(x, r, v);
#pragma GCC unroll 8
    for (int i = 0; i < r; i++) {
        vf p = vset(dP[i]), a = vset(dA[i]);
        for (int v = 0; v < n_vec; v++) {
            w->of[i][v] *= alpha[v];
            t.dk[v] += a * w->of[i][v];
            t.dq[v] += p * w->of[i][v];
            kept->of[i][v] = w->of[i][v];
        }
    }
    for (int v = 0; v < n_vec; v++) {
        w->of[r][v] = k_of(x, r, v);
        s->dq[v] = t.dq[v] + vset(dP[r]) * w->of[r][v];
        s->dk[v] = t.dk[v];
    }
}

/* w: as the tokens of the tile stand at its end; kept[r]: as they stood at token r. */
INLINE void near_forwards(struct sums *s, struct writers *w, struct writers *kept, const struct rows *x,
                          const float *dP, const float *dA, int n_w, int n_vec)
{
    struct writers now;
#pragma GCC unroll 8
    for (int r = 0; r < n_w; r++)
        read_near(s + r, &now, kept + r, x, dP + r * KL_CHUNK_MAX, dA + r * KL_CHUNK_MAX, r, n_vec);
    for (int i = 0; i < n_w; i++)
        for (int v = 0; v < n_vec; v++)
            w->of[i][v] = now.of[i][v];
}

/* Tokens n_w .. n-1 after the tile read what it has written; gamma: the decay over all of them. */
INLINE void far_forwards(struct sums *s, struct far_token *far, vf gamma[GROUP], const struct writers *w,
                         const struct rows *x, int n, const float *dP, const float *dA, int n_w, int n_vec)
{
    for (int v = 0; v < n_vec; v++)
        gamma[v] = vset(1);
    for (int r = n_w; r < n; r++) {
        vf dq[GROUP] = {0}, dk[GROUP] = {0};
#pragma GCC unroll 8
        for (int i = 0; i < n_w; i++) {
            vf p = vset(dP[r * KL_CHUNK_MAX + i]), a = vset(dA[r * KL_CHUNK_MAX + i]);
            for (int v = 0; v < n_vec; v++) {
                dq[v] += p * w->of[i][v];
                dk[v] += a * w->of[i][v];
            }
        }
        for (int v = 0; v < n_vec; v++) {
            gamma[v] *= alpha_of(x, r, v);
            vf q = gamma[v] * q_of(x, r, v), k = gamma[v] * k_of(x, r, v);
            far[r].q[v] = q;
            far[r].k[v] = k;
            far[r].hangs[v] = q * dq[v] + k * dk[v];
            s[r].dq[v] += gamma[v] * dq[v];
            s[r].dk[v] += gamma[v] * dk[v];
        }
    }
}

/* reach: at the end of the tile, from the far readers and the state after the chunk; the decays of the far readers get
 * what hangs on them. */
INLINE void far_backwards(struct sums *s, struct writers *reach, const struct far_token *far, const vf gamma[GROUP],
                          const struct writers *w, const struct rows *x, int n, const float *dP, const float *dA,
                          int n_w, int n_vec)
{
    vf now[KL_TILE][GROUP], hangs[GROUP] = {0};
#pragma GCC unroll 8
    for (int i = 0; i < n_w; i++)
        for (int v = 0; v < n_vec; v++) {
            now[i][v] = gamma[v] * vload(x->dku + i * x->ld + v * KL_LANES);
            hangs[v] += w->of[i][v] * now[i][v];
        }
    for (int r = n - 1; r >= n_w; r--) {
        for (int v = 0; v < n_vec; v++) {
            hangs[v] += far[r].hangs[v];
            s[r].dg[v] += hangs[v];
        }
#pragma GCC unroll 8
        for (int i = 0; i < n_w; i++) {
            vf p = vset(dP[r * KL_CHUNK_MAX + i]), a = vset(dA[r * KL_CHUNK_MAX + i]);
            for (int v = 0; v < n_vec; v++) {
                now[i][v] += p * far[r].q[v];
                now[i][v] += a * far[r].k[v];
            }
        }
    }
    for (int i = 0; i < n_w; i++)
        for (int v = 0; v < n_vec; v++)
            reach->of[i][v] = now[i][v];
}

/* Token r of a tile and the r older ones on the way back: reach[i] as the token after it has left them, which `last`
 * has not. */
INLINE void write_near(struct sums *s, struct writers *reach, const struct writers *kept, const struct rows *x,
                       const float *dP, const float *dA, int r, bool last, int n_vec)
{
    vf q[GROUP], k[GROUP], alpha[GROUP], dg[GROUP];
    for (int v = 0; v < n_vec; v++) {
        q[v] = q_of(x, r, v);
        k[v] = k_of(x, r, v);
        alpha[v] = last ? vset(1) : alpha_of(x, r + 1, v);
        dg[v] = s->dg[v];
    }
#pragma GCC unroll 8
    for (int i = 0; i < r; i++) {
        vf p = vset(dP[i]), a = vset(dA[i]);
        for (int v = 0; v < n_vec; v++) {
            vf now = (last ? reach->of[i][v] : alpha[v] * reach->of[i][v]) + p * q[v];
            now += a * k[v];
            dg[v] += kept->of[i][v] * now;
            reach->of[i][v] = now;
        }
    }
    for (int v = 0; v < n_vec; v++) {
        reach->of[r][v] = (last ? reach->of[r][v] : alpha[v] * reach->of[r][v]) + vset(dP[r]) * q[v];
        s->dg[v] = dg[v];
    }
}

INLINE void near_backwards(struct sums *s, const struct writers *reach, const struct writers *kept,
                           const struct rows *x, const float *dP, const float *dA, int n_w, int n_vec)
{
    struct writers now = *reach;
#pragma GCC unroll 8
    for (int r = n_w - 1; r >= 0; r--)
        write_near(s + r, &now, kept + r, x, dP + r * KL_CHUNK_MAX, dA + r * KL_CHUNK_MAX, r, r == n_w - 1, n_vec);
    for (int i = 0; i < n_w; i++)
        for (int v = 0; v < n_vec; v++)
            s[i].dk[v] += now.of[i][v];
}

/* What is written by the first n_w of n tokens. */
INLINE void run_tile(struct sums *s, struct rows x, int n, const float *dP, const float *dA, int n_w, int n_vec)
{
    struct writers w, reach, kept[KL_TILE];
    struct far_token far[KL_CHUNK_MAX];
    vf gamma[GROUP];
    near_forwards(s, &w, kept, &x, dP, dA, n_w, n_vec);
    far_forwards(s, far, gamma, &w, &x, n, dP, dA, n_w, n_vec);
    far_backwards(s, &reach, far, gamma, &w, &x, n, dP, dA, n_w, n_vec);
    near_backwards(s, &reach, kept, &x, dP, dA, n_w, n_vec);
}

INLINE void run_group(struct kl__kda_chunk_bwd *b, struct rows x, ptrdiff_t j, int n, int n_vec)
{
    struct sums s[KL_CHUNK_MAX];
    begin(s, &x, b->dgamma + j, n, n_vec);
    for (int i = 0; i < n;) {
        const float *dP = b->dP + i * KL_CHUNK_MAX + i, *dA = b->dA + i * KL_CHUNK_MAX + i;
        if (n - i >= KL_TILE) {
            run_tile(s + i, rows_from(x, i), n - i, dP, dA, KL_TILE, n_vec);
            i += KL_TILE;
        } else {
            run_tile(s + i, rows_from(x, i), n - i, dP, dA, 1, n_vec);
            i++;
        }
    }
    for (int r = 0; r < n; r++)
        for (int v = 0; v < n_vec; v++) {
            ptrdiff_t at = r * x.ld + j + v * KL_LANES;
            vstore(b->dq + at, x.scale * s[r].dq[v]);
            vstore(b->dk + at, s[r].dk[v]);
            vstore(b->dg + at, s[r].dg[v]);
        }
}

void KL_VARIANT(kda_prep_bwd)(struct kl__kda_chunk_bwd *b, const struct kl__kda_chunk *c, const float *q,
                              ptrdiff_t ldq, const float *k, ptrdiff_t ldk, const float *alpha, float scale)
{
    for (ptrdiff_t j = 0; j < c->ld;) {
        struct rows x = {q + j, k + j, alpha + j, b->dqd + j, b->dkd + j, b->dku + j, ldq, ldk, c->ld, scale};
        if (j + GROUP * KL_LANES <= c->ld) {
            run_group(b, x, j, c->n, GROUP);
            j += GROUP * KL_LANES;
        } else {
            run_group(b, x, j, c->n, 1);
            j += KL_LANES;
        }
    }
}
