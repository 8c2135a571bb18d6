/** Numbers of two vectors in other places.
 *    vlow1, vhigh1, vlow2, vhigh2   inside every four lanes, one instruction each: pairs of a and b interleaved, by one
 *                                   number and by two
 *    vevens, vodds                  numbers 0, 2, 4 .. and 1, 3, 5 .. of a and behind it b
 *    vzip_low, vzip_high            their inverse: a[0] b[0] a[1] b[1] .. */
#ifndef KL_CPU_VEC_SHUFFLE_H
#define KL_CPU_VEC_SHUFFLE_H

#include "cpu/kernels/vec/vec.h"

#if KL_LANES == 8
static inline vf vlow1(vf a, vf b)
{
    return __builtin_shufflevector(a, b, 0, 8, 1, 9, 4, 12, 5, 13);
}
static inline vf vhigh1(vf a, vf b)
{
    return __builtin_shufflevector(a, b, 2, 10, 3, 11, 6, 14, 7, 15);
}
static inline vf vlow2(vf a, vf b)
{
    return __builtin_shufflevector(a, b, 0, 1, 8, 9, 4, 5, 12, 13);
}
static inline vf vhigh2(vf a, vf b)
{
    return __builtin_shufflevector(a, b, 2, 3, 10, 11, 6, 7, 14, 15);
}
static inline vf vevens(vf a, vf b)
{
    return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14);
}
static inline vf vodds(vf a, vf b)
{
    return __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15);
}
static inline vf vzip_low(vf a, vf b)
{
    return __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
}
static inline vf vzip_high(vf a, vf b)
{
    return __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
}
#elif KL_LANES == 16
static inline vf vlow1(vf a, vf b)
{
    return __builtin_shufflevector(a, b, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29);
}
static inline vf vhigh1(vf a, vf b)
{
    return __builtin_shufflevector(a, b, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
}
static inline vf vlow2(vf a, vf b)
{
    return __builtin_shufflevector(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29);
}
static inline vf vhigh2(vf a, vf b)
{
    return __builtin_shufflevector(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
}
static inline vf vevens(vf a, vf b)
{
    return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
}
static inline vf vodds(vf a, vf b)
{
    return __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
}
static inline vf vzip_low(vf a, vf b)
{
    return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}
static inline vf vzip_high(vf a, vf b)
{
    return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}
#endif

#endif
