/** Where the time of steps goes: sums of time, bytes and operations by layer and part.  Off, it costs a comparison for
 *  each operator; on, two looks at the clock. */
#ifndef KL_MODEL_WATCH_H
#define KL_MODEL_WATCH_H

#include "klinear/kl/model.h"

enum kl__step_part {
#define PART(name, what) KL__PART_##name,
#include "model/parts.def"
#undef PART
    KL__N_PART,
};

/** What one call does, counted in the definition's terms: weights and states that have to be read (states written,
 *  too), operations of products and recurrences. */
struct kl__effort {
    double bytes, flops;
};

/** Seconds on a clock that only goes forward; 0 where nothing is watched. */
double kl__watch_clock(const kl_spent *spent);
/** Adds a call that began at `from` to row `layer` (-1: outside of layers, the last one of n_layer + 1). */
void kl__watch_took(kl_spent *spent, int n_layer, int layer, enum kl__step_part part, struct kl__effort effort,
                    double from);

#endif
