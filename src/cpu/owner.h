/** Which of several owners a numbered task belongs to. */
#ifndef KL_CPU_OWNER_H
#define KL_CPU_OWNER_H

#include <stdint.h>

/** Owner i (0 .. n-1, n >= 1) has the tasks first[i] .. first[i+1]-1, perhaps none; returns the owner of `task`. */
static inline int64_t kl__owner(const int64_t *first, int64_t n, int64_t task)
{
    int64_t low = 0, high = n;
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        if (first[middle] <= task)
            low = middle;
        else
            high = middle;
    }
    return low;
}

#endif
