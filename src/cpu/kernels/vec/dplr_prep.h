/* The part of a chunk of the general rule that does not depend on the state: kda_prep.h with two kinds of rows, ku and
 * au, that decay and meet each new token twice: before its decay its b, after it its q. */
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/vec/prep.h"

/* A block of tokens on a panel of channels.  Pointers to rows are at the panel's first channel. */
struct block {
    int t0, n;     /* tokens t0 .. t0+n-1 */
    ptrdiff_t end; /* channels of the panel */
    bool add;      /* to the pairs of earlier panels */
    ptrdiff_t ld;
    struct kl__dplr_rows x; /* of the block */
    float scale;
    float *bd, *qd; /* of the block */
    float *ku, *au; /* of the chunk */
    float *gamma;   /* up to the block */
    float *decay;   /* [PANEL] over the block */
    const struct kl__dplr_chunk *c;
};

enum {
    ROWS = 16, /* tokens of a block: as many as of a chunk of the usual length, which then is one block */
    N_SUM = 4 * ROWS, /* room for the pairs of one reader: 2 r with b, of its k and then its a, 2 r + 2 with q */
};

/* A row that has been written meets the new token, and decays by it. */
INLINE void meet_row(float *row, const vf *alpha, const vf *b, const vf *q, vf *with_b, vf *with_q, bool first,
                     int n_vec)
{
    vf x = first ? (vf){0} : *with_b, y = first ? (vf){0} : *with_q;
#pragma GCC unroll 8
    for (int v = 0; v < n_vec; v++) {
        vf w = vload(row + v * KL_LANES);
        x += w * b[v];
        w *= alpha[v];
        vstore(row + v * KL_LANES, w);
        y += w * q[v];
    }
    *with_b = x;
    *with_q = y;
}

/* A new row meets its own token. */
INLINE void begin_row(float *row, const float *from, const vf *q, vf *with_q, bool first, int n_vec)
{
    vf y = first ? (vf){0} : *with_q;
#pragma GCC unroll 8
    for (int v = 0; v < n_vec; v++) {
        vf w = vload(from + v * KL_LANES);
        vstore(row + v * KL_LANES, w);
        y += w * q[v];
    }
    *with_q = y;
}

/* Token r of the block over n_vec vectors from channel j of the panel on. */
INLINE void meet_block(const struct block *b, int r, ptrdiff_t j, vf *sums, int n_vec)
{
    vf alpha[STEP], br[STEP], qr[STEP];
    const struct kl__dplr_rows *x = &b->x;
    float *ku = b->ku + b->t0 * b->ld + j, *au = b->au + b->t0 * b->ld + j;
    bool first = j == 0;
#pragma GCC unroll 8
    for (int v = 0; v < n_vec; v++) {
        alpha[v] = vload(x->alpha + r * b->ld + j + v * KL_LANES);
        br[v] = vload(x->b + r * x->ldb + j + v * KL_LANES);
        qr[v] = b->scale * vload(x->q + r * x->ldq + j + v * KL_LANES);
    }
    for (int i = 0; i < r; i++) {
        meet_row(ku + i * b->ld, alpha, br, qr, sums + i, sums + 2 * r + i, first, n_vec);
        meet_row(au + i * b->ld, alpha, br, qr, sums + r + i, sums + 3 * r + 1 + i, first, n_vec);
    }
    begin_row(ku + r * b->ld, x->k + r * x->ldk + j, qr, sums + 3 * r, first, n_vec);
    begin_row(au + r * b->ld, x->a + r * x->lda + j, qr, sums + 4 * r + 1, first, n_vec);
}

/* The pairs of reader r, whose sums lie one after the other. */
INLINE void store_reader(const struct block *b, int r, const vf sums[N_SUM])
{
    vf sum[N_SUM / KL_LANES] = {{0}};
    int n = 4 * r + 2;
    ptrdiff_t row = (b->t0 + r) * KL_CHUNK_MAX + b->t0;
    add_lanes(sum, sums, n);
    store_some(b->c->Abk + row, sum, n, 0, r, b->add);
    store_some(b->c->Aba + row, sum, n, r, r, b->add);
    store_some(b->c->Aqk + row, sum, n, 2 * r, r + 1, b->add);
    store_some(b->c->Aqa + row, sum, n, 3 * r + 1, r + 1, b->add);
}

INLINE void add_inside(const struct block *b)
{
    vf sums[N_SUM + KL_LANES];
    for (int r = 0; r < b->n; r++) {
        ptrdiff_t j = 0;
        for (; j + STEP * KL_LANES <= b->end; j += STEP * KL_LANES)
            meet_block(b, r, j, sums, STEP);
        for (; j < b->end; j += KL_LANES)
            meet_block(b, r, j, sums, 1);
        for (int i = 4 * r + 2; i % KL_LANES; i++)
            sums[i] = vset(0);
        store_reader(b, r, sums);
    }
}

/* bd and qd, decayed from the block's start on; decay <- that over the whole block. */
INLINE void decay_rows(const struct block *b)
{
    const struct kl__dplr_rows *x = &b->x;
    for (ptrdiff_t j = 0; j < b->end; j += KL_LANES) {
        vf g = vset(1);
        for (int r = 0; r < b->n; r++) {
            vstore(b->bd + r * b->ld + j, g * vload(x->b + r * x->ldb + j));
            g *= vload(x->alpha + r * b->ld + j);
            vstore(b->qd + r * b->ld + j, g * (b->scale * vload(x->q + r * x->ldq + j)));
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
    multiply_rows(b->bd, b->ld, b->gamma, b->n, b->end);
    multiply_rows(b->qd, b->ld, b->gamma, b->n, b->end);
    multiply_rows(b->ku, b->ld, b->decay, b->t0, b->end);
    multiply_rows(b->au, b->ld, b->decay, b->t0, b->end);
    multiply_rows(b->gamma, 0, b->decay, 1, b->end);
}

void KL_VARIANT(dplr_prep)(struct kl__dplr_chunk *c, const struct kl__dplr_rows *x, float scale)
{
    _Alignas(64) float decay[PANEL];
    ptrdiff_t ld = c->ld;
    for (ptrdiff_t at = 0; at < ld; at += PANEL)
        for (int t0 = 0; t0 < c->n; t0 += ROWS) {
            struct block b = {.t0 = t0,
                              .n = c->n - t0 < ROWS ? c->n - t0 : ROWS,
                              .end = ld - at < PANEL ? ld - at : PANEL,
                              .add = at > 0,
                              .ld = ld,
                              .x = {x->q + t0 * x->ldq + at, x->k + t0 * x->ldk + at, x->a + t0 * x->lda + at,
                                    x->b + t0 * x->ldb + at, x->ldq, x->ldk, x->lda, x->ldb,
                                    x->alpha + t0 * ld + at},
                              .scale = scale,
                              .bd = c->bd + t0 * ld + at,
                              .qd = c->qd + t0 * ld + at,
                              .ku = c->ku + at,
                              .au = c->au + at,
                              .gamma = c->gamma + at,
                              .decay = decay,
                              .c = c};
            add_inside(&b);
            decay_rows(&b);
            const struct readers r = {b.t0, b.n, b.end, ld, b.add, b.bd, b.qd};
            pair_with_earlier(&r, b.ku, c->Abk, c->Aqk, ROWS);
            pair_with_earlier(&r, b.au, c->Aba, c->Aqa, ROWS);
            join_block(&b);
        }
}
