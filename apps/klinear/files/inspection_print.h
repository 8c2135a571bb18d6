/** What klinear inspect has found, on standard output. */
#ifndef KA_INSPECTION_PRINT_H
#define KA_INSPECTION_PRINT_H

#include "inspection.h"

/** `list`: every tensor as well. */
void ka_inspection_text(const struct ka_inspection *i, bool list);
void ka_inspection_json(const struct ka_inspection *i, bool list);

/** Of the output gate: "sigmoid", "silu", "none". */
const char *ka_gate_name(const kl_config *c);

#endif
