#include "fields.h"

#include "amount.h"

#include <math.h>

union value {
    ka_TEXT text;
    ka_INTEGER integer;
    ka_NUMBER number;
};

static union value value_of(const struct ka_field *f, const void *row)
{
    const char *at = (const char *)row + f->offset;
    union value v = {.integer = 0};
    switch (f->kind) {
    case KA_FIELD_TEXT:
        v.text = *(const ka_TEXT *)(const void *)at;
        break;
    case KA_FIELD_INTEGER:
    case KA_FIELD_BYTES:
        v.integer = *(const ka_INTEGER *)(const void *)at;
        break;
    default:
        v.number = *(const ka_NUMBER *)(const void *)at;
    }
    return v;
}

/* ---- the table: columns with a space between them */

static void table_number(FILE *out, const struct ka_field *f, double x)
{
    if (!isfinite(x))
        fprintf(out, "%*s ", f->width, "-");
    else if (f->kind == KA_FIELD_FRACTION)
        fprintf(out, "%*.1f %%", f->width - 2, 100 * x);
    else
        fprintf(out, "%*.*f ", f->width, x < 10 ? 2 : x < 1000 ? 1 : 0, x);
}

void ka_table_head(FILE *out, const struct ka_field *fields)
{
    for (const struct ka_field *f = fields; f->name; f++)
        fprintf(out, "%*s ", f->width, f->heading);
    fputc('\n', out);
}

void ka_table_row(FILE *out, const struct ka_field *fields, const void *row)
{
    for (const struct ka_field *f = fields; f->name; f++) {
        union value v = value_of(f, row);
        if (f->kind == KA_FIELD_TEXT)
            fprintf(out, "%*s ", f->width, v.text);
        else if (f->kind == KA_FIELD_INTEGER)
            fprintf(out, "%*lld ", f->width, (long long)v.integer);
        else if (f->kind == KA_FIELD_BYTES)
            fprintf(out, "%*s ", f->width, ka_bytes((double)v.integer).text);
        else
            table_number(out, f, v.number);
    }
    fputc('\n', out);
}

/* ---- CSV: a comma before every field but the first; nothing that is printed needs quotes */

void ka_csv_head(FILE *out, const struct ka_field *fields)
{
    for (const struct ka_field *f = fields; f->name; f++)
        fprintf(out, "%s%s", f == fields ? "" : ",", f->name);
    fputc('\n', out);
}

void ka_csv_row(FILE *out, const struct ka_field *fields, const void *row)
{
    for (const struct ka_field *f = fields; f->name; f++) {
        union value v = value_of(f, row);
        fputs(f == fields ? "" : ",", out);
        if (f->kind == KA_FIELD_TEXT)
            fputs(v.text, out);
        else if (f->kind == KA_FIELD_INTEGER || f->kind == KA_FIELD_BYTES)
            fprintf(out, "%lld", (long long)v.integer);
        else if (isfinite(v.number)) /* an empty field: not known */
            fprintf(out, "%.6g", v.number);
    }
    fputc('\n', out);
}

/* ---- JSON */

void ka_json_row(struct ka_json *j, const struct ka_field *fields, const void *row)
{
    ka_json_open(j, NULL, '{');
    for (const struct ka_field *f = fields; f->name; f++) {
        union value v = value_of(f, row);
        if (f->kind == KA_FIELD_TEXT)
            ka_json_text(j, f->name, v.text);
        else if (f->kind == KA_FIELD_INTEGER || f->kind == KA_FIELD_BYTES)
            ka_json_integer(j, f->name, v.integer);
        else
            ka_json_number(j, f->name, v.number);
    }
    ka_json_close(j, '}');
}
