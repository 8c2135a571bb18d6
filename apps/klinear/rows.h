/** One result of klinear bench ops, and the three ways to print it. */
#ifndef KA_ROWS_H
#define KA_ROWS_H

#include "json.h"

#include <stdint.h>

typedef const char *ka_TEXT;
typedef int64_t ka_INTEGER;
typedef double ka_NUMBER;
typedef double ka_FRACTION;

struct ka_row {
#define FIELD(name, kind, heading, width) ka_##kind name;
#include "rows.def"
#undef FIELD
};

void ka_rows_table_head(FILE *out);
void ka_row_table(FILE *out, const struct ka_row *row);
void ka_rows_csv_head(FILE *out);
void ka_row_csv(FILE *out, const struct ka_row *row);
void ka_row_json(struct ka_json *j, const struct ka_row *row);

#endif
