/* A few rows of 8-bit activations times a packed panel, which goes by once: what one token does with a matrix.  Sums
 * are made as in vec/q8_tile.h, operation by operation.  The <isa> file defines dot4; KL_Q8_SIGNED: it has to know
 * where weights use all 8 bits; KL_Q8_AT_ONCE: rows that registers hold. */
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/vec/packed.h"
#include "cpu/kernels/vec/passing.h"
#include "cpu/kernels/vec/q8_lines.h"

enum { COLUMNS = 2 * KL_LANES };

struct tile {
    float *sum;
    const struct kl__q8_rows *x;
    const uint8_t *from;
    int64_t n_k;
    const uint8_t *ahead;
    int first_row;
};

/* Where the integer sums of a group start. */
static inline __attribute__((always_inline)) void start_sums(const struct tile *t, int64_t k, vi s[][2], const int m,
                                                             const bool zero)
{
#pragma GCC unroll 6
    for (int i = 0; i < m; i++)
        s[i][0] = s[i][1] =
            zero ? (vi){0} : broadcast4(t->x->row[t->first_row + i] + t->x->aux + 4 * (k / 32));
}

/* Adds the numbers of one group from k on: m rows, COLUMNS columns. */
static inline __attribute__((always_inline)) void integers(const struct tile *t, const uint8_t *from, int64_t k,
                                                           int column, vi s[][2], const int m, const bool nibbles,
                                                           const bool wide)
{
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) {
        vu left = packed_line(from, j, column, nibbles), right = packed_line(from, j, column + KL_LANES, nibbles);
#pragma GCC unroll 6
        for (int i = 0; i < m; i++) {
            vi y = broadcast4(t->x->row[t->first_row + i] + k + 4 * j);
            s[i][0] = dot4(s[i][0], left, y, wide);
            s[i][1] = dot4(s[i][1], right, y, wide);
        }
    }
}

/* The same of nibbles: upper ones are multiplied where they are, 16 times as large, which saves moving them.  Sums are
 * exact, and so is their sixteenth. */
static inline __attribute__((always_inline)) void nibbles_in_place(const struct tile *t, const uint8_t *from,
                                                                   int64_t k, int column, vi s[][2], const int m)
{
    vi upper[KL__Q8_ROWS][2];
#pragma GCC unroll 6
    for (int i = 0; i < m; i++)
        upper[i][0] = upper[i][1] = (vi){0};
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        vu left = packed_bytes(from, j, column), right = packed_bytes(from, j, column + KL_LANES);
#pragma GCC unroll 6
        for (int i = 0; i < m; i++) {
            const char *row = t->x->row[t->first_row + i] + k;
            vi y = broadcast4(row + 4 * j), z = broadcast4(row + 16 + 4 * j);
            s[i][0] = dot4(s[i][0], left & 0x0f0f0f0f, y, false);
            s[i][1] = dot4(s[i][1], right & 0x0f0f0f0f, y, false);
            upper[i][0] = dot4(upper[i][0], left & 0xf0f0f0f0, z, false);
            upper[i][1] = dot4(upper[i][1], right & 0xf0f0f0f0, z, false);
        }
    }
#pragma GCC unroll 6
    for (int i = 0; i < m; i++) {
        s[i][0] += upper[i][0] >> 4;
        s[i][1] += upper[i][1] >> 4;
    }
}

/* Products of full bytes saturate where KL_Q8_SIGNED, and twice as many sums have to find registers. */
static inline __attribute__((always_inline)) void nibble_sums(const struct tile *t, const uint8_t *from, int64_t k,
                                                              int column, vi s[][2], const int m)
{
    if (!KL_Q8_SIGNED && 2 * m <= KL_Q8_AT_ONCE)
        nibbles_in_place(t, from, k, column, s, m);
    else
        integers(t, from, k, column, s, m, true, false);
}

/* What a group adds to the sums. */
static inline __attribute__((always_inline)) void add_group(const struct tile *t, vf sum[][2], vi s[][2], int64_t k,
                                                            const vf scale[2], const vf low[2], const int m)
{
    const struct kl__q8_rows *x = t->x;
#pragma GCC unroll 6
    for (int i = 0; i < m; i++) {
        const char *row = x->row[t->first_row + i];
        vf x_scale = broadcast_float(row + x->scale + 4 * (k / KL__Q8_BLOCK));
        sum[i][0] += __builtin_convertvector(s[i][0], vf) * (scale[0] * x_scale);
        sum[i][1] += __builtin_convertvector(s[i][1], vf) * (scale[1] * x_scale);
        if (low) {
            vf product = broadcast_float(row + x->aux + 4 * (k / 32));
            sum[i][0] -= low[0] * product;
            sum[i][1] -= low[1] * product;
        }
    }
}

static inline __attribute__((always_inline)) void small_blocks(const struct tile *t, vf sum[][2], int column,
                                                               const int m, const bool nibbles, const bool wide)
{
    const int64_t bytes = nibbles ? 64 + 512 : 64 + 1024;
    const uint8_t *from = t->from, *end = from + t->n_k / 32 * bytes;
    for (int64_t k = 0; k < t->n_k; k += 32, from += bytes) {
        vi s[KL__Q8_ROWS][2];
        if (column == 0)
            fetch_passing(from, end, t->ahead, 0, bytes);
        start_sums(t, k, s, m, wide);
        if (nibbles)
            nibble_sums(t, from + 64, k, column, s, m);
        else
            integers(t, from + 64, k, column, s, m, false, wide);
        vf scale[2] = {packed_half(from, column), packed_half(from, column + KL_LANES)};
        add_group(t, sum, s, k, scale, NULL, m);
    }
}

static inline __attribute__((always_inline)) void large_blocks(const struct tile *t, vf sum[][2], int column,
                                                               const int m)
{
    const int64_t bytes = kl__packed_bytes(KL__TYPE_Q4_K, 256), lines = bytes / LINE;
    const uint8_t *from = t->from, *end = from + t->n_k / 256 * bytes;
    for (int64_t k = 0; k < t->n_k; k += 256, from += bytes)
        for (int g = 0; g < 8; g++) {
            vi s[KL__Q8_ROWS][2];
            if (column == 0)
                fetch_passing(from, end, t->ahead, g * lines / 8 * LINE, (g + 1) * lines / 8 * LINE);
            start_sums(t, k, s, m, true);
            nibble_sums(t, from + 640 + g * 512, k + 32 * g, column, s, m);
            vf scale[2], low[2];
            for (int i = 0; i < 2; i++) {
                int at = column + i * KL_LANES;
                scale[i] = packed_half(from, at) * packed_byte(from + 128 + g * KL__PANEL, at);
                low[i] = packed_half(from + 64, at) * packed_byte(from + 384 + g * KL__PANEL, at);
            }
            add_group(t, sum, s, k + 32 * g, scale, low, m);
        }
}

static inline __attribute__((always_inline)) void of_rows(const struct tile *t, const int m, enum kl__type type)
{
    for (int column = 0; column < KL__PANEL; column += COLUMNS) {
        vf sum[KL__Q8_ROWS][2];
#pragma GCC unroll 6
        for (int i = 0; i < m; i++)
            sum[i][0] = sum[i][1] = vset(0);
        if (type == KL__TYPE_Q8_0)
            small_blocks(t, sum, column, m, false, KL_Q8_SIGNED);
        else if (type == KL__TYPE_Q4_0)
            small_blocks(t, sum, column, m, true, false);
        else
            large_blocks(t, sum, column, m);
#pragma GCC unroll 6
        for (int i = 0; i < m; i++) {
            float *to = t->sum + (t->first_row + i) * KL__PANEL + column;
            vstore(to, sum[i][0]);
            vstore(to + KL_LANES, sum[i][1]);
        }
    }
}

void KL_VARIANT(packed_tile)(float *sum, const struct kl__q8_rows *x, enum kl__type type, const void *from,
                             int64_t n_k, int m, const void *ahead)
{
    const uint8_t *end = (const uint8_t *)from + kl__packed_bytes(type, n_k);
    struct tile t = {sum, x, from, n_k, ahead ? ahead : end, 0};
    for (; m - t.first_row > KL_Q8_AT_ONCE; t.first_row += KL_Q8_AT_ONCE)
        of_rows(&t, KL_Q8_AT_ONCE, type);
    switch (m - t.first_row) {
    case 1: of_rows(&t, 1, type); return;
    case 2: of_rows(&t, 2, type); return;
#if KL_Q8_AT_ONCE > 2
    case 3: of_rows(&t, 3, type); return;
    case 4: of_rows(&t, 4, type); return;
    case 5: of_rows(&t, 5, type); return;
    case 6: of_rows(&t, 6, type); return;
#endif
    }
}
