/* The backward of a chunk on the slabs of a state.  Six matrix products, each with a tile of sums in registers:
 *
 *     lanes are value columns   ku D     what the later tokens want of the values, then du from the last token on
 *                               qd d_o, kd dv   added to D
 *     lanes are tokens          D u, S d_o, S du, u (d_o, du)   sums over value columns: here an element of a state (or
 *                               of u) is what is broadcast, and rows of u, d_o, du are turned into columns before
 *
 * The results of the latter are turned back block by block. */
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/vec/pairs.h"
#include "cpu/kernels/vec/tile.h"
#include "cpu/kernels/vec/turn.h"

enum { PANEL = 2 * KL_BLOCK }; /* tokens of d_o and as many of du, side by side */

/* How the scratch is cut.  Rows of tokens lie close together in it, which they do not in the tensors. */
struct panels {
    ptrdiff_t n_column;
    float *d_o, *u, *du, *dv; /* [tokens][n_column] */
    float *u_turned;          /* [group of 16 tokens][n_column][16] */
    float *dod_turned;        /* [group][n_column][PANEL] */
    float *dgamma;            /* [ld][KL_LANES] sums not yet added up across lanes */
};

static struct panels cut_scratch(float *scratch, int n, int n_slab)
{
    size_t rows = (size_t)(n + KL_BLOCK - 1) / KL_BLOCK * KL_BLOCK;
    struct panels p = {.n_column = (ptrdiff_t)n_slab * KL_SLAB};
    size_t panel = rows * (size_t)p.n_column;
    p.d_o = scratch;
    p.u = p.d_o + panel;
    p.du = p.u + panel;
    p.dv = p.du + panel;
    p.u_turned = p.dv + panel;
    p.dod_turned = p.u_turned + panel;
    p.dgamma = p.dod_turned + 2 * panel;
    return p;
}

/* ----------------------------------------------------------------------------------------- lanes are tokens -- */

/* to[r] = sum over columns c of a[r][c] panel[c], for `rows` rows of a: their elements lie in runs of 16, `slab`
 * apart. */
INLINE void times_panel(float *to, ptrdiff_t ldto, const float *a, ptrdiff_t row, ptrdiff_t slab, int n_slab,
                        const float *panel, ptrdiff_t ldp, int rows, int n_vec)
{
    vf acc[16][2];
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < n_vec; j++)
            acc[r][j] = vset(0);
    for (int s = 0; s < n_slab; s++, a += slab, panel += KL_SLAB * ldp)
#pragma GCC unroll 1
        for (int c = 0; c < KL_SLAB; c++) {
            vf x0 = vload(panel + c * ldp), x1 = vload(panel + c * ldp + (n_vec - 1) * KL_LANES);
            for (int r = 0; r < rows; r++) {
                vf f = vset(a[r * row + c]);
                acc[r][0] += f * x0;
                if (n_vec == 2)
                    acc[r][1] += f * x1;
            }
        }
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < n_vec; j++)
            vstore(to + r * ldto + j * KL_LANES, acc[r][j]);
}

/* The same for 16 rows, of which n exist; the others give zeros.  `width` columns of the panel: 16 or PANEL. */
INLINE void block_times_panel(float block[KL_BLOCK][PANEL], const float *a, ptrdiff_t row, ptrdiff_t slab, int n_slab,
                              const float *panel, ptrdiff_t ldp, int n, int width)
{
    enum { N_VEC = 2 };
    const int n_vec = width < N_VEC * KL_LANES ? 1 : N_VEC, rows = n_vec == 1 ? 2 * KL_TILE : KL_TILE;
    for (int at = 0; at < width; at += n_vec * KL_LANES) {
        int r = 0;
        for (; r + rows <= n; r += rows)
            times_panel(block[r] + at, PANEL, a + r * row, row, slab, n_slab, panel + at, ldp, rows, n_vec);
        for (; r < n; r++)
            times_panel(block[r] + at, PANEL, a + r * row, row, slab, n_slab, panel + at, ldp, 1, n_vec);
    }
    for (int r = n; r < KL_BLOCK; r++)
        for (int j = 0; j < width; j += KL_LANES)
            vstore(block[r] + j, vset(0));
}

static int at_most(int n, int most)
{
    return n < most ? n : most;
}

/* Rows r < n of to [n][ld] from column `j` on <- columns `at` ... of a block. */
INLINE void store_turned(float *to, ptrdiff_t ld, const float block[KL_BLOCK][PANEL], int at, int n)
{
    _Alignas(64) float rows[KL_BLOCK][KL_BLOCK];
    turn_block(rows[0], KL_BLOCK, block[0] + at, PANEL, KL_BLOCK);
    for (int r = 0; r < n; r++)
        for (int j = 0; j < KL_BLOCK; j += KL_LANES)
            vstore(to + r * ld + j, vload(rows[r] + j));
}

/* dku_i = D u_i. */
static void writes_from_adjoint(float *dku, const float *D, const struct kl__kda_chunk *c, const struct panels *p)
{
    int n_slab = (int)(p->n_column / KL_SLAB);
    for (int t = 0; t < c->n; t += KL_BLOCK)
        for (int i = 0; i < c->ld; i += KL_BLOCK) {
            _Alignas(64) float block[KL_BLOCK][PANEL];
            kl__fetch_some(c->ahead);
            block_times_panel(block, D + (ptrdiff_t)i * KL_SLAB, KL_SLAB, (ptrdiff_t)c->K * KL_SLAB, n_slab,
                              p->u_turned + t * p->n_column, KL_BLOCK, at_most(c->K - i, KL_BLOCK), KL_BLOCK);
            store_turned(dku + t * c->ld + i, c->ld, (const float(*)[PANEL])block, 0, at_most(c->n - t, KL_BLOCK));
        }
}

/* dqd_r = S d_o_r,  dkd_r = S du_r (its factor comes later). */
static void reads_from_state(struct kl__kda_chunk_bwd *b, const float *S, const struct kl__kda_chunk *c,
                             const struct panels *p)
{
    int n_slab = (int)(p->n_column / KL_SLAB);
    for (int t = 0; t < c->n; t += KL_BLOCK)
        for (int i = 0; i < c->ld; i += KL_BLOCK) {
            _Alignas(64) float block[KL_BLOCK][PANEL];
            int n = at_most(c->n - t, KL_BLOCK);
            kl__fetch_some(c->ahead);
            block_times_panel(block, S + (ptrdiff_t)i * KL_SLAB, KL_SLAB, (ptrdiff_t)c->K * KL_SLAB, n_slab,
                              p->dod_turned + 2 * t * p->n_column, PANEL, at_most(c->K - i, KL_BLOCK), PANEL);
            store_turned(b->dqd + t * c->ld + i, c->ld, (const float(*)[PANEL])block, 0, n);
            store_turned(b->dkd + t * c->ld + i, c->ld, (const float(*)[PANEL])block, KL_BLOCK, n);
        }
}

/* dP_ri = d_o_r . u_i, dA_ri = du_r . u_i (its factor comes later); blocks above the diagonal are left out. */
static void pairs_of_tokens(struct kl__kda_chunk_bwd *b, const struct kl__kda_chunk *c, const struct panels *p)
{
    int n_slab = (int)(p->n_column / KL_SLAB);
    for (int t = 0; t < c->n; t += KL_BLOCK)
        for (int i = 0; i <= t; i += KL_BLOCK) {
            _Alignas(64) float block[KL_BLOCK][PANEL];
            int n = at_most(c->n - t, KL_BLOCK);
            block_times_panel(block, p->u + i * p->n_column, p->n_column, KL_SLAB, n_slab,
                              p->dod_turned + 2 * t * p->n_column, PANEL, at_most(c->n - i, KL_BLOCK), PANEL);
            store_turned(b->dP + t * KL_CHUNK_MAX + i, KL_CHUNK_MAX, (const float(*)[PANEL])block, 0, n);
            store_turned(b->dA + t * KL_CHUNK_MAX + i, KL_CHUNK_MAX, (const float(*)[PANEL])block, KL_BLOCK, n);
        }
}

/* ---------------------------------------------------------------------------------- lanes are value columns -- */

/* acc[i] += P_ri d_o_r - A_ri dv_r: what token r wants of the tokens t0 + i, i < n_row. */
INLINE void add_later_token(vf acc[KL_TILE][2], const struct kl__kda_chunk *c, int r, int t0, const vf d_o[2],
                            const vf dv[2], int n_row, kl_rule rule, int n_vec)
{
#pragma GCC unroll 8
    for (int i = 0; i < n_row; i++) {
        vf p = vset(c->P[r * KL_CHUNK_MAX + t0 + i]), a = vset(0);
        if (rule == KL_RULE_DELTA)
            a = vset(c->A[r * KL_CHUNK_MAX + t0 + i]);
        for (int j = 0; j < n_vec; j++) {
            acc[i][j] += p * d_o[j];
            if (rule == KL_RULE_DELTA)
                acc[i][j] -= a * dv[j];
        }
    }
}

/* As add_state, D being what it multiplies; on the way, dgamma_i += D_i . S_i, lane by lane. */
INLINE void add_adjoint(vf acc[KL_TILE][2], const struct kl__kda_chunk *c, const float *D, const float *S,
                        float *dgamma, int n_vec)
{
    ptrdiff_t second = column_offset(c->K, n_vec - 1);
    for (int i = 0; i < c->K; i++) {
        ptrdiff_t at = (ptrdiff_t)i * KL_SLAB;
        vf x0 = vload(D + at), x1 = vload(D + at + second), sum = vload(dgamma + i * KL_LANES);
        if (i % FETCH_EVERY == 0)
            kl__fetch_some(c->ahead);
        sum += x0 * vload(S + at);
        if (n_vec == 2)
            sum += x1 * vload(S + at + second);
        vstore(dgamma + i * KL_LANES, sum);
#pragma GCC unroll 8
        for (int r = 0; r < KL_TILE; r++) {
            vf f = vset(c->ku[r * c->ld + i]);
            acc[r][0] += f * x0;
            if (n_vec == 2)
                acc[r][1] += f * x1;
        }
    }
}

/* Tokens t0 + n_row - 1 down to t0 of a tile: acc is what the tokens after the tile and D want of them. */
INLINE void finish_tile(vf acc[KL_TILE][2], float *dv_out, ptrdiff_t lddv, const struct panels *p, ptrdiff_t at,
                        const struct kl__kda_chunk *c, int t0, int n_row, kl_rule rule, int n_vec)
{
    ptrdiff_t ld = p->n_column;
#pragma GCC unroll 8
    for (int i = n_row - 1; i >= 0; i--) {
        int r = t0 + i;
        vf x[2], y[2];
        for (int j = 0; j < n_vec; j++) {
            x[j] = vload(p->d_o + r * ld + at + j * KL_LANES);
            acc[i][j] += vset(c->P[r * KL_CHUNK_MAX + r]) * x[j];
            y[j] = c->beta[r] * acc[i][j];
            vstore(p->du + r * ld + at + j * KL_LANES, acc[i][j]);
            vstore(p->dv + r * ld + at + j * KL_LANES, y[j]);
            vstore(dv_out + r * lddv + at + j * KL_LANES, y[j]);
        }
        add_later_token(acc, c, r, t0, x, y, i, rule, n_vec);
    }
}

/* du and dv of the group of columns from `at` on, and its part of dgamma. */
INLINE void value_columns(float *dv_out, ptrdiff_t lddv, const struct panels *p, ptrdiff_t at, const float *D,
                          const float *S, const struct kl__kda_chunk *c, kl_rule rule, int n_vec)
{
    D += at * c->K;
    S += at * c->K;
    for (int t0 = (c->n - 1) / KL_TILE * KL_TILE; t0 >= 0; t0 -= KL_TILE) {
        vf acc[KL_TILE][2] = {0};
        if (t0 == 0)
            add_adjoint(acc, c, D, S, p->dgamma, n_vec);
        else
            add_state(acc, c->ku + t0 * c->ld, c->ld, D, c->K, c->ahead, n_vec);
        for (int r = t0 + KL_TILE; r < c->n; r++) {
            vf x[2], y[2];
            for (int j = 0; j < n_vec; j++) {
                x[j] = vload(p->d_o + r * p->n_column + at + j * KL_LANES);
                y[j] = vload(p->dv + r * p->n_column + at + j * KL_LANES);
            }
            add_later_token(acc, c, r, t0, x, y, KL_TILE, rule, n_vec);
        }
        if (c->n - t0 >= KL_TILE)
            finish_tile(acc, dv_out, lddv, p, at, c, t0, KL_TILE, rule, n_vec);
        else
            finish_tile(acc, dv_out, lddv, p, at, c, t0, c->n - t0, rule, n_vec);
    }
}

/* acc[i] -= sum_r a[r][i] x_r: add_outer with the other sign. */
INLINE void subtract_outer(vf acc[KL_TILE][2], const float *a, ptrdiff_t lda, const float (*x)[2 * KL_LANES], int n,
                           int rows, int n_vec)
{
    for (int r = 0; r < n; r++) {
        vf x0 = vload(x[r]), x1 = vload(x[r] + (n_vec - 1) * KL_LANES);
        for (int i = 0; i < rows; i++) {
            vf f = vset(a[r * lda + i]);
            acc[i][0] -= f * x0;
            if (n_vec == 2)
                acc[i][1] -= f * x1;
        }
    }
}

/* `rows` channels from i on of one group of columns. */
INLINE void update_channels(float *D, const struct kl__kda_chunk *c, int i, const float (*d_o)[2 * KL_LANES],
                            const float (*dv)[2 * KL_LANES], kl_rule rule, int rows, int n_vec)
{
    vf acc[KL_TILE][2];
    load_channels(acc, D, c->K, i, c->gamma, rows, n_vec);
    add_outer(acc, c->qd + i, c->ld, d_o, c->n, rows, n_vec);
    if (rule == KL_RULE_DELTA)
        subtract_outer(acc, c->kd + i, c->ld, dv, c->n, rows, n_vec);
    store_channels(D, acc, c->K, i, rows, n_vec);
}

/* The group of columns from `at` on. */
INLINE void update_columns(float *D, const struct kl__kda_chunk *c, const struct panels *p, ptrdiff_t at, kl_rule rule,
                           int n_vec)
{
    _Alignas(64) float x[KL_CHUNK_MAX][2 * KL_LANES], y[KL_CHUNK_MAX][2 * KL_LANES];
    for (int r = 0; r < c->n; r++)
        for (int j = 0; j < n_vec; j++) {
            vstore(x[r] + j * KL_LANES, vload(p->d_o + r * p->n_column + at + j * KL_LANES));
            vstore(y[r] + j * KL_LANES, vload(p->dv + r * p->n_column + at + j * KL_LANES));
        }
    D += at * c->K;
    int i = 0;
    for (; i + KL_TILE <= c->K; i += KL_TILE) {
        if (i % FETCH_EVERY == 0)
            kl__fetch_some(c->ahead);
        update_channels(D, c, i, (const float(*)[2 * KL_LANES]) x, (const float(*)[2 * KL_LANES]) y, rule, KL_TILE,
                        n_vec);
    }
    for (; i < c->K; i++)
        update_channels(D, c, i, (const float(*)[2 * KL_LANES]) x, (const float(*)[2 * KL_LANES]) y, rule, 1, n_vec);
}

/* ---------------------------------------------------------------------------------------------- the whole -- */

/* to[i] = sum of the lanes of vector i. */
static void add_up(float *to, const float *from)
{
    vf x[KL_LANES];
    for (int i = 0; i < KL_LANES; i++)
        x[i] = vload(from + i * KL_LANES);
    vstore(to, sum_each(x));
}

/* dbeta_r; then dkd and dA get their factor -beta_r. */
INLINE void finish_row(struct kl__kda_chunk_bwd *b, const struct kl__kda_chunk *c, int r, const float *du,
                       const float *e, ptrdiff_t n_column, kl_rule rule)
{
    vf sum = {0};
    float *dkd = b->dkd + r * c->ld, *dA = b->dA + r * KL_CHUNK_MAX, factor = -c->beta[r];
    for (ptrdiff_t j = 0; j < n_column; j += KL_LANES)
        sum += vload(du + j) * vload(e + j);
    b->dbeta[r] = vsum(sum);
    for (ptrdiff_t j = 0; j < c->ld; j += KL_LANES)
        vstore(dkd + j, rule == KL_RULE_DELTA ? factor * vload(dkd + j) : vset(0));
    for (int i = 0; i < r; i++)
        dA[i] = rule == KL_RULE_DELTA ? factor * dA[i] : 0;
}

INLINE void run(float *D, struct kl__kda_chunk_bwd *b, float *dv, ptrdiff_t lddv, const float *S,
                const struct kl__kda_chunk *c, const float *e, ptrdiff_t lde, const float *d_o, ptrdiff_t lddo,
                int n_slab, kl_rule rule)
{
    struct panels p = cut_scratch(b->scratch, c->n, n_slab);
    for (int r = 0; r < c->n; r++)
        for (ptrdiff_t j = 0; j < p.n_column; j += KL_LANES) {
            vstore(p.d_o + r * p.n_column + j, vload(d_o + r * lddo + j));
            vstore(p.u + r * p.n_column + j, c->beta[r] * vload(e + r * lde + j));
        }
    for (int t = 0; t < c->n; t += KL_BLOCK) {
        ptrdiff_t at = t * p.n_column;
        turn_rows(p.u_turned + at, KL_BLOCK, p.u + at, p.n_column, c->n - t, p.n_column);
        turn_rows(p.dod_turned + 2 * at, PANEL, p.d_o + at, p.n_column, c->n - t, p.n_column);
    }
    writes_from_adjoint(b->dku, D, c, &p);
    for (ptrdiff_t i = 0; i < c->ld * KL_LANES; i += KL_LANES)
        vstore(p.dgamma + i, vset(0));
    ptrdiff_t at = 0;
    for (; at + 2 * KL_LANES <= p.n_column; at += 2 * KL_LANES)
        value_columns(dv, lddv, &p, at, D, S, c, rule, 2);
    if (at < p.n_column)
        value_columns(dv, lddv, &p, at, D, S, c, rule, 1);
    for (ptrdiff_t i = 0; i < c->ld; i += KL_LANES)
        add_up(b->dgamma + i, p.dgamma + i * KL_LANES);
    for (int t = 0; t < c->n; t += KL_BLOCK)
        turn_rows(p.dod_turned + 2 * t * p.n_column + KL_BLOCK, PANEL, p.du + t * p.n_column, p.n_column, c->n - t,
                  p.n_column);
    reads_from_state(b, S, c, &p);
    pairs_of_tokens(b, c, &p);
    for (at = 0; at + 2 * KL_LANES <= p.n_column; at += 2 * KL_LANES)
        update_columns(D, c, &p, at, rule, 2);
    if (at < p.n_column)
        update_columns(D, c, &p, at, rule, 1);
    for (int r = 0; r < c->n; r++)
        finish_row(b, c, r, p.du + r * p.n_column, e + r * lde, p.n_column, rule);
}

void KL_VARIANT(kda_slabs_bwd)(float *D, struct kl__kda_chunk_bwd *b, float *dv, ptrdiff_t lddv, const float *S,
                               const struct kl__kda_chunk *c, const float *e, ptrdiff_t lde, const float *d_o,
                               ptrdiff_t lddo, int n_slab, kl_rule rule)
{
    if (rule == KL_RULE_DELTA)
        run(D, b, dv, lddv, S, c, e, lde, d_o, lddo, n_slab, KL_RULE_DELTA);
    else
        run(D, b, dv, lddv, S, c, e, lde, d_o, lddo, n_slab, KL_RULE_ADD);
}
