/* One chunk on the slabs of a state, forwards.  Everything is a matrix product with a small tile of accumulators in
 * registers: KL_TILE rows (tokens) by two vectors of value columns, or WIDE channels by the vectors of one slab.
 *
 *     u    tile of tokens: v - kd S - A u(earlier tiles), then the triangle of the tile itself, in registers
 *     o    tile of tokens: qd S + P u
 *     S    tile of channels: gamma S + ku^T u
 *
 * A column sees the same operations in the same order wherever it stands, so cutting columns changes no bit; a token's
 * row never multiplies a later token's, not even by zero, so NaN travels forward only. */
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/vec/kda_solve.h"
#include "cpu/kernels/vec/wide.h"

/* What a call wants; NULL: not wanted.  The new state `to` may be the old one. */
struct wanted {
    float *to, *o, *e;
    ptrdiff_t ldo, lde;
};

INLINE void pseudo_values(columns_t *u, const struct wanted *w, const float *S, const struct kl__kda_chunk *c,
                          const float *v, ptrdiff_t ldv, kl_rule rule, int n_vec)
{
    for (int t0 = 0; t0 < c->n; t0 += KL_TILE) {
        vf acc[KL_TILE][2];
        clear_tile(acc, n_vec);
        if (rule == KL_RULE_DELTA) {
            add_state(acc, c->kd + t0 * c->ld, c->ld, S, c->K, c->ahead, n_vec);
            add_pairs(acc, c->A + t0 * KL_CHUNK_MAX, (const columns_t *)u, t0, n_vec);
        }
        solve_tile(acc, w->e, w->lde, c, v, ldv, t0, rule, n_vec);
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

INLINE void write_tokens(float *to, const float *S, const struct kl__kda_chunk *c, const columns_t *u, int n_vec)
{
    const struct writes w = {c->ku, u};
    update_group(to, S, c->K, c->gamma, &w, 1, c->n, c->ld, c->ahead, n_vec);
}

/* n_vec vectors of columns from the first of S, v and what is wanted on. */
INLINE void run_group(const struct wanted *w, const float *S, const struct kl__kda_chunk *c, const float *v,
                      ptrdiff_t ldv, kl_rule rule, int n_vec)
{
    _Alignas(64) columns_t u[KL_CHUNK_MAX];
    pseudo_values(u, w, S, c, v, ldv, rule, n_vec);
    if (w->o)
        outputs(w->o, w->ldo, S, c, (const columns_t *)u, n_vec);
    if (w->to)
        write_tokens(w->to, S, c, (const columns_t *)u, n_vec);
}

INLINE struct wanted from_column(struct wanted w, ptrdiff_t at, int K)
{
    return (struct wanted){w.to ? w.to + at * K : NULL, w.o ? w.o + at : NULL, w.e ? w.e + at : NULL, w.ldo, w.lde};
}

static void run(struct wanted all, const float *S, const struct kl__kda_chunk *c, const float *v, ptrdiff_t ldv,
                int n_slab, kl_rule rule)
{
    ptrdiff_t n_column = (ptrdiff_t)n_slab * KL_SLAB, at = 0;
    for (; at + 2 * KL_LANES <= n_column; at += 2 * KL_LANES) {
        struct wanted w = from_column(all, at, c->K);
        if (rule == KL_RULE_DELTA)
            run_group(&w, S + at * c->K, c, v + at, ldv, KL_RULE_DELTA, 2);
        else
            run_group(&w, S + at * c->K, c, v + at, ldv, KL_RULE_ADD, 2);
    }
    if (at < n_column) { /* an odd slab, where a vector is as wide as one */
        struct wanted w = from_column(all, at, c->K);
        run_group(&w, S + at * c->K, c, v + at, ldv, rule, 1);
    }
}

void KL_VARIANT(kda_slabs)(float *S, float *o, ptrdiff_t ldo, float *e, ptrdiff_t lde, const struct kl__kda_chunk *c,
                           const float *v, ptrdiff_t ldv, int n_slab, kl_rule rule)
{
    run((struct wanted){S, o, e, ldo, lde}, S, c, v, ldv, n_slab, rule);
}

void KL_VARIANT(kda_again)(float *to, const float *S, float *e, ptrdiff_t lde, const struct kl__kda_chunk *c,
                           const float *v, ptrdiff_t ldv, int n_slab)
{
    run((struct wanted){.to = to, .e = e, .lde = lde}, S, c, v, ldv, n_slab, KL_RULE_DELTA);
}

INLINE void write_group(float *to, const float *S, const struct kl__kda_chunk *c, const float *e, ptrdiff_t lde,
                        int n_vec)
{
    _Alignas(64) columns_t u[KL_CHUNK_MAX];
    for (int r = 0; r < c->n; r++)
        for (int j = 0; j < n_vec; j++)
            vstore(u[r] + j * KL_LANES, c->beta[r] * vload(e + r * lde + j * KL_LANES));
    write_tokens(to, S, c, (const columns_t *)u, n_vec);
}

void KL_VARIANT(kda_write)(float *to, const float *S, const struct kl__kda_chunk *c, const float *e, ptrdiff_t lde,
                           int n_slab)
{
    ptrdiff_t n_column = (ptrdiff_t)n_slab * KL_SLAB, at = 0;
    for (; at + 2 * KL_LANES <= n_column; at += 2 * KL_LANES)
        write_group(to + at * c->K, S + at * c->K, c, e + at, lde, 2);
    if (at < n_column)
        write_group(to + at * c->K, S + at * c->K, c, e + at, lde, 1);
}
