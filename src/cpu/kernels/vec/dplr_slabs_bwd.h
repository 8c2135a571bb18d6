/* The backward of a chunk of the general rule on the slabs of a state: the same products as kda_slabs_bwd.h, with two
 * kinds of rows that write.
 *
 *     lanes are value columns   au D, then dy from the last token on;  ku D, then dv
 *                               qd d_o, bd dy   added to D
 *     lanes are tokens          D (v, -y), S (d_o, dy), v (d_o, dy), -y (d_o, dy)   sums over value columns */
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/vec/adjoint.h"
#include "cpu/kernels/vec/wide.h"

/* How the scratch is cut.  Rows of tokens lie close together in it, which they do not in the tensors. */
struct panels {
    ptrdiff_t n_column;
    float *d_o, *dy, *minus_y; /* [tokens][n_column] */
    float *written;            /* [group of 16 tokens][n_column][PANEL] v and -y, turned */
    float *read;               /* [group][n_column][PANEL] d_o and dy, turned */
    float *dgamma;             /* [ld][KL_LANES] sums not yet added up across lanes */
};

static struct panels cut_scratch(float *scratch, int n, ptrdiff_t ld, int n_slab)
{
    size_t rows = (size_t)(n + KL_BLOCK - 1) / KL_BLOCK * KL_BLOCK;
    struct panels p = {.n_column = (ptrdiff_t)n_slab * KL_SLAB};
    size_t panel = rows * (size_t)p.n_column;
    p.d_o = scratch;
    p.dy = p.d_o + panel;
    p.minus_y = p.dy + panel;
    p.written = p.minus_y + panel;
    p.read = p.written + 2 * panel;
    p.dgamma = p.read + 2 * panel;
    for (ptrdiff_t i = 0; i < ld * KL_LANES; i += KL_LANES)
        vstore(p.dgamma + i, vset(0));
    return p;
}

/* Turns n rows of two kinds, which go side by side. */
static void turn_both(float *to, const struct panels *p, const float *first, ptrdiff_t ld_first, const float *second,
                      ptrdiff_t ld_second, int n)
{
    for (int t = 0; t < n; t += KL_BLOCK) {
        float *panel = to + 2 * t * p->n_column;
        turn_rows(panel, PANEL, first + t * ld_first, ld_first, n - t, p->n_column);
        turn_rows(panel + KL_BLOCK, PANEL, second + t * ld_second, ld_second, n - t, p->n_column);
    }
}

/* ---------------------------------------------------------------------------------------------- lanes are tokens -- */

/* first_r = X a_r,  second_r = X b_r, for the two kinds of rows a and b of a panel; X is a state in slabs. */
static __attribute__((noinline)) void times_state(float *first, float *second, const float *X, const float *panel,
                                                  const struct kl__dplr_chunk *c, const struct panels *p)
{
    int n_slab = (int)(p->n_column / KL_SLAB);
    for (int t = 0; t < c->n; t += KL_BLOCK)
        for (int i = 0; i < c->ld; i += KL_BLOCK) {
            _Alignas(64) float block[KL_BLOCK][PANEL];
            int n = at_most(c->n - t, KL_BLOCK);
            kl__fetch_some(c->ahead);
            block_times_panel(block, X + (ptrdiff_t)i * KL_SLAB, KL_SLAB, (ptrdiff_t)c->K * KL_SLAB, n_slab,
                              panel + 2 * t * p->n_column, PANEL, at_most(c->K - i, KL_BLOCK), PANEL);
            store_turned(first + t * c->ld + i, c->ld, (const float(*)[PANEL])block, 0, n);
            store_turned(second + t * c->ld + i, c->ld, (const float(*)[PANEL])block, KL_BLOCK, n);
        }
}

/* with_o_ri = d_o_r . x_i,  with_y_ri = dy_r . x_i; blocks above the diagonal are left out. */
static __attribute__((noinline)) void pairs_of_tokens(float *with_o, float *with_y, const float *x, ptrdiff_t ldx,
                                                      const struct kl__dplr_chunk *c, const struct panels *p)
{
    int n_slab = (int)(p->n_column / KL_SLAB);
    for (int t = 0; t < c->n; t += KL_BLOCK)
        for (int i = 0; i <= t; i += KL_BLOCK) {
            _Alignas(64) float block[KL_BLOCK][PANEL];
            int n = at_most(c->n - t, KL_BLOCK);
            ptrdiff_t at = t * KL_CHUNK_MAX + i;
            block_times_panel(block, x + i * ldx, ldx, KL_SLAB, n_slab, p->read + 2 * t * p->n_column, PANEL,
                              at_most(c->n - i, KL_BLOCK), PANEL);
            store_turned(with_o + at, KL_CHUNK_MAX, (const float(*)[PANEL])block, 0, n);
            store_turned(with_y + at, KL_CHUNK_MAX, (const float(*)[PANEL])block, KL_BLOCK, n);
        }
}

/* --------------------------------------------------------------------------------------- lanes are value columns -- */

/* A group of columns: the tokens' rows in it, ld apart, and those of dv. */
struct group {
    ptrdiff_t ld, lddv;
    const float *d_o;
    float *dy, *dv;
};

/* One kind of rows that write: their keys, and their pairs with q and with b. */
struct writer {
    const float *keys, *with_q, *with_b;
};

/* acc[i] += what token r wants of the tokens t0 + i, i < n_row. */
INLINE void add_later_token(vf acc[KL_TILE][2], const struct writer *w, int r, int t0, const vf d_o[2], const vf dy[2],
                            int n_row, int n_vec)
{
#pragma GCC unroll 8
    for (int i = 0; i < n_row; i++) {
        vf q = vset(w->with_q[r * KL_CHUNK_MAX + t0 + i]), b = vset(w->with_b[r * KL_CHUNK_MAX + t0 + i]);
        for (int j = 0; j < n_vec; j++)
            acc[i][j] += q * d_o[j] + b * dy[j];
    }
}

INLINE void load_token(vf d_o[2], vf dy[2], const struct group *g, int r, int n_vec)
{
    for (int j = 0; j < n_vec; j++) {
        d_o[j] = vload(g->d_o + r * g->ld + j * KL_LANES);
        dy[j] = vload(g->dy + r * g->ld + j * KL_LANES);
    }
}

/* acc <- what D and the tokens after the tile want of its tokens. */
INLINE void wants_of_tile(vf acc[KL_TILE][2], const struct writer *w, const struct group *g, const float *D,
                          const struct kl__dplr_chunk *c, int t0, int n_vec)
{
    clear_tile(acc, n_vec);
    add_state(acc, w->keys + t0 * c->ld, c->ld, D, c->K, c->ahead, n_vec);
    for (int r = t0 + KL_TILE; r < c->n; r++) {
        vf x[2], y[2];
        load_token(x, y, g, r, n_vec);
        add_later_token(acc, w, r, t0, x, y, KL_TILE, n_vec);
    }
}

/* The tokens of a tile from the last one on: dy, which is minus what is wanted of y. */
INLINE void solve_dy(vf acc[KL_TILE][2], const struct writer *w, const struct group *g, int t0, int n_row, int n_vec)
{
#pragma GCC unroll 8
    for (int i = n_row - 1; i >= 0; i--) {
        int r = t0 + i;
        vf x[2], y[2], q = vset(w->with_q[r * KL_CHUNK_MAX + r]);
        for (int j = 0; j < n_vec; j++) {
            x[j] = vload(g->d_o + r * g->ld + j * KL_LANES);
            y[j] = -(acc[i][j] + q * x[j]);
            vstore(g->dy + r * g->ld + j * KL_LANES, y[j]);
        }
        add_later_token(acc, w, r, t0, x, y, i, n_vec);
    }
}

/* The same for dv, where dy is known. */
INLINE void finish_dv(vf acc[KL_TILE][2], const struct writer *w, const struct group *g, int t0, int n_row, int n_vec)
{
#pragma GCC unroll 8
    for (int i = n_row - 1; i >= 0; i--) {
        int r = t0 + i;
        vf x[2], y[2], q = vset(w->with_q[r * KL_CHUNK_MAX + r]);
        load_token(x, y, g, r, n_vec);
        for (int j = 0; j < n_vec; j++)
            vstore(g->dv + r * g->lddv + j * KL_LANES, acc[i][j] + q * x[j]);
        add_later_token(acc, w, r, t0, x, y, i, n_vec);
    }
}

INLINE void value_columns(const struct group *g, const float *D, const struct kl__dplr_chunk *c, int n_vec)
{
    const struct writer y = {c->au, c->Aqa, c->Aba}, v = {c->ku, c->Aqk, c->Abk};
    for (int t0 = (c->n - 1) / KL_TILE * KL_TILE; t0 >= 0; t0 -= KL_TILE) {
        bool whole = c->n - t0 >= KL_TILE;
        vf acc[KL_TILE][2];
        wants_of_tile(acc, &y, g, D, c, t0, n_vec);
        if (whole)
            solve_dy(acc, &y, g, t0, KL_TILE, n_vec);
        else
            solve_dy(acc, &y, g, t0, c->n - t0, n_vec);
        wants_of_tile(acc, &v, g, D, c, t0, n_vec);
        if (whole)
            finish_dv(acc, &v, g, t0, KL_TILE, n_vec);
        else
            finish_dv(acc, &v, g, t0, c->n - t0, n_vec);
    }
}

/* While the group's part of D is near: all that needs it but dku and dau, which want whole rows of values. */
INLINE void run_group(float *D, const struct group *g, float *dgamma, const float *S, const struct kl__dplr_chunk *c,
                      int n_vec)
{
    _Alignas(64) columns_t x[KL_CHUNK_MAX], y[KL_CHUNK_MAX];
    add_dgamma(dgamma, D, S, c->K, n_vec);
    value_columns(g, D, c, n_vec);
    for (int r = 0; r < c->n; r++)
        for (int j = 0; j < n_vec; j++) {
            vstore(x[r] + j * KL_LANES, vload(g->d_o + r * g->ld + j * KL_LANES));
            vstore(y[r] + j * KL_LANES, vload(g->dy + r * g->ld + j * KL_LANES));
        }
    const struct writes w[] = {{c->qd, (const columns_t *)x}, {c->bd, (const columns_t *)y}};
    update_group(D, D, c->K, c->gamma, w, 2, c->n, c->ld, c->ahead, n_vec);
}

/* ----------------------------------------------------------------------------------------------------- the whole -- */

static void copy_rows(const struct panels *p, int n, const float *y, ptrdiff_t ldy, const float *d_o, ptrdiff_t lddo)
{
    for (int r = 0; r < n; r++)
        for (ptrdiff_t j = 0; j < p->n_column; j += KL_LANES) {
            vstore(p->d_o + r * p->n_column + j, vload(d_o + r * lddo + j));
            vstore(p->minus_y + r * p->n_column + j, -vload(y + r * ldy + j));
        }
}

void KL_VARIANT(dplr_slabs_bwd)(float *D, struct kl__dplr_chunk_bwd *b, float *dv, ptrdiff_t lddv, const float *S,
                                const struct kl__dplr_chunk *c, const float *y, ptrdiff_t ldy, const float *v,
                                ptrdiff_t ldv, const float *d_o, ptrdiff_t lddo, int n_slab)
{
    struct panels p = cut_scratch(b->scratch, c->n, c->ld, n_slab);
    copy_rows(&p, c->n, y, ldy, d_o, lddo);
    turn_both(p.written, &p, v, ldv, p.minus_y, p.n_column, c->n);
    times_state(b->dku, b->dau, D, p.written, c, &p);
    for (ptrdiff_t at = 0; at < p.n_column; at += 2 * KL_LANES) {
        struct group g = {p.n_column, lddv, p.d_o + at, p.dy + at, dv + at};
        if (at + 2 * KL_LANES <= p.n_column)
            run_group(D + at * c->K, &g, p.dgamma, S + at * c->K, c, 2);
        else /* an odd slab, where a vector is as wide as one */
            run_group(D + at * c->K, &g, p.dgamma, S + at * c->K, c, 1);
    }
    turn_both(p.read, &p, p.d_o, p.n_column, p.dy, p.n_column, c->n);
    times_state(b->dqd, b->dbd, S, p.read, c, &p);
    pairs_of_tokens(b->dAqk, b->dAbk, v, ldv, c, &p);
    pairs_of_tokens(b->dAqa, b->dAba, p.minus_y, p.n_column, c, &p);
    add_up(b->dgamma, p.dgamma, c->ld);
}
