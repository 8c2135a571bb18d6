/** Random numbers that are the same everywhere: hashes of a key and a place, or one after the other. */
#ifndef KL_BASE_RANDOM_H
#define KL_BASE_RANDOM_H

#include <stdint.h>

/** A hash of 64 bits: the end of SplitMix64. */
static inline uint64_t kl__mix(uint64_t z)
{
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

/** Number `i` of those that `key` stands for, each independent of the others. */
static inline uint64_t kl__random_at(uint64_t key, uint64_t i)
{
    return kl__mix(key + i * 0x9e3779b97f4a7c15);
}

/** The same within [0, 1). */
static inline double kl__uniform_at(uint64_t key, uint64_t i)
{
    return (double)(kl__random_at(key, i) >> 11) * 0x1p-53;
}

/** One number after the other. */
struct kl__random {
    uint64_t key, i;
};

/** Numbers that depend on both arguments. */
static inline struct kl__random kl__random(uint64_t seed, uint64_t stream)
{
    return (struct kl__random){kl__mix(kl__mix(seed + 0x9e3779b97f4a7c15) + stream), 0};
}

/** 0 .. n - 1; n is far below 2^63, so that no number is likelier than another to speak of. */
static inline int64_t kl__random_below(struct kl__random *r, int64_t n)
{
    return (int64_t)(kl__random_at(r->key, r->i++) % (uint64_t)n);
}

#endif
