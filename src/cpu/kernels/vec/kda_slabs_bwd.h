/* The backward of a chunk on the slabs of a state.  Six matrix products, each with a tile of sums in registers:
 *
 *     lanes are value columns   ku D     what the later tokens want of the values, then du from the last token on
 *                               qd d_o, kd (-dv)   added to D
 *     lanes are tokens          D u, S d_o, S (-dv), u (d_o, -dv)   sums over value columns: here an element of a state
 *                               (or of u) is what is broadcast, and rows of u, d_o, -dv are turned into columns before
 *
 * The results of the latter are turned back block by block.  dv is kept with the sign and the factor beta that all its
 * uses have. */
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/vec/adjoint.h"
#include "cpu/kernels/vec/wide.h"

/* How the scratch is cut.  Rows of tokens lie close together in it, which they do not in the tensors. */
struct panels {
    ptrdiff_t n_column;
    float *d_o, *u, *minus_dv; /* [tokens][n_column] */
    float *u_turned;           /* [group of 16 tokens][n_column][16] */
    float *dod_turned;         /* [group][n_column][PANEL] */
    float *dgamma, *dbeta;     /* [ld][KL_LANES], [tokens][KL_LANES] sums not yet added up across lanes */
};

static struct panels cut_scratch(float *scratch, int n, ptrdiff_t ld, int n_slab)
{
    size_t rows = (size_t)(n + KL_BLOCK - 1) / KL_BLOCK * KL_BLOCK;
    struct panels p = {.n_column = (ptrdiff_t)n_slab * KL_SLAB};
    size_t panel = rows * (size_t)p.n_column;
    p.d_o = scratch;
    p.u = p.d_o + panel;
    p.minus_dv = p.u + panel;
    p.u_turned = p.minus_dv + panel;
    p.dod_turned = p.u_turned + panel;
    p.dgamma = p.dod_turned + 2 * panel;
    p.dbeta = p.dgamma + ld * KL_LANES;
    for (ptrdiff_t i = 0; i < (ld + (ptrdiff_t)rows) * KL_LANES; i += KL_LANES)
        vstore(p.dgamma + i, vset(0));
    return p;
}

/* ---------------------------------------------------------------------------------------------- lanes are tokens -- */

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

/* Columns of dod_turned that a rule needs: the ADD rule reads nothing before it writes. */
INLINE int panel_width(kl_rule rule)
{
    return rule == KL_RULE_DELTA ? PANEL : KL_BLOCK;
}

/* Rows r < n of a block that is 0. */
INLINE void clear_rows(float *to, ptrdiff_t ld, int n)
{
    for (int r = 0; r < n; r++)
        for (int j = 0; j < KL_BLOCK; j += KL_LANES)
            vstore(to + r * ld + j, vset(0));
}

/* dqd_r = S d_o_r,  dkd_r = -S dv_r. */
static __attribute__((noinline)) void
reads_from_state(struct kl__kda_chunk_bwd *b, const float *S, const struct kl__kda_chunk *c,
                 const struct panels *p, kl_rule rule)
{
    int n_slab = (int)(p->n_column / KL_SLAB);
    for (int t = 0; t < c->n; t += KL_BLOCK)
        for (int i = 0; i < c->ld; i += KL_BLOCK) {
            _Alignas(64) float block[KL_BLOCK][PANEL];
            int n = at_most(c->n - t, KL_BLOCK);
            float *dkd = b->dkd + t * c->ld + i;
            kl__fetch_some(c->ahead);
            block_times_panel(block, S + (ptrdiff_t)i * KL_SLAB, KL_SLAB, (ptrdiff_t)c->K * KL_SLAB, n_slab,
                              p->dod_turned + 2 * t * p->n_column, PANEL, at_most(c->K - i, KL_BLOCK),
                              panel_width(rule));
            store_turned(b->dqd + t * c->ld + i, c->ld, (const float(*)[PANEL])block, 0, n);
            if (rule == KL_RULE_DELTA)
                store_turned(dkd, c->ld, (const float(*)[PANEL])block, KL_BLOCK, n);
            else
                clear_rows(dkd, c->ld, n);
        }
}

/* dP_ri = d_o_r . u_i, dA_ri = -dv_r . u_i; blocks above the diagonal are left out. */
static __attribute__((noinline)) void
pairs_of_tokens(struct kl__kda_chunk_bwd *b, const struct kl__kda_chunk *c, const struct panels *p,
                kl_rule rule)
{
    int n_slab = (int)(p->n_column / KL_SLAB);
    for (int t = 0; t < c->n; t += KL_BLOCK)
        for (int i = 0; i <= t; i += KL_BLOCK) {
            _Alignas(64) float block[KL_BLOCK][PANEL];
            int n = at_most(c->n - t, KL_BLOCK);
            float *dA = b->dA + t * KL_CHUNK_MAX + i;
            block_times_panel(block, p->u + i * p->n_column, p->n_column, KL_SLAB, n_slab,
                              p->dod_turned + 2 * t * p->n_column, PANEL, at_most(c->n - i, KL_BLOCK),
                              panel_width(rule));
            store_turned(b->dP + t * KL_CHUNK_MAX + i, KL_CHUNK_MAX, (const float(*)[PANEL])block, 0, n);
            if (rule == KL_RULE_DELTA)
                store_turned(dA, KL_CHUNK_MAX, (const float(*)[PANEL])block, KL_BLOCK, n);
            else
                clear_rows(dA, KL_CHUNK_MAX, n);
        }
}

/* --------------------------------------------------------------------------------------- lanes are value columns -- */

/* acc[i] += P_ri d_o_r - A_ri dv_r: what token r wants of the tokens t0 + i, i < n_row. */
INLINE void add_later_token(vf acc[KL_TILE][2], const struct kl__kda_chunk *c, int r, int t0, const vf d_o[2],
                            const vf minus_dv[2], int n_row, kl_rule rule, int n_vec)
{
#pragma GCC unroll 8
    for (int i = 0; i < n_row; i++) {
        vf p = vset(c->P[r * KL_CHUNK_MAX + t0 + i]), a = vset(0);
        if (rule == KL_RULE_DELTA)
            a = vset(c->A[r * KL_CHUNK_MAX + t0 + i]);
        for (int j = 0; j < n_vec; j++) {
            acc[i][j] += p * d_o[j];
            if (rule == KL_RULE_DELTA)
                acc[i][j] += a * minus_dv[j];
        }
    }
}

/* A group of columns from `at` on: the tokens' rows in it. */
struct group {
    ptrdiff_t ld, lde, lddv;
    const float *d_o, *e;
    float *minus_dv, *dv, *dbeta;
};

/* Tokens t0 + n_row - 1 down to t0 of a tile: acc is what the tokens after the tile and D want of them. */
INLINE void finish_tile(vf acc[KL_TILE][2], const struct group *g, const struct kl__kda_chunk *c, int t0, int n_row,
                        kl_rule rule, int n_vec)
{
#pragma GCC unroll 8
    for (int i = n_row - 1; i >= 0; i--) {
        int r = t0 + i;
        vf x[2], y[2], sum = vload(g->dbeta + r * KL_LANES), beta = vset(c->beta[r]);
        for (int j = 0; j < n_vec; j++) {
            x[j] = vload(g->d_o + r * g->ld + j * KL_LANES);
            acc[i][j] += vset(c->P[r * KL_CHUNK_MAX + r]) * x[j];
            y[j] = -beta * acc[i][j];
            sum += acc[i][j] * vload(g->e + r * g->lde + j * KL_LANES);
            vstore(g->minus_dv + r * g->ld + j * KL_LANES, y[j]);
            vstore(g->dv + r * g->lddv + j * KL_LANES, -y[j]);
        }
        vstore(g->dbeta + r * KL_LANES, sum);
        add_later_token(acc, c, r, t0, x, y, i, rule, n_vec);
    }
}

/* dv of a group of columns, and its part of dbeta and dgamma. */
INLINE void value_columns(const struct group *g, float *dgamma, const float *D, const float *S,
                          const struct kl__kda_chunk *c, kl_rule rule, int n_vec)
{
    add_dgamma(dgamma, D, S, c->K, n_vec);
    for (int t0 = (c->n - 1) / KL_TILE * KL_TILE; t0 >= 0; t0 -= KL_TILE) {
        vf acc[KL_TILE][2];
        clear_tile(acc, n_vec);
        add_state(acc, c->ku + t0 * c->ld, c->ld, D, c->K, c->ahead, n_vec);
        for (int r = t0 + KL_TILE; r < c->n; r++) {
            vf x[2], y[2];
            for (int j = 0; j < n_vec; j++) {
                x[j] = vload(g->d_o + r * g->ld + j * KL_LANES);
                y[j] = vload(g->minus_dv + r * g->ld + j * KL_LANES);
            }
            add_later_token(acc, c, r, t0, x, y, KL_TILE, rule, n_vec);
        }
        if (c->n - t0 >= KL_TILE)
            finish_tile(acc, g, c, t0, KL_TILE, rule, n_vec);
        else
            finish_tile(acc, g, c, t0, c->n - t0, rule, n_vec);
    }
}

INLINE void update_columns(float *D, const struct group *g, const struct kl__kda_chunk *c, kl_rule rule, int n_vec)
{
    _Alignas(64) columns_t x[KL_CHUNK_MAX], y[KL_CHUNK_MAX];
    for (int r = 0; r < c->n; r++)
        for (int j = 0; j < n_vec; j++) {
            vstore(x[r] + j * KL_LANES, vload(g->d_o + r * g->ld + j * KL_LANES));
            vstore(y[r] + j * KL_LANES, vload(g->minus_dv + r * g->ld + j * KL_LANES));
        }
    const struct writes w[] = {{c->qd, (const columns_t *)x}, {c->kd, (const columns_t *)y}};
    update_group(D, D, c->K, c->gamma, w, rule == KL_RULE_DELTA ? 2 : 1, c->n, c->ld, c->ahead, n_vec);
}

/* While the group's part of D is near: all that needs it but dku, which wants whole rows of values. */
INLINE void run_group(float *D, const struct group *g, float *dgamma, const float *S, const struct kl__kda_chunk *c,
                      kl_rule rule, int n_vec)
{
    value_columns(g, dgamma, D, S, c, rule, n_vec);
    update_columns(D, g, c, rule, n_vec);
}

/* ----------------------------------------------------------------------------------------------------- the whole -- */

static void copy_rows(const struct panels *p, const struct kl__kda_chunk *c, const float *e, ptrdiff_t lde,
                      const float *d_o, ptrdiff_t lddo)
{
    for (int r = 0; r < c->n; r++) {
        vf beta = vset(c->beta[r]);
        for (ptrdiff_t j = 0; j < p->n_column; j += KL_LANES) {
            vstore(p->d_o + r * p->n_column + j, vload(d_o + r * lddo + j));
            vstore(p->u + r * p->n_column + j, beta * vload(e + r * lde + j));
        }
    }
    for (int t = 0; t < c->n; t += KL_BLOCK) {
        ptrdiff_t at = t * p->n_column;
        turn_rows(p->u_turned + at, KL_BLOCK, p->u + at, p->n_column, c->n - t, p->n_column);
        turn_rows(p->dod_turned + 2 * at, PANEL, p->d_o + at, p->n_column, c->n - t, p->n_column);
    }
}

INLINE void run(float *D, struct kl__kda_chunk_bwd *b, float *dv, ptrdiff_t lddv, const float *S,
                const struct kl__kda_chunk *c, const float *e, ptrdiff_t lde, const float *d_o, ptrdiff_t lddo,
                int n_slab, kl_rule rule)
{
    struct panels p = cut_scratch(b->scratch, c->n, c->ld, n_slab);
    copy_rows(&p, c, e, lde, d_o, lddo);
    writes_from_adjoint(b->dku, D, c, &p);
    for (ptrdiff_t at = 0; at < p.n_column; at += 2 * KL_LANES) {
        struct group g = {p.n_column, lde, lddv, p.d_o + at, e + at, p.minus_dv + at, dv + at, p.dbeta};
        if (at + 2 * KL_LANES <= p.n_column)
            run_group(D + at * c->K, &g, p.dgamma, S + at * c->K, c, rule, 2);
        else /* an odd slab, where a vector is as wide as one */
            run_group(D + at * c->K, &g, p.dgamma, S + at * c->K, c, rule, 1);
    }
    for (int t = 0; rule == KL_RULE_DELTA && t < c->n; t += KL_BLOCK)
        turn_rows(p.dod_turned + 2 * t * p.n_column + KL_BLOCK, PANEL, p.minus_dv + t * p.n_column, p.n_column,
                  c->n - t, p.n_column);
    reads_from_state(b, S, c, &p, rule);
    pairs_of_tokens(b, c, &p, rule);
    add_up(b->dgamma, p.dgamma, c->ld);
    add_up(b->dbeta, p.dbeta, c->n);
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
