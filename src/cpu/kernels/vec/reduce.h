/** Across the lanes of a vector, by halving: lane l meets lane l + half, as in vsum. */
#ifndef KL_CPU_REDUCE_H
#define KL_CPU_REDUCE_H

#include "cpu/kernels/vec/vec.h"

typedef float vf4 __attribute__((vector_size(16)));
typedef float vf4_at __attribute__((vector_size(16), aligned(4), may_alias));

#if KL_LANES == 16
/** Lane l and lane l ^ 8 change places; the same for 4, 2, 1. */
static inline vf vflip8(vf x)
{
    return __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
}
static inline vf vflip4(vf x)
{
    return __builtin_shufflevector(x, x, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11);
}
static inline vf vflip2(vf x)
{
    return __builtin_shufflevector(x, x, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
}
static inline vf vflip1(vf x)
{
    return __builtin_shufflevector(x, x, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
}
/* The halves of a and of b added: 8 partial sums of a, then 8 of b. */
static inline vf vfold_pair(vf a, vf b)
{
    return __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
           __builtin_shufflevector(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
}
/** The sums of the lanes of a, b, c, d. */
static inline vf4 vsum4(vf a, vf b, vf c, vf d)
{
    vf ab = vfold_pair(a, b), cd = vfold_pair(c, d);
    vf x = __builtin_shufflevector(ab, cd, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27) +
           __builtin_shufflevector(ab, cd, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
    x += vflip2(x);
    x += vflip1(x);
    return __builtin_shufflevector(x, x, 0, 4, 8, 12);
}
#elif KL_LANES == 8
static inline vf vflip4(vf x)
{
    return __builtin_shufflevector(x, x, 4, 5, 6, 7, 0, 1, 2, 3);
}
static inline vf vflip2(vf x)
{
    return __builtin_shufflevector(x, x, 2, 3, 0, 1, 6, 7, 4, 5);
}
static inline vf vflip1(vf x)
{
    return __builtin_shufflevector(x, x, 1, 0, 3, 2, 5, 4, 7, 6);
}
static inline vf vfold_pair(vf a, vf b)
{
    return __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11) +
           __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15);
}
static inline vf4 vsum4(vf a, vf b, vf c, vf d)
{
    vf ab = vfold_pair(a, b), cd = vfold_pair(c, d);
    vf x = __builtin_shufflevector(ab, cd, 0, 1, 4, 5, 8, 9, 12, 13) +
           __builtin_shufflevector(ab, cd, 2, 3, 6, 7, 10, 11, 14, 15);
    x += vflip1(x);
    return __builtin_shufflevector(x, x, 0, 2, 4, 6);
}
#else
#error "vec/reduce.h knows vectors of 8 and 16 lanes"
#endif

/** The largest lane; what a NaN does to it is not defined. */
static inline float vlargest(vf x)
{
#if KL_LANES == 16
    x = vmax(x, vflip8(x));
#endif
    x = vmax(x, vflip4(x));
    x = vmax(x, vflip2(x));
    x = vmax(x, vflip1(x));
    return x[0];
}

#endif
