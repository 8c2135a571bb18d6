#include "json.h"

#include <math.h>

static void put_text(FILE *out, const char *text)
{
    fputc('"', out);
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c == '"' || *c == '\\')
            fprintf(out, "\\%c", *c);
        else if (*c < 0x20)
            fprintf(out, "\\u%04x", *c);
        else
            fputc(*c, out);
    }
    fputc('"', out);
}

static void begin_value(struct ka_json *j, const char *key)
{
    if (j->filled[j->depth])
        fputc(',', j->out);
    if (j->depth > 0)
        fprintf(j->out, "\n%*s", 2 * j->depth, "");
    j->filled[j->depth] = true;
    if (key) {
        put_text(j->out, key);
        fputs(": ", j->out);
    }
}

void ka_json_open(struct ka_json *j, const char *key, char bracket)
{
    begin_value(j, key);
    fputc(bracket, j->out);
    j->filled[++j->depth] = false;
}

void ka_json_close(struct ka_json *j, char bracket)
{
    bool filled = j->filled[j->depth--];
    if (filled)
        fprintf(j->out, "\n%*s", 2 * j->depth, "");
    fputc(bracket, j->out);
    if (j->depth == 0)
        fputc('\n', j->out);
}

void ka_json_text(struct ka_json *j, const char *key, const char *text)
{
    begin_value(j, key);
    put_text(j->out, text);
}

void ka_json_integer(struct ka_json *j, const char *key, int64_t n)
{
    begin_value(j, key);
    fprintf(j->out, "%lld", (long long)n);
}

void ka_json_number(struct ka_json *j, const char *key, double x)
{
    begin_value(j, key);
    if (isfinite(x))
        fprintf(j->out, "%.6g", x);
    else
        fputs("null", j->out);
}
