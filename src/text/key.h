/** Short texts as numbers, which compare faster. */
#ifndef KL_TEXT_KEY_H
#define KL_TEXT_KEY_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t kl__read64(const unsigned char *p)
{
    uint64_t x;
    memcpy(&x, p, sizeof x);
    return x;
}

static inline uint64_t kl__read32(const unsigned char *p)
{
    uint32_t x;
    memcpy(&x, p, sizeof x);
    return x;
}

/** Up to eight bytes as one number, without a look at what lies behind them.  Texts of equal length have equal numbers
 *  only if they are equal. */
static inline uint64_t kl__short_key(const unsigned char *p, size_t n)
{
    if (n >= 4)
        return kl__read32(p) | kl__read32(p + n - 4) << 8 * (n - 4);
    return n == 0 ? 0 : (uint64_t)p[n - 1] << 8 * (n - 1) | (uint64_t)p[n / 2] << 8 * (n / 2) | p[0];
}

#endif
