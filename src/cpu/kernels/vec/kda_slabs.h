/* One chunk on the slabs of a state.  Everything is a matrix product with a small tile of accumulators in registers:
 * KL_TILE rows (tokens, or channels) by two vectors of value columns.  A row of the tile costs one broadcast for two
 * multiply-adds, which keeps the load ports below the FMA ports.
 *
 *     u    tile of tokens: v - kd S - A u(earlier tiles), then the triangle of the tile itself, in registers
 *     o    tile of tokens: qd S + P u
 *     S    tile of channels: gamma S + ku^T u
 *
 * A column sees the same operations in the same order wherever it stands, so cutting columns changes no bit; a token's
 * row never multiplies a later token's, not even by zero, so NaN travels forward only. */
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/vec/kda_solve.h"

INLINE void pseudo_values(float (*u)[2 * KL_LANES], const float *S, const struct kl__kda_chunk *c, const float *v,
                          ptrdiff_t ldv, kl_rule rule, int n_vec)
{
    for (int t0 = 0; t0 < c->n; t0 += KL_TILE) {
        vf acc[KL_TILE][2] = {0};
        if (rule == KL_RULE_DELTA) {
            add_state(acc, c->kd + t0 * c->ld, c->ld, S, c->K, c->ahead, n_vec);
            add_pairs(acc, c->A + t0 * KL_CHUNK_MAX, (const float(*)[2 * KL_LANES])u, t0, n_vec);
        }
        solve_tile(acc, c, v, ldv, t0, rule, n_vec);
#pragma GCC unroll 8
        for (int r = 0; r < KL_TILE; r++)
            for (int j = 0; j < n_vec; j++)
                vstore(u[t0 + r] + j * KL_LANES, acc[r][j]);
    }
}

INLINE void outputs(float *o, ptrdiff_t ldo, const float *S, const struct kl__kda_chunk *c,
                    const float (*u)[2 * KL_LANES], int n_vec)
{
    for (int t0 = 0; t0 < c->n; t0 += KL_TILE) {
        vf acc[KL_TILE][2] = {0};
        add_state(acc, c->qd + t0 * c->ld, c->ld, S, c->K, c->ahead, n_vec);
        add_pairs(acc, c->P + t0 * KL_CHUNK_MAX, u, t0, n_vec);
        add_triangle(acc, c->P + t0 * KL_CHUNK_MAX + t0, u + t0, n_vec);
        store_rows(o + t0 * ldo, ldo, acc, c->n - t0, n_vec);
    }
}

INLINE void update_state(float *S, const struct kl__kda_chunk *c, const float (*u)[2 * KL_LANES], int n_vec)
{
    int i = 0;
    for (; i + KL_TILE <= c->K; i += KL_TILE) {
        vf acc[KL_TILE][2];
        load_channels(acc, S, c->K, i, c->gamma, KL_TILE, n_vec);
        add_outer(acc, c->ku + i, c->ld, u, c->n, KL_TILE, n_vec);
        store_channels(S, acc, c->K, i, KL_TILE, n_vec);
    }
    for (; i < c->K; i++) {
        vf acc[KL_TILE][2];
        load_channels(acc, S, c->K, i, c->gamma, 1, n_vec);
        add_outer(acc, c->ku + i, c->ld, u, c->n, 1, n_vec);
        store_channels(S, acc, c->K, i, 1, n_vec);
    }
}

/* n_vec vectors of columns from the first of S, v, o, u_out on. */
INLINE void run_group(float *S, float *o, ptrdiff_t ldo, float *u_out, ptrdiff_t ldu, const struct kl__kda_chunk *c,
                      const float *v, ptrdiff_t ldv, kl_rule rule, int n_vec)
{
    _Alignas(64) float u[KL_CHUNK_MAX][2 * KL_LANES];
    pseudo_values(u, S, c, v, ldv, rule, n_vec);
    if (o)
        outputs(o, ldo, S, c, (const float(*)[2 * KL_LANES])u, n_vec);
    for (int r = 0; u_out && r < c->n; r++)
        for (int j = 0; j < n_vec; j++)
            vstore(u_out + r * ldu + j * KL_LANES, vload(u[r] + j * KL_LANES));
    update_state(S, c, (const float(*)[2 * KL_LANES])u, n_vec);
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
