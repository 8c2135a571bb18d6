/** Results as rows of fields, and the three ways to print them: table, CSV, JSON. */
#ifndef KA_FIELDS_H
#define KA_FIELDS_H

#include "json.h"

#include <stddef.h>
#include <stdint.h>

/** What a field is in the struct of its row, and how it looks. */
enum ka_field_kind {
    KA_FIELD_TEXT,     /* const char * */
    KA_FIELD_INTEGER,  /* int64_t */
    KA_FIELD_BYTES,    /* int64_t; in a table with its unit */
    KA_FIELD_NUMBER,   /* double; NaN: not known */
    KA_FIELD_FRACTION, /* double; in a table as percent */
};

/** C types of the fields of a row, for lists of FIELD(name, kind, heading, width). */
typedef const char *ka_TEXT;
typedef int64_t ka_INTEGER;
typedef int64_t ka_BYTES;
typedef double ka_NUMBER;
typedef double ka_FRACTION;

struct ka_field {
    const char *name; /* in CSV and JSON; NULL ends the list */
    enum ka_field_kind kind;
    const char *heading;
    int width;     /* of the column; negative: from the left */
    size_t offset; /* in the struct of a row */
};

void ka_table_head(FILE *out, const struct ka_field *fields);
void ka_table_row(FILE *out, const struct ka_field *fields, const void *row);
void ka_csv_head(FILE *out, const struct ka_field *fields);
void ka_csv_row(FILE *out, const struct ka_field *fields, const void *row);
/** One object. */
void ka_json_row(struct ka_json *j, const struct ka_field *fields, const void *row);

#endif
