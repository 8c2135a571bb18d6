/** Event files of TensorBoard: scalars by step. */
#ifndef KA_EVENTS_H
#define KA_EVENTS_H

#include <stdint.h>
#include <stdio.h>

struct ka_event {
    const char *tag;
    double value; /* NaN: left out */
};

/** What every file begins with. */
void ka_events_begin(FILE *out);
/** Some scalars of one step. */
void ka_events_put(FILE *out, int64_t step, const struct ka_event *event, int n);

#endif
