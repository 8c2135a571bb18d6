/** exp and log that give the same bits everywhere: additions, multiplications and divisions in double, in a fixed
 *  order.  The C library's differ from machine to machine in the last bit, which could change which token is drawn.
 *  The room is compiled without fused multiplication (CMakeLists.txt), and must not be compiled with -ffast-math. */
#ifndef KL_TEXT_FIXED_H
#define KL_TEXT_FIXED_H

#include <stdint.h>
#include <string.h>

static inline double kl__double_of_bits(uint64_t bits)
{
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/** e^x for x <= 0; 0 below -708, where results would be subnormal.  Relative error below 1e-15. */
static inline double kl__exp(double x)
{
    const double log2e = 1.4426950408889634, ln2_high = 0x1.62e42fefa38p-1, ln2_low = 0x1.ef35793c7673p-45;
    const double to_integer = 0x1.8p52; /* adding it rounds to an integer, in the low bits of the sum */
    if (!(x >= -708))
        return 0;
    double k = (x * log2e + to_integer) - to_integer, r = (x - k * ln2_high) - k * ln2_low;
    /* The series of e^r, |r| <= ln(2) / 2: r^14 / 14! is 4e-18. */
    double p = 1 / 6227020800.0;
    p = p * r + 1 / 479001600.0;
    p = p * r + 1 / 39916800.0;
    p = p * r + 1 / 3628800.0;
    p = p * r + 1 / 362880.0;
    p = p * r + 1 / 40320.0;
    p = p * r + 1 / 5040.0;
    p = p * r + 1 / 720.0;
    p = p * r + 1 / 120.0;
    p = p * r + 1 / 24.0;
    p = p * r + 1 / 6.0;
    p = p * r + 0.5;
    p = p * r + 1;
    p = p * r + 1;
    return p * kl__double_of_bits((uint64_t)((int64_t)k + 1023) << 52);
}

/** ln x for normal x > 0.  Absolute error below 1e-15 * max(1, |ln x|). */
static inline double kl__log(double x)
{
    const double ln2_high = 0x1.62e42fefa38p-1, ln2_low = 0x1.ef35793c7673p-45;
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    int64_t k = (int64_t)(bits >> 52) - 1023;
    double m = kl__double_of_bits((bits & 0xfffffffffffff) | (uint64_t)1023 << 52);
    if (m > 1.4142135623730951) {
        m *= 0.5;
        k++;
    }
    /* ln m = 2 artanh s, |s| <= 0.1716: s^23 / 23 is 1e-19. */
    double s = (m - 1) / (m + 1), t = s * s, p = 1 / 21.0;
    p = p * t + 1 / 19.0;
    p = p * t + 1 / 17.0;
    p = p * t + 1 / 15.0;
    p = p * t + 1 / 13.0;
    p = p * t + 1 / 11.0;
    p = p * t + 1 / 9.0;
    p = p * t + 1 / 7.0;
    p = p * t + 1 / 5.0;
    p = p * t + 1 / 3.0;
    p = p * t + 1;
    return (double)k * ln2_high + ((double)k * ln2_low + 2 * s * p);
}

#endif
