/* One chunk on the slabs of a state.  Everything is a matrix product with a small tile of accumulators in registers:
 * KL_TILE rows (tokens) by two vectors of value columns, or WIDE channels by the vectors of one slab.
 *
 *     u    tile of tokens: v - kd S - A u(earlier tiles), then the triangle of the tile itself, in registers
 *     o    tile of tokens: qd S + P u
 *     S    tile of channels: gamma S + ku^T u
 *
 * A column sees the same operations in the same order wherever it stands, so cutting columns changes no bit; a token's
 * row never multiplies a later token's, not even by zero, so NaN travels forward only. */
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/vec/kda_solve.h"

enum {
    VECS = KL_SLAB / KL_LANES,            /* vectors of a slab */
    WIDE = KL_LANES == 16 ? 16 : KL_TILE, /* channels of a tile over them */
};

typedef float columns_t[2 * KL_LANES]; /* one token's values in a group of columns */

INLINE void pseudo_values(columns_t *u, const float *S, const struct kl__kda_chunk *c, const float *v, ptrdiff_t ldv,
                          kl_rule rule, int n_vec)
{
    for (int t0 = 0; t0 < c->n; t0 += KL_TILE) {
        vf acc[KL_TILE][2];
        clear_tile(acc, n_vec);
        if (rule == KL_RULE_DELTA) {
            add_state(acc, c->kd + t0 * c->ld, c->ld, S, c->K, c->ahead, n_vec);
            add_pairs(acc, c->A + t0 * KL_CHUNK_MAX, (const columns_t *)u, t0, n_vec);
        }
        solve_tile(acc, c, v, ldv, t0, rule, n_vec);
        store_rows(u[t0], 2 * KL_LANES, acc, KL_TILE, n_vec);
    }
}

INLINE void outputs(float *o, ptrdiff_t ldo, const float *S, const struct kl__kda_chunk *c, const columns_t *u,
                    int n_vec)
{
    for (int t0 = 0; t0 < c->n; t0 += KL_TILE) {
        vf acc[KL_TILE][2];
        clear_tile(acc, n_vec);
        add_state(acc, c->qd + t0 * c->ld, c->ld, S, c->K, c->ahead, n_vec);
        add_pairs(acc, c->P + t0 * KL_CHUNK_MAX, u, t0, n_vec);
        add_triangle(acc, c->P + t0 * KL_CHUNK_MAX + t0, u + t0, n_vec);
        store_rows(o + t0 * ldo, ldo, acc, c->n - t0, n_vec);
    }
}

/* S[i] <- gamma[i] S[i] + sum_t ku[t][i] u[t] for `rows` channels of a slab from i on. */
INLINE void update_channels(float *S, const struct kl__kda_chunk *c, const columns_t *u, int i, int rows)
{
    vf acc[WIDE][VECS];
    const float *ku = c->ku + i;
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < VECS; j++)
            acc[r][j] = vset(c->gamma[i + r]) * vload(S + (i + r) * KL_SLAB + j * KL_LANES);
#pragma GCC unroll 2
    for (int t = 0; t < c->n; t++)
#pragma GCC unroll 16
        for (int r = 0; r < rows; r++) {
            vf f = vset(ku[t * c->ld + r]);
#pragma GCC unroll 2
            for (int j = 0; j < VECS; j++)
                acc[r][j] += f * vload(u[t] + j * KL_LANES);
        }
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < VECS; j++)
            vstore(S + (i + r) * KL_SLAB + j * KL_LANES, acc[r][j]);
}

INLINE void update_state(float *S, const struct kl__kda_chunk *c, const columns_t *u, int n_vec)
{
    for (int j = 0; j < n_vec; j += VECS) {
        float *slab = S + column_offset(c->K, j);
        const columns_t *own = (const columns_t *)(u[0] + j * KL_LANES);
        int i = 0;
        for (; i + WIDE <= c->K; i += WIDE)
            update_channels(slab, c, own, i, WIDE);
        for (; i < c->K; i++)
            update_channels(slab, c, own, i, 1);
    }
}

/* n_vec vectors of columns from the first of S, v, o, u_out on. */
INLINE void run_group(float *S, float *o, ptrdiff_t ldo, float *u_out, ptrdiff_t ldu, const struct kl__kda_chunk *c,
                      const float *v, ptrdiff_t ldv, kl_rule rule, int n_vec)
{
    _Alignas(64) columns_t u[KL_CHUNK_MAX];
    pseudo_values(u, S, c, v, ldv, rule, n_vec);
    if (o)
        outputs(o, ldo, S, c, (const columns_t *)u, n_vec);
    for (int r = 0; u_out && r < c->n; r++)
        for (int j = 0; j < n_vec; j++)
            vstore(u_out + r * ldu + j * KL_LANES, vload(u[r] + j * KL_LANES));
    update_state(S, c, (const columns_t *)u, n_vec);
}

void KL_VARIANT(kda_slabs)(float *S, float *o, ptrdiff_t ldo, float *u, ptrdiff_t ldu, const struct kl__kda_chunk *c,
                           const float *v, ptrdiff_t ldv, int n_slab, kl_rule rule)
{
    int n_column = n_slab * KL_SLAB, at = 0;
    for (; at + 2 * KL_LANES <= n_column; at += 2 * KL_LANES) {
        float *s = S + (ptrdiff_t)(at / KL_SLAB) * c->K * KL_SLAB;
        if (rule == KL_RULE_DELTA)
            run_group(s, o ? o + at : NULL, ldo, u ? u + at : NULL, ldu, c, v + at, ldv, KL_RULE_DELTA, 2);
        else
            run_group(s, o ? o + at : NULL, ldo, u ? u + at : NULL, ldu, c, v + at, ldv, KL_RULE_ADD, 2);
    }
    if (at < n_column) { /* an odd slab, where a vector is as wide as one */
        float *s = S + (ptrdiff_t)(at / KL_SLAB) * c->K * KL_SLAB;
        run_group(s, o ? o + at : NULL, ldo, u ? u + at : NULL, ldu, c, v + at, ldv, rule, 1);
    }
}
