/** One result of klinear bench ops. */
#ifndef KA_ROWS_H
#define KA_ROWS_H

#include "../cli/fields.h"

struct ka_row {
#define FIELD(name, kind, heading, width) ka_##kind name;
#include "rows.def"
#undef FIELD
};

/** Fields of a struct ka_row. */
extern const struct ka_field ka_row_fields[];

#endif
