#include "rows.h"

#include <math.h>

/* ---- the table: columns with a space between them */

static void table_TEXT(FILE *out, int width, ka_TEXT text)
{
    fprintf(out, "%*s ", width, text);
}

static void table_INTEGER(FILE *out, int width, ka_INTEGER n)
{
    fprintf(out, "%*lld ", width, (long long)n);
}

static void table_NUMBER(FILE *out, int width, ka_NUMBER x)
{
    if (isfinite(x))
        fprintf(out, "%*.*f ", width, x < 10 ? 2 : x < 1000 ? 1 : 0, x);
    else
        table_TEXT(out, width, "-");
}

static void table_FRACTION(FILE *out, int width, ka_FRACTION x)
{
    if (isfinite(x))
        fprintf(out, "%*.1f %%", width - 2, 100 * x);
    else
        table_TEXT(out, width, "-");
}

void ka_rows_table_head(FILE *out)
{
#define FIELD(name, kind, heading, width) table_TEXT(out, width, heading);
#include "rows.def"
#undef FIELD
    fputc('\n', out);
}

void ka_row_table(FILE *out, const struct ka_row *row)
{
#define FIELD(name, kind, heading, width) table_##kind(out, width, row->name);
#include "rows.def"
#undef FIELD
    fputc('\n', out);
}

/* ---- CSV: a comma before every field but the first; nothing that is printed needs quotes */

static void csv_TEXT(FILE *out, ka_TEXT text)
{
    fputs(text, out);
}

static void csv_INTEGER(FILE *out, ka_INTEGER n)
{
    fprintf(out, "%lld", (long long)n);
}

static void csv_NUMBER(FILE *out, ka_NUMBER x)
{
    if (isfinite(x)) /* an empty field: not known */
        fprintf(out, "%.6g", x);
}

static void csv_FRACTION(FILE *out, ka_FRACTION x)
{
    csv_NUMBER(out, x);
}

void ka_rows_csv_head(FILE *out)
{
    const char *comma = "";
#define FIELD(name, kind, heading, width) fprintf(out, "%s" #name, comma), comma = ",";
#include "rows.def"
#undef FIELD
    fputc('\n', out);
}

void ka_row_csv(FILE *out, const struct ka_row *row)
{
    const char *comma = "";
#define FIELD(name, kind, heading, width) fputs(comma, out), csv_##kind(out, row->name), comma = ",";
#include "rows.def"
#undef FIELD
    fputc('\n', out);
}

/* ---- JSON */

static void json_TEXT(struct ka_json *j, const char *key, ka_TEXT text)
{
    ka_json_text(j, key, text);
}

static void json_INTEGER(struct ka_json *j, const char *key, ka_INTEGER n)
{
    ka_json_integer(j, key, n);
}

static void json_NUMBER(struct ka_json *j, const char *key, ka_NUMBER x)
{
    ka_json_number(j, key, x);
}

static void json_FRACTION(struct ka_json *j, const char *key, ka_FRACTION x)
{
    ka_json_number(j, key, x);
}

void ka_row_json(struct ka_json *j, const struct ka_row *row)
{
    ka_json_open(j, NULL, '{');
#define FIELD(name, kind, heading, width) json_##kind(j, #name, row->name);
#include "rows.def"
#undef FIELD
    ka_json_close(j, '}');
}
