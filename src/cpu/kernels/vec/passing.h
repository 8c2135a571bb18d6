/** Weights that go by once, as fast as memory gives them.  They are asked for twice: FAR bytes before their use into
 *  the second-level cache, and NEAR bytes before it into the first.  A whole panel ahead, or with half the distances,
 *  memory idles: both were measured (docs/performance.md). */
#ifndef KL_CPU_PASSING_H
#define KL_CPU_PASSING_H

#include <stdint.h>

enum { FAR = 16384, NEAR = 2048, LINE = 64 };

/* What comes `distance` bytes after `at`, when `ahead` follows on `end`. */
static inline __attribute__((always_inline)) const uint8_t *passing_after(const uint8_t *at, const uint8_t *end,
                                                                          const uint8_t *ahead, int64_t distance)
{
    int64_t left = end - at;
    return left > distance ? at + distance : ahead + (distance - left);
}

/* Asks for what comes FAR and NEAR after bytes first .. last - 1 behind `at`. */
static inline __attribute__((always_inline)) void fetch_passing(const uint8_t *at, const uint8_t *end,
                                                                const uint8_t *ahead, int64_t first, int64_t last)
{
    const uint8_t *far = passing_after(at + first, end, ahead, FAR);
    const uint8_t *near = passing_after(at + first, end, ahead, NEAR);
    for (int64_t i = 0; i < last - first; i += LINE) {
        __builtin_prefetch(far + i, 0, 2);
        __builtin_prefetch(near + i, 0, 3);
    }
}

#endif
