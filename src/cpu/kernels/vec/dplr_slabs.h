/* One chunk of the general rule on the slabs of a state: the same tiles as kda_slabs.h, with two writers a token, the
 * value v and minus the reading y.
 *
 *     y    tile of tokens: bd S + Abk v + Aba (-y) over earlier tokens, the tile's own triangle in registers
 *     o    tile of tokens: qd S + Aqk v + Aqa (-y)
 *     S    tile of channels: gamma S + ku^T v + au^T (-y) */
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/vec/wide.h"

INLINE void readings(columns_t *minus_y, const columns_t *v, const float *S, const struct kl__dplr_chunk *c, int n_vec)
{
    for (int t0 = 0; t0 < c->n; t0 += KL_TILE) {
        vf acc[KL_TILE][2];
        const float *bk = c->Abk + t0 * KL_CHUNK_MAX, *ba = c->Aba + t0 * KL_CHUNK_MAX;
        clear_tile(acc, n_vec);
        add_state(acc, c->bd + t0 * c->ld, c->ld, S, c->K, c->ahead, n_vec);
        add_pairs(acc, bk, v, t0, n_vec);
        add_pairs(acc, ba, (const columns_t *)minus_y, t0, n_vec);
#pragma GCC unroll 8
        for (int r = 0; r < KL_TILE; r++) {
            for (int j = 0; j < n_vec; j++) {
                acc[r][j] = -acc[r][j];
                vstore(minus_y[t0 + r] + j * KL_LANES, acc[r][j]);
            }
#pragma GCC unroll 8
            for (int s = r + 1; s < KL_TILE; s++) {
                vf from_v = vset(bk[s * KL_CHUNK_MAX + t0 + r]), from_y = vset(ba[s * KL_CHUNK_MAX + t0 + r]);
                for (int j = 0; j < n_vec; j++)
                    acc[s][j] += from_v * vload(v[t0 + r] + j * KL_LANES) + from_y * acc[r][j];
            }
        }
    }
}

INLINE void outputs(float *o, ptrdiff_t ldo, const columns_t *v, const columns_t *minus_y, const float *S,
                    const struct kl__dplr_chunk *c, int n_vec)
{
    for (int t0 = 0; t0 < c->n; t0 += KL_TILE) {
        vf acc[KL_TILE][2];
        const float *qk = c->Aqk + t0 * KL_CHUNK_MAX, *qa = c->Aqa + t0 * KL_CHUNK_MAX;
        clear_tile(acc, n_vec);
        add_state(acc, c->qd + t0 * c->ld, c->ld, S, c->K, c->ahead, n_vec);
        add_pairs(acc, qk, v, t0, n_vec);
        add_pairs(acc, qa, minus_y, t0, n_vec);
        add_triangle(acc, qk + t0, v + t0, n_vec);
        add_triangle(acc, qa + t0, minus_y + t0, n_vec);
        store_rows(o + t0 * ldo, ldo, acc, c->n - t0, n_vec);
    }
}

/* What a call wants of a group of columns; NULL: not wanted.  The new state `to` may be the old one. */
struct wanted {
    float *to, *o, *y;
    ptrdiff_t ldo, ldy;
};

/* n_vec vectors of columns from the first of `from`, v and what is wanted on. */
INLINE void run_group(struct wanted w, const float *from, const struct kl__dplr_chunk *c, const float *v,
                      ptrdiff_t ldv, int n_vec)
{
    _Alignas(64) columns_t values[KL_CHUNK_MAX], minus_y[KL_CHUNK_MAX];
    for (int r = 0; r < (c->n + KL_TILE - 1) / KL_TILE * KL_TILE; r++)
        for (int j = 0; j < n_vec; j++)
            vstore(values[r] + j * KL_LANES, r < c->n ? vload(v + r * ldv + j * KL_LANES) : vset(0));
    const columns_t *from_v = (const columns_t *)values, *from_y = (const columns_t *)minus_y;
    readings(minus_y, from_v, from, c, n_vec);
    if (w.o)
        outputs(w.o, w.ldo, from_v, from_y, from, c, n_vec);
    for (int r = 0; w.y && r < c->n; r++)
        for (int j = 0; j < n_vec; j++)
            vstore(w.y + r * w.ldy + j * KL_LANES, -vload(minus_y[r] + j * KL_LANES));
    const struct writes written[] = {{c->ku, from_v}, {c->au, from_y}};
    if (w.to)
        update_group(w.to, from, c->K, c->gamma, written, 2, c->n, c->ld, c->ahead, n_vec);
}

INLINE struct wanted from_column(struct wanted w, ptrdiff_t at, int K)
{
    return (struct wanted){w.to ? w.to + at * K : NULL, w.o ? w.o + at : NULL, w.y ? w.y + at : NULL, w.ldo, w.ldy};
}

static void run(struct wanted w, const float *from, const struct kl__dplr_chunk *c, const float *v, ptrdiff_t ldv,
                int n_slab)
{
    ptrdiff_t n_column = (ptrdiff_t)n_slab * KL_SLAB, at = 0;
    for (; at + 2 * KL_LANES <= n_column; at += 2 * KL_LANES)
        run_group(from_column(w, at, c->K), from + at * c->K, c, v + at, ldv, 2);
    if (at < n_column) /* an odd slab, where a vector is as wide as one */
        run_group(from_column(w, at, c->K), from + at * c->K, c, v + at, ldv, 1);
}

void KL_VARIANT(dplr_slabs)(float *S, float *o, ptrdiff_t ldo, const struct kl__dplr_chunk *c, const float *v,
                            ptrdiff_t ldv, int n_slab)
{
    run((struct wanted){.to = S, .o = o, .ldo = ldo}, S, c, v, ldv, n_slab);
}

void KL_VARIANT(dplr_again)(float *to, const float *from, float *y, ptrdiff_t ldy, const struct kl__dplr_chunk *c,
                            const float *v, ptrdiff_t ldv, int n_slab)
{
    run((struct wanted){.to = to, .y = y, .ldy = ldy}, from, c, v, ldv, n_slab);
}
