#include "cpu/columns.h"

#include "cpu/heads.h"
#include "cpu/rows.h"
#include "cpu/slabs.h"

#include <string.h>

int kl__heads_per_task(int64_t n_seq, int64_t n_head, int n_thread)
{
    int64_t n_unit = n_seq * n_head, most = n_head < 8 ? n_head : 8;
    if (n_unit == 0)
        return 1;
    int64_t rounds = (n_unit + most * n_thread - 1) / (most * n_thread);
    int64_t even = (n_unit + rounds * n_thread - 1) / (rounds * n_thread);
    return (int)(even < most ? even : most);
}

static int64_t greatest_common_divisor(int64_t a, int64_t b)
{
    while (b) {
        int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

struct kl__column_split kl__split_columns(int64_t n_unit, int n_thread, int n_slab)
{
    /* Enough units: the last round of tasks wastes little.  Otherwise every thread gets the same number of tasks; what
     * does not depend on the columns is then prepared once per group, which costs about a tenth of a unit each. */
    int n_pair = (n_slab + 1) / 2, n_group = 1;
    if (n_unit > 0 && n_unit < 4 * (int64_t)n_thread)
        n_group = (int)(n_thread / greatest_common_divisor(n_unit, n_thread));
    if (n_group > n_pair)
        n_group = n_pair;
    int pairs_per_group = (n_pair + n_group - 1) / n_group;
    return (struct kl__column_split){(n_pair + pairs_per_group - 1) / pairs_per_group, 2 * pairs_per_group};
}

struct kl__columns kl__columns_of(struct kl__column_split split, int group, int64_t V)
{
    int first = group * split.slabs_per_group, end = first + split.slabs_per_group, n_slab = kl__n_slab(V);
    end = end < n_slab ? end : n_slab;
    int64_t from = (int64_t)first * KL_SLAB, to = (int64_t)end * KL_SLAB;
    return (struct kl__columns){first, end - first, from, (to < V ? to : V) - from};
}

static bool in_place(const struct kl__columns *c, kl_tensor x)
{
    return x.dtype == KL_F32 && c->n == (int64_t)c->n_slab * KL_SLAB;
}

static void *first_column(const struct kl__columns *c, kl_tensor x, int64_t t, int64_t h)
{
    return (char *)kl__head_row(x, t, h) + (size_t)c->first * kl_dtype_bytes(x.dtype);
}

const float *kl__stage_values(const struct kl__kernels *k, const struct kl__columns *c, kl_tensor x, int64_t t0, int n,
                              int64_t h, float *scratch, ptrdiff_t *ld)
{
    if (in_place(c, x)) {
        *ld = (ptrdiff_t)kl__pitch(x);
        return first_column(c, x, t0, h);
    }
    *ld = (ptrdiff_t)c->n_slab * KL_SLAB;
    for (int r = 0; r < n; r++) {
        float *to = scratch + r * *ld;
        const float *row = kl__read_row(k, x.dtype, first_column(c, x, t0 + r, h), c->n, to);
        if (row != to)
            memcpy(to, row, sizeof *row * (size_t)c->n);
        memset(to + c->n, 0, sizeof *row * (size_t)(*ld - c->n));
    }
    return scratch;
}

float *kl__begin_outputs(const struct kl__columns *c, kl_tensor o, int64_t t0, int64_t h, float *scratch,
                         ptrdiff_t *ld)
{
    *ld = in_place(c, o) ? (ptrdiff_t)kl__pitch(o) : (ptrdiff_t)c->n_slab * KL_SLAB;
    return in_place(c, o) ? first_column(c, o, t0, h) : scratch;
}

void kl__end_outputs(const struct kl__kernels *k, const struct kl__columns *c, kl_tensor o, int64_t t0, int n,
                     int64_t h, const float *from, ptrdiff_t ld)
{
    if (in_place(c, o))
        return;
    for (int r = 0; r < n; r++) {
        void *to = first_column(c, o, t0 + r, h);
        if (o.dtype == KL_F32)
            memcpy(to, from + r * ld, sizeof *from * (size_t)c->n);
        else
            k->bf16_of_f32(to, from + r * ld, c->n);
    }
}
