#include "measuring.h"

#include "ceiling.h"

#define AT(x) .field = offsetof(struct ka_measuring, x)
const struct ka_option ka_measuring_options[] = {
    {.name = "reps",
     .value = "N",
     .kind = KA_NUMBER,
     AT(reps),
     .min = 1,
     .max = KA_SAMPLES,
     .help = "rounds, of which the median counts;\ndefault: 3, and 7 for operators"},
    {.name = "dram-mib",
     .value = "N",
     .kind = KA_NUMBER,
     AT(dram_mib),
     .min = 0,
     .max = 1 << 20,
     .help = "MiB to go through when DRAM is measured;\ndefault: twice the last cache, at least 256"},
    {.name = "csv", .kind = KA_FLAG, AT(csv), .help = "print CSV"},
    {.name = "json", .kind = KA_FLAG, AT(json), .help = "print JSON"},
    {0},
};
