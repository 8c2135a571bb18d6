/** Value columns as tasks: a run of slabs of one head, and its rows of v and o. */
#ifndef KL_CPU_COLUMNS_H
#define KL_CPU_COLUMNS_H

#include "cpu/kernels/kernels.h"

/** Neighbouring heads that one task takes together: up to 8, whose rows of 128 f32 channels fill a memory page, fewer
 *  where that would leave threads without work. */
int kl__heads_per_task(int64_t n_seq, int64_t n_head, int n_thread);

/** Units (sequence, heads) are independent and so are value columns: each unit is cut into n_group runs of
 *  slabs_per_group slabs (an even number; the last run may be shorter) when units alone cannot fill the threads. */
struct kl__column_split {
    int n_group, slabs_per_group;
};
struct kl__column_split kl__split_columns(int64_t n_unit, int n_thread, int n_slab);

struct kl__columns {
    int first_slab, n_slab;
    int64_t first, n; /* value columns that exist; n <= n_slab * KL_SLAB */
};
struct kl__columns kl__columns_of(struct kl__column_split split, int group, int64_t V);

/** Floats of a scratch row that holds any run of V columns. */
static inline ptrdiff_t kl__columns_ld(int64_t V)
{
    return (ptrdiff_t)((V + KL_SLAB - 1) / KL_SLAB * KL_SLAB);
}

/** The columns of tokens t0 .. t0+n-1 of head `h` of x [T][H][V], whole slabs wide, f32, rows *ld apart: in place when
 *  the tensor has that shape, else copied into scratch [n][n_slab * KL_SLAB] with zeros behind the last column. */
const float *kl__stage_values(const struct kl__kernels *k, const struct kl__columns *c, kl_tensor x, int64_t t0, int n,
                              int64_t h, float *scratch, ptrdiff_t *ld);

/** Where kernels shall write those columns of o: in place, or in scratch; then kl__end_outputs. */
float *kl__begin_outputs(const struct kl__columns *c, kl_tensor o, int64_t t0, int64_t h, float *scratch,
                         ptrdiff_t *ld);
void kl__end_outputs(const struct kl__kernels *k, const struct kl__columns *c, kl_tensor o, int64_t t0, int n,
                     int64_t h, const float *from, ptrdiff_t ld);

#endif
