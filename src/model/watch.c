#include "model/watch.h"

#include <time.h>

_Static_assert((int)KL__N_PART == (int)KL_N_PART, "the public count");

const char *kl_part_name(int part)
{
    static const char *const name[] = {
#define PART(name, what) #name,
#include "model/parts.def"
#undef PART
    };
    return part >= 0 && part < KL_N_PART ? name[part] : NULL;
}

double kl__watch_clock(const kl_spent *spent)
{
    struct timespec now;
    if (!spent || clock_gettime(CLOCK_MONOTONIC, &now))
        return 0;
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void kl__watch_took(kl_spent *spent, int n_layer, int layer, enum kl__step_part part, struct kl__effort effort,
                    double from)
{
    if (!spent)
        return;
    kl_spent *s = &spent[(layer < 0 ? n_layer : layer) * KL__N_PART + (int)part];
    s->seconds += kl__watch_clock(spent) - from;
    s->bytes += effort.bytes;
    s->flops += effort.flops;
    s->n_call++;
}
