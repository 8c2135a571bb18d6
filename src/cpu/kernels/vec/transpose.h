/** Transposing a square of KL_LANES x KL_LANES numbers in registers. */
#ifndef KL_CPU_VEC_TRANSPOSE_H
#define KL_CPU_VEC_TRANSPOSE_H

#include "cpu/kernels/vec/shuffle.h"

/* Four rows: q[j] holds, in its four lanes 4l .. 4l+3, column 4l + j of the rows. */
static inline void vtranspose_quads(vf q[4])
{
    vf a = vlow1(q[0], q[1]), b = vhigh1(q[0], q[1]), c = vlow1(q[2], q[3]), d = vhigh1(q[2], q[3]);
    q[0] = vlow2(a, c);
    q[1] = vhigh2(a, c);
    q[2] = vlow2(b, d);
    q[3] = vhigh2(b, d);
}

/** x[i][j] becomes x[j][i]: first inside quads of lanes, then the quads themselves. */
static inline void vtranspose(vf x[KL_LANES])
{
    for (int i = 0; i < KL_LANES; i += 4)
        vtranspose_quads(x + i);
    vf y[KL_LANES];
    for (int j = 0; j < 4; j++) {
#if KL_LANES == 8
        y[j] = __builtin_shufflevector(x[j], x[4 + j], 0, 1, 2, 3, 8, 9, 10, 11);
        y[4 + j] = __builtin_shufflevector(x[j], x[4 + j], 4, 5, 6, 7, 12, 13, 14, 15);
#elif KL_LANES == 16
        /* Quads 0 and 2, then 1 and 3, of two rows of quads; then even and odd ones of four. */
        vf a = x[j], b = x[4 + j], c = x[8 + j], d = x[12 + j];
        vf ab0 = __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27);
        vf ab1 = __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
        vf cd0 = __builtin_shufflevector(c, d, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27);
        vf cd1 = __builtin_shufflevector(c, d, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
        y[j] = __builtin_shufflevector(ab0, cd0, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27);
        y[4 + j] = __builtin_shufflevector(ab1, cd1, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27);
        y[8 + j] = __builtin_shufflevector(ab0, cd0, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
        y[12 + j] = __builtin_shufflevector(ab1, cd1, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
#endif
    }
    for (int i = 0; i < KL_LANES; i++)
        x[i] = y[i];
}

#endif
