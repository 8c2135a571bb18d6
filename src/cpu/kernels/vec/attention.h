/* Tiles of attention.  Products keep a small tile of sums in registers.  One sum is one chain of fused multiply-adds,
 * the same in a full tile and in the remainders, so that a row's bits do not depend on its neighbours. */
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/vec/reduce.h"
#include "cpu/kernels/vec/vec.h"

#define ALWAYS_INLINE inline __attribute__((always_inline))

enum { DOT_ROWS = KL_LANES == 16 ? 4 : 2, DOT_COLS = 4, MIX_ROWS = 4, MIX_VECTORS = KL_LANES == 16 ? 4 : 2 };

/* ------------------------------------------------------------------------------------------------ inner products -- */

/* The products of one vector of each row. */
static ALWAYS_INLINE void dot_step(vf sum[DOT_ROWS][DOT_COLS], const float *a, int64_t a_pitch, const float *b,
                                   int64_t b_pitch, const int n_row, const int n_col)
{
    vf x[DOT_ROWS];
    for (int i = 0; i < n_row; i++)
        x[i] = vload(a + i * a_pitch);
    for (int j = 0; j < n_col; j++) {
        vf y = vload(b + j * b_pitch);
        for (int i = 0; i < n_row; i++)
            sum[i][j] += x[i] * y;
    }
}

/* The first n < KL_LANES elements of every row, then zeros. */
static inline void copy_tails(float *to, const float *from, int64_t pitch, int n_row, int64_t n)
{
    for (int i = 0; i < n_row; i++)
        vstore(to + i * KL_LANES, vload_part(from + i * pitch, n));
}

/* n_row x n_col dot products; both counts are constants where this is inlined.  Lanes run along the rows. */
static ALWAYS_INLINE void dot_tile(float *c, int64_t c_pitch, const float *a, int64_t a_pitch, const float *b,
                                   int64_t b_pitch, int64_t n_dim, const int n_row, const int n_col)
{
    vf sum[DOT_ROWS][DOT_COLS] = {{{0}}};
    int64_t d = 0;
    for (; d + KL_LANES <= n_dim; d += KL_LANES)
        dot_step(sum, a + d, a_pitch, b + d, b_pitch, n_row, n_col);
    if (d < n_dim) {
        float a_tail[DOT_ROWS * KL_LANES], b_tail[DOT_COLS * KL_LANES];
        copy_tails(a_tail, a + d, a_pitch, n_row, n_dim - d);
        copy_tails(b_tail, b + d, b_pitch, n_col, n_dim - d);
        dot_step(sum, a_tail, KL_LANES, b_tail, KL_LANES, n_row, n_col);
    }
    for (int i = 0; i < n_row; i++)
        if (n_col == 4)
            *(vf4_at *)(c + i * c_pitch) = vsum4(sum[i][0], sum[i][1], sum[i][2], sum[i][3]);
        else
            c[i * c_pitch] = vsum4(sum[i][0], sum[i][0], sum[i][0], sum[i][0])[0];
}

static ALWAYS_INLINE void dot_rows(float *c, int64_t c_pitch, const float *a, int64_t a_pitch, const float *b,
                                   int64_t b_pitch, int64_t n, int64_t n_dim, const int n_row)
{
    int64_t j = 0;
    for (; j + DOT_COLS <= n; j += DOT_COLS)
        dot_tile(c + j, c_pitch, a, a_pitch, b + j * b_pitch, b_pitch, n_dim, n_row, DOT_COLS);
    for (; j < n; j++)
        dot_tile(c + j, c_pitch, a, a_pitch, b + j * b_pitch, b_pitch, n_dim, n_row, 1);
}

void KL_VARIANT(attention_dot)(float *c, int64_t c_pitch, const float *a, int64_t a_pitch, const float *b,
                               int64_t b_pitch, int64_t m, int64_t n, int64_t n_dim)
{
    int64_t i = 0;
    for (; i + DOT_ROWS <= m; i += DOT_ROWS)
        dot_rows(c + i * c_pitch, c_pitch, a + i * a_pitch, a_pitch, b, b_pitch, n, n_dim, DOT_ROWS);
    for (; i < m; i++)
        dot_rows(c + i * c_pitch, c_pitch, a + i * a_pitch, a_pitch, b, b_pitch, n, n_dim, 1);
}

/* ------------------------------------------------------------------------------------------------- weighted sums -- */

/* Where the factors of a tile's rows lie, and the rows that they weigh. */
struct mix {
    const float *a; /* factor of the tile's row 0 and of b's row 0 */
    int64_t a_row, a_col;
    const float *b;
    int64_t b_pitch;
};

/* c[n_row][n_vector * KL_LANES] += sum of j = from .. to - 1; the two counts are constants where this is inlined. */
static ALWAYS_INLINE void mix_tile(float *c, int64_t c_pitch, const struct mix *x, int64_t from, int64_t to,
                                   const int n_row, const int n_vector)
{
    vf sum[MIX_ROWS][MIX_VECTORS];
    for (int i = 0; i < n_row; i++)
        for (int v = 0; v < n_vector; v++)
            sum[i][v] = vload(c + i * c_pitch + v * KL_LANES);
    for (int64_t j = from; j < to; j++) {
        const float *a = x->a + j * x->a_col, *b = x->b + j * x->b_pitch;
        vf y[MIX_VECTORS];
        for (int v = 0; v < n_vector; v++)
            y[v] = vload(b + v * KL_LANES);
        for (int i = 0; i < n_row; i++) {
            vf factor = vset(a[i * x->a_row]);
            for (int v = 0; v < n_vector; v++)
                sum[i][v] += factor * y[v];
        }
    }
    for (int i = 0; i < n_row; i++)
        for (int v = 0; v < n_vector; v++)
            vstore(c + i * c_pitch + v * KL_LANES, sum[i][v]);
}

/* The last n_dim < KL_LANES columns of one row. */
static void mix_tail(float *c, const struct mix *x, int64_t from, int64_t to, int64_t n_dim)
{
    vf sum = vload_part(c, n_dim);
    for (int64_t j = from; j < to; j++)
        sum += vset(x->a[j * x->a_col]) * vload_part(x->b + j * x->b_pitch, n_dim);
    vstore_part(c, sum, n_dim);
}

static ALWAYS_INLINE void mix_range(float *c, int64_t c_pitch, struct mix x, int64_t from, int64_t to, int64_t n_dim,
                                    const int n_row)
{
    if (from >= to)
        return;
    int64_t d = 0;
    for (; d + MIX_VECTORS * KL_LANES <= n_dim; d += MIX_VECTORS * KL_LANES, x.b += MIX_VECTORS * KL_LANES)
        mix_tile(c + d, c_pitch, &x, from, to, n_row, MIX_VECTORS);
    for (; d + KL_LANES <= n_dim; d += KL_LANES, x.b += KL_LANES)
        mix_tile(c + d, c_pitch, &x, from, to, n_row, 1);
    for (int i = 0; d < n_dim && i < n_row; i++, x.a += x.a_row)
        mix_tail(c + i * c_pitch + d, &x, from, to, n_dim - d);
}

static void mix_row(float *c, struct mix x, int64_t from, int64_t to, int64_t n_dim)
{
    mix_range(c, 0, x, from, to, n_dim, 1);
}

/* MIX_ROWS rows: what only some of them see first, what all see as a tile, the rest. */
static void mix_rows(float *c, int64_t c_pitch, struct mix x, const int32_t *from, const int32_t *to, int64_t n_dim)
{
    int32_t low = 0, high = INT32_MAX;
    for (int i = 0; i < MIX_ROWS; i++) {
        low = from[i] > low ? from[i] : low;
        high = to[i] < high ? to[i] : high;
    }
    high = high > low ? high : low;
    struct mix row = x;
    for (int i = 0; i < MIX_ROWS; i++, row.a += x.a_row)
        mix_row(c + i * c_pitch, row, from[i], low < to[i] ? low : to[i], n_dim);
    mix_range(c, c_pitch, x, low, high, n_dim, MIX_ROWS);
    row = x;
    for (int i = 0; i < MIX_ROWS; i++, row.a += x.a_row)
        mix_row(c + i * c_pitch, row, high, to[i], n_dim);
}

static void scale_row(float *c, float keep, int64_t n_dim)
{
    int64_t d = 0;
    for (; d + KL_LANES <= n_dim; d += KL_LANES)
        vstore(c + d, vload(c + d) * keep);
    for (; d < n_dim; d++)
        c[d] *= keep;
}

void KL_VARIANT(attention_mix)(float *c, int64_t c_pitch, const float *keep, const float *a, int64_t a_row,
                               int64_t a_col, const float *b, int64_t b_pitch, const int32_t *from, const int32_t *to,
                               int64_t m, int64_t n, int64_t n_dim)
{
    /* Scaling is a pass of its own: inside the tile the compiler would be free to fuse either product of
     * keep c + a b.  Most blocks leave the maximum where it was, and keep is 1. */
    for (int64_t i = 0; keep && i < m; i++)
        if (keep[i] != 1)
            scale_row(c + i * c_pitch, keep[i], n_dim);
    int64_t i = 0;
    for (; i + MIX_ROWS <= m; i += MIX_ROWS) {
        int32_t low[MIX_ROWS], high[MIX_ROWS];
        for (int r = 0; r < MIX_ROWS; r++) {
            low[r] = from ? from[i + r] : 0;
            high[r] = to ? to[i + r] : (int32_t)n;
        }
        mix_rows(c + i * c_pitch, c_pitch, (struct mix){a + i * a_row, a_row, a_col, b, b_pitch}, low, high, n_dim);
    }
    for (; i < m; i++)
        mix_row(c + i * c_pitch, (struct mix){a + i * a_row, a_row, a_col, b, b_pitch}, from ? from[i] : 0,
                to ? to[i] : n, n_dim);
}

/* ------------------------------------------------------------------------------------------------------- softmax -- */

enum { BLOCK_VECTORS = KL__ATTENTION_BLOCK / KL_LANES };

/* All bits set in the lanes whose column is below `to`; the vector begins at column `first`. */
static inline vi columns_below(int32_t to, int32_t first)
{
    static const int32_t lane[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    vi index;
    __builtin_memcpy(&index, lane, sizeof index);
    return index < to - first;
}

static void softmax_row(float *s, float *max, float *sum, float *keep, int32_t to, float scale)
{
    vf x[BLOCK_VECTORS], largest = vset(-INFINITY);
    for (int v = 0; v < BLOCK_VECTORS; v++) {
        x[v] = vselect(columns_below(to, v * KL_LANES), vload(s + v * KL_LANES) * scale, vset(-INFINITY));
        largest = vmax(largest, x[v]);
    }
    float before = *max, now = vlargest(largest);
    now = before > now ? before : now;
    /* exp(-inf - -inf) would be NaN where nothing has been seen yet. */
    float origin = now == -INFINITY ? 0 : now;
    vf total = {0};
    for (int v = 0; v < BLOCK_VECTORS; v++) {
        x[v] = vexp(x[v] - origin);
        vstore(s + v * KL_LANES, x[v]);
        total += x[v];
    }
    *keep = before == now ? 1 : vexp(vset(before - now))[0];
    *sum = *keep * *sum + vsum4(total, total, total, total)[0];
    *max = now;
}

void KL_VARIANT(attention_softmax)(float *s, float *max, float *sum, float *keep, const int32_t *to, float scale,
                                   int64_t m)
{
    for (int64_t i = 0; i < m; i++)
        softmax_row(s + i * KL__ATTENTION_BLOCK, &max[i], &sum[i], &keep[i], to[i], scale);
}

void KL_VARIANT(attention_softmax_bwd)(float *s, float *d, const float *lse, const float *delta, const int32_t *to,
                                       float scale, int64_t m)
{
    for (int64_t i = 0; i < m; i++) {
        int32_t end = lse[i] == -INFINITY ? 0 : to[i];
        for (int v = 0; v < BLOCK_VECTORS; v++) {
            int64_t at = i * KL__ATTENTION_BLOCK + v * KL_LANES;
            vi seen = columns_below(end, v * KL_LANES);
            /* Selected before the subtraction, as in softmax_row: lse stems from rounded scores, and a fused
             * scale s - lse would be off by that rounding, which is large for large scores. */
            vf x = vselect(seen, vload(s + at) * scale, vset(-INFINITY));
            vf p = vselect(seen, vexp(x - lse[i]), vset(0));
            vstore(s + at, p);
            vstore(d + at, vselect(seen, p * scale * (vload(d + at) - delta[i]), vset(0)));
        }
    }
}
