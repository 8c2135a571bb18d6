/** Matrices packed for products (cpu/kernels/slots_weight.h): panel after panel, matrix after matrix.
 *
 *  Panel i of packed blocks has the rows of kl__panel_rows(n_out, i) from `first` on; of a matrix that has fewer rows
 *  than a panel the others are zeros.  Panel i of packed bf16 has the rows from 32 i on, and zeros after the last.
 *  Only what products use is packed: blocks that are multiplied in panels, bf16 that is not. */
#ifndef KL_CPU_PACKED_MATRIX_H
#define KL_CPU_PACKED_MATRIX_H

#include "cpu/panels.h"

static inline int64_t kl__packed_matrix_bytes(const struct kl__weight *w)
{
    return kl__n_panel(w->n_out) * kl__packed_bytes(w->type, w->n_in);
}
static inline const void *kl__packed_panel_start(const struct kl__weight *w, int64_t matrix, int64_t panel)
{
    return (const char *)w->packed + matrix * kl__packed_matrix_bytes(w) + panel * kl__packed_bytes(w->type, w->n_in);
}

#endif
