/** How much memory there is: the machine's, or that of the container around this process where it may have less. */
#ifndef KL_BASE_RAM_H
#define KL_BASE_RAM_H

#include <stdint.h>

struct kl__ram {
    int64_t bytes;
    int64_t free_bytes; /* what can be had without swapping; pages of files that can be given up count */
};

/** Of this machine, now.   Cost: a few small files of /proc and /sys. */
struct kl__ram kl__ram(void);

/** The same, where /proc and /sys lie below `root`: "" for this machine, a folder for a test.  Limits are those of
 *  control groups, version 2 or 1: of the group that /proc/self/cgroup names, and of all above it.   [T: unit/ram] */
struct kl__ram kl__ram_below(const char *root);

#endif
