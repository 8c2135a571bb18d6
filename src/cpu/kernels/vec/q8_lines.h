/** What products of 8-bit activations with panels load. */
#ifndef KL_CPU_Q8_LINES_H
#define KL_CPU_Q8_LINES_H

#include "cpu/kernels/vec/vec.h"

static inline vu at_line(const uint8_t *q)
{
    vu x;
    __builtin_memcpy(&x, q, sizeof x);
    return x;
}

static inline vi broadcast4(const char *p)
{
    int32_t x;
    __builtin_memcpy(&x, p, sizeof x);
    return x - (vi){0};
}

static inline vf broadcast_float(const char *p)
{
    float x;
    __builtin_memcpy(&x, p, sizeof x);
    return vset(x);
}

#endif
