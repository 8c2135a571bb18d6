/** How a bench measures and prints: options that all of them have. */
#ifndef KA_MEASURING_H
#define KA_MEASURING_H

#include "../cli/options.h"

struct ka_measuring {
    int64_t reps;     /* rounds */
    int64_t dram_mib; /* see ka_machine */
    bool csv, json;
};
extern const struct ka_option ka_measuring_options[];

#endif
