/** Where the time of a case goes: one more sample of it, watched, as a table of parts and one of layers. */
#ifndef KA_PROFILE_H
#define KA_PROFILE_H

#include "../cli/json.h"

#include "klinear/kl.h"

struct ka_profile {
    const char *phase; /* of the case */
    int64_t tokens, depth;
    int batch, n_layer;
    double seconds;             /* of the sample, with what is outside of the parts */
    double peak_flops, peak_bytes; /* ceilings, a second */
    kl_spent *spent;            /* [n_layer + 1][KL_N_PART] */
};

/** Begins to watch; false: no memory. */
bool ka_profile_begin(struct ka_profile *p, kl_engine *engine);
/** Ends that.  `seconds`: what the sample took. */
void ka_profile_end(struct ka_profile *p, kl_engine *engine, double seconds);
/** Parts, the longest first: time, share, work a second, and what is reached of the nearer ceiling; then every layer's
 *  time by part. */
void ka_profile_print(FILE *out, const struct ka_profile *p);
/** One object: phase, tokens, depth, batch, seconds, and an array of what was spent by layer and part. */
void ka_profile_json(struct ka_json *j, const struct ka_profile *p);
void ka_profile_free(struct ka_profile *p);

#endif
