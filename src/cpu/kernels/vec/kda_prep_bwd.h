/* The backward of the part of a chunk that does not depend on the state.  Lanes are channels, and channels do not meet:
 * a vector of them goes through the chunk alone, with its rows copied to where they lie close together.
 *
 * KL_TILE tokens that write (i) stay in registers while the tokens that read (r) go by, first forwards: w_i, which is
 * k_i as far as it has decayed; then backwards: reach_i, the adjoint of w_i at that token.  The product of the two is
 * what the decay of the token in question contributes to. */
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/vec/tile.h"

/* A token in KL_LANES channels; q with the scale, dq without. */
struct token {
    vf alpha, q, k, dq, dk, dg;
};

enum { GROUP = 2 }; /* vectors whose chains of products run side by side */

/* Rows of n_vec vectors of channels from j on, and what of them reads the state before the chunk: its decay begins with
 * the chunk, so that the decay of a token takes part in what all tokens from it on read. */
INLINE void begin(struct token x[GROUP][KL_CHUNK_MAX], const struct kl__kda_chunk_bwd *b, const struct kl__kda_chunk *c,
                  const float *q, ptrdiff_t ldq, const float *k, ptrdiff_t ldk, const float *alpha, float scale,
                  ptrdiff_t j, int n_vec)
{
    vf gamma[GROUP], sum[GROUP];
    for (int v = 0; v < n_vec; v++)
        gamma[v] = vset(1);
    for (int r = 0; r < c->n; r++)
        for (int v = 0; v < n_vec; v++) {
            ptrdiff_t channel = j + v * KL_LANES, at = r * c->ld + channel;
            struct token t = {.alpha = vload(alpha + at)};
            t.q = scale * vload(q + r * ldq + channel);
            t.k = vload(k + r * ldk + channel);
            gamma[v] *= t.alpha;
            t.dq = gamma[v] * vload(b->dqd + at);
            t.dk = gamma[v] * vload(b->dkd + at);
            t.dg = t.q * t.dq + t.k * t.dk;
            x[v][r] = t;
        }
    for (int v = 0; v < n_vec; v++)
        sum[v] = gamma[v] * vload(b->dgamma + j + v * KL_LANES);
    for (int r = c->n - 1; r >= 0; r--)
        for (int v = 0; v < n_vec; v++) {
            sum[v] += x[v][r].dg;
            x[v][r].dg = sum[v];
        }
}

/* A token meets w[i], i < n_w: all of them older, or the last of them itself with `own`. */
INLINE void read_row(struct token *x, vf w[KL_TILE], vf kept[KL_TILE], const float *dP, const float *dA, int n_w,
                     bool own)
{
    vf dq[2] = {x->dq, vset(0)}, dk[2] = {x->dk, vset(0)}; /* two shorter chains of sums each */
#pragma GCC unroll 8
    for (int i = 0; i < n_w; i++) {
        if (own && i == n_w - 1) {
            w[i] = x->k;
        } else {
            w[i] *= x->alpha;
            dk[i % 2] += vset(dA[i]) * w[i];
            kept[i] = w[i];
        }
        dq[i % 2] += vset(dP[i]) * w[i];
    }
    x->dq = dq[0] + dq[1];
    x->dk = dk[0] + dk[1];
}

/* The same backwards: reach[i], i < n_w, as the token after this one, whose decay `alpha` is, has left it. */
INLINE void write_row(struct token *x, vf reach[KL_TILE], vf alpha, const vf kept[KL_TILE], const float *dP,
                      const float *dA, int n_w, bool own)
{
    vf dg[2] = {x->dg, vset(0)};
#pragma GCC unroll 8
    for (int i = 0; i < n_w; i++) {
        vf h = vset(dP[i]) * x->q;
        if (own && i == n_w - 1) {
            reach[i] = alpha * reach[i] + h;
        } else {
            h += vset(dA[i]) * x->k;
            reach[i] = alpha * reach[i] + h;
            dg[i % 2] += kept[i] * reach[i];
        }
    }
    x->dg = dg[0] + dg[1];
}

/* Tokens 0 .. n_w - 1 of x write, all n of them read.  Rows of dP and dA are KL_CHUNK_MAX apart. */
INLINE void forwards(struct token *x, vf kept[][KL_TILE], int n, const float *dP, const float *dA, int n_w)
{
    vf w[KL_TILE];
#pragma GCC unroll 8
    for (int r = 0; r < n_w; r++)
        read_row(x + r, w, kept[r], dP + r * KL_CHUNK_MAX, dA + r * KL_CHUNK_MAX, r + 1, true);
    for (int r = n_w; r < n; r++)
        read_row(x + r, w, kept[r], dP + r * KL_CHUNK_MAX, dA + r * KL_CHUNK_MAX, n_w, false);
}

INLINE void backwards(struct token *x, const vf kept[][KL_TILE], int n, const float *dP, const float *dA,
                      const float *dku, ptrdiff_t ld, int n_w)
{
    vf reach[KL_TILE], alpha = vset(1);
#pragma GCC unroll 8
    for (int i = 0; i < n_w; i++)
        reach[i] = vload(dku + i * ld);
    for (int r = n - 1; r >= n_w; r--) {
        write_row(x + r, reach, alpha, kept[r], dP + r * KL_CHUNK_MAX, dA + r * KL_CHUNK_MAX, n_w, false);
        alpha = x[r].alpha;
    }
#pragma GCC unroll 8
    for (int r = n_w - 1; r >= 0; r--) {
        write_row(x + r, reach, alpha, kept[r], dP + r * KL_CHUNK_MAX, dA + r * KL_CHUNK_MAX, r + 1, true);
        alpha = x[r].alpha;
    }
#pragma GCC unroll 8
    for (int i = 0; i < n_w; i++)
        x[i].dk += reach[i];
}

/* Not inlined: merged into one function, the broadcasts of a tile would be kept for the way back, which costs more than
 * to make them again. */
static __attribute__((noinline)) void tile_forwards(struct token *x, vf kept[][KL_TILE], int n, const float *dP,
                                                    const float *dA)
{
    forwards(x, kept, n, dP, dA, KL_TILE);
}

static __attribute__((noinline)) void tile_backwards(struct token *x, const vf kept[][KL_TILE], int n, const float *dP,
                                                     const float *dA, const float *dku, ptrdiff_t ld)
{
    backwards(x, kept, n, dP, dA, dku, ld, KL_TILE);
}

static void run_vector(struct token *x, const struct kl__kda_chunk_bwd *b, const float *dku, ptrdiff_t ld, int n)
{
    vf kept[KL_CHUNK_MAX][KL_TILE];
    for (int i = 0; i < n;) {
        const float *dP = b->dP + i * KL_CHUNK_MAX + i, *dA = b->dA + i * KL_CHUNK_MAX + i;
        if (n - i >= KL_TILE) {
            tile_forwards(x + i, kept, n - i, dP, dA);
            tile_backwards(x + i, (const vf(*)[KL_TILE])kept, n - i, dP, dA, dku + i * ld, ld);
            i += KL_TILE;
        } else {
            forwards(x + i, kept, n - i, dP, dA, 1);
            backwards(x + i, (const vf(*)[KL_TILE])kept, n - i, dP, dA, dku + i * ld, ld, 1);
            i++;
        }
    }
}

INLINE void run_group(struct kl__kda_chunk_bwd *b, const struct kl__kda_chunk *c, const float *q, ptrdiff_t ldq,
                      const float *k, ptrdiff_t ldk, const float *alpha, float scale, ptrdiff_t j, int n_vec)
{
    struct token x[GROUP][KL_CHUNK_MAX];
    begin(x, b, c, q, ldq, k, ldk, alpha, scale, j, n_vec);
    for (int v = 0; v < n_vec; v++)
        run_vector(x[v], b, b->dku + j + v * KL_LANES, c->ld, c->n);
    for (int r = 0; r < c->n; r++)
        for (int v = 0; v < n_vec; v++) {
            ptrdiff_t at = r * c->ld + j + v * KL_LANES;
            vstore(b->dq + at, scale * x[v][r].dq);
            vstore(b->dk + at, x[v][r].dk);
            vstore(b->dg + at, x[v][r].dg);
        }
}

void KL_VARIANT(kda_prep_bwd)(struct kl__kda_chunk_bwd *b, const struct kl__kda_chunk *c, const float *q,
                              ptrdiff_t ldq, const float *k, ptrdiff_t ldk, const float *alpha, float scale)
{
    ptrdiff_t j = 0;
    for (; j + GROUP * KL_LANES <= c->ld; j += GROUP * KL_LANES)
        run_group(b, c, q, ldq, k, ldk, alpha, scale, j, GROUP);
    for (; j < c->ld; j += KL_LANES)
        run_group(b, c, q, ldq, k, ldk, alpha, scale, j, 1);
}
