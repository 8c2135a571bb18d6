#include "timed.h"

const char *const ka_pass_name[KA_PASSES + 1] = {"forward", "backward", "forward-keeping", "backward-kept",
                                                   "step", NULL};

#define TIMED(name) extern const struct ka_timed ka_timed_##name;
#include "timed.def"
#undef TIMED

static const struct ka_timed *const timed[] = {
#define TIMED(name) &ka_timed_##name,
#include "timed.def"
#undef TIMED
    NULL,
};

const char *const ka_timed_name[] = {
#define TIMED(name) #name,
#include "timed.def"
#undef TIMED
    "all",
    NULL,
};

const struct ka_timed *ka_timed_at(int i)
{
    return timed[i];
}

void ka_square_head(int64_t dim, int64_t *K, int64_t *V)
{
    *K = *V = dim;
}
