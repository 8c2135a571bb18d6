/* Rows of 8-bit activations times a panel of 32 rows of weights: for each of KL_Q8_AT_ONCE rows two vectors of integer
 * sums, and two of sums in f32, stay in registers.  The <isa> file defines dot4; KL_Q8_SIGNED: it has to know where
 * weights use all 8 bits. */
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/vec/q8_lines.h"

/* Of KL__PANEL rows, those in one pass: two vectors. */
enum { COLUMNS = 2 * KL_LANES };

struct tile {
    float *sum;
    const struct kl__q8_rows *x;
    const uint8_t *q;
    const float *scale, *low;
    int64_t n_k;
    int offset, first_row;
    bool add;
};

/* One group of numbers from k on: integer sums of m rows, starting from aux unless there are minima. */
static inline __attribute__((always_inline)) void integers(const struct tile *t, const uint8_t *q, int64_t k,
                                                           int64_t group_at, vi s[][2], const int m, const int group,
                                                           const bool low, const bool wide)
{
    const struct kl__q8_rows *x = t->x;
#pragma GCC unroll 6
    for (int i = 0; i < m; i++)
        s[i][0] = s[i][1] =
            low || wide ? (vi){0} : broadcast4(x->row[t->first_row + i] + x->aux + 4 * group_at);
#pragma GCC unroll 8
    for (int j = 0; j < group / 4; j++) {
        vu left = at_line(q + j * 4 * KL__PANEL), right = at_line(q + j * 4 * KL__PANEL + 4 * KL_LANES);
#pragma GCC unroll 6
        for (int i = 0; i < m; i++) {
            vi y = broadcast4(x->row[t->first_row + i] + k + 4 * j);
            s[i][0] = dot4(s[i][0], left, y, wide);
            s[i][1] = dot4(s[i][1], right, y, wide);
        }
    }
}

/* COLUMNS columns from `column` on, of m rows.  With m a constant, the sums are registers. */
static inline __attribute__((always_inline)) void pass(const struct tile *t, int column, const int m, const int group,
                                                       const bool low, const bool wide)
{
    const struct kl__q8_rows *x = t->x;
    vf sum[KL__Q8_ROWS][2];
#pragma GCC unroll 6
    for (int i = 0; i < m; i++) {
        const float *from = t->sum + (t->first_row + i) * KL__PANEL + column;
        sum[i][0] = t->add ? vload(from) : vset(0);
        sum[i][1] = t->add ? vload(from + KL_LANES) : vset(0);
    }
    for (int64_t g = 0; g < t->n_k / group; g++) {
        vi s[KL__Q8_ROWS][2];
        integers(t, t->q + g * group * KL__PANEL + 4 * column, g * group, g, s, m, group, low, wide);
        const float *w = t->scale + g * KL__PANEL + column, *l = low ? t->low + g * KL__PANEL + column : NULL;
        vf left = vload(w), right = vload(w + KL_LANES);
#pragma GCC unroll 6
        for (int i = 0; i < m; i++) {
            const char *row = x->row[t->first_row + i];
            vf scale = broadcast_float(row + x->scale + 4 * (g * group / KL__Q8_BLOCK));
            sum[i][0] += __builtin_convertvector(s[i][0], vf) * (left * scale);
            sum[i][1] += __builtin_convertvector(s[i][1], vf) * (right * scale);
            if (low) {
                vf product = broadcast_float(row + x->aux + 4 * g);
                sum[i][0] -= vload(l) * product;
                sum[i][1] -= vload(l + KL_LANES) * product;
            }
        }
    }
#pragma GCC unroll 6
    for (int i = 0; i < m; i++) {
        float *to = t->sum + (t->first_row + i) * KL__PANEL + column;
        vstore(to, sum[i][0]);
        vstore(to + KL_LANES, sum[i][1]);
    }
}

static inline __attribute__((always_inline)) void passes(const struct tile *t, const int m, const int group,
                                                         const bool low)
{
    for (int column = 0; column < KL__PANEL; column += COLUMNS)
        if (KL_Q8_SIGNED && t->offset == 128)
            pass(t, column, m, group, low, KL_Q8_SIGNED);
        else
            pass(t, column, m, group, low, false);
}

static inline __attribute__((always_inline)) void of_rows(const struct tile *t, const int m, int group)
{
    if (group == 32)
        t->low ? passes(t, m, 32, true) : passes(t, m, 32, false);
    else
        t->low ? passes(t, m, 16, true) : passes(t, m, 16, false);
}

void KL_VARIANT(q8_tile)(float *sum, const struct kl__q8_rows *x, const uint8_t *q, const float *scale,
                         const float *low, int64_t n_k, int group, int offset, int m, bool add)
{
    struct tile t = {sum, x, q, scale, low, n_k, offset, 0, add};
    for (; m - t.first_row > KL_Q8_AT_ONCE; t.first_row += KL_Q8_AT_ONCE)
        of_rows(&t, KL_Q8_AT_ONCE, group);
    switch (m - t.first_row) {
    case 1: of_rows(&t, 1, group); return;
    case 2: of_rows(&t, 2, group); return;
#if KL_Q8_AT_ONCE > 2
    case 3: of_rows(&t, 3, group); return;
    case 4: of_rows(&t, 4, group); return;
    case 5: of_rows(&t, 5, group); return;
    case 6: of_rows(&t, 6, group); return;
#endif
    }
}
