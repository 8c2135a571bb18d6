/** What the model did while it read and wrote, told beside the answer to those who ask for it: docs/trace.md. */
#ifndef KS_TRACES_H
#define KS_TRACES_H

#include "generation.h"

/** Reads the field "trace": "new" or "all".  False: refused. */
bool ks_read_trace(struct ks_generation *g, const struct ks_fields *f);
/** Before its request is submitted.  False: refused. */
bool ks_open_trace(struct ks_generation *g, struct ks_problem *p);
/** On the thread that steps: a chunk, unless the last one was just now.  `done`: the last one, in any case. */
void ks_tell_trace(struct ks_generation *g, bool done);

#endif
