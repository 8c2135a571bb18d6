#include "json.h"

#include "base/str.h"

#include <math.h>
#include <string.h>

/* Bytes of the well-formed character that begins at `c`, of which `n` bytes are there; 0: there is none. */
static size_t character(const unsigned char *c, size_t n)
{
    size_t length = *c < 0x80 ? 1 : *c < 0xE0 ? 2 : *c < 0xF0 ? 3 : 4;
    return length <= n && kl__utf8_valid((struct kl__str){(const char *)c, length}) ? length : 0;
}

/* JSON is UTF-8: a byte of anything else shows as U+FFFD. */
static void put_text(FILE *out, const char *text, size_t bytes)
{
    fputc('"', out);
    for (size_t i = 0; i < bytes;) {
        const unsigned char *c = (const unsigned char *)text + i;
        size_t length = character(c, bytes - i);
        if (*c == '"' || *c == '\\')
            fprintf(out, "\\%c", *c);
        else if (*c < 0x20)
            fprintf(out, "\\u%04x", *c);
        else if (length)
            fwrite(c, 1, length, out);
        else
            fputs("\\ufffd", out);
        i += length ? length : 1;
    }
    fputc('"', out);
}

static void begin_value(struct ka_json *j, const char *key)
{
    if (j->filled[j->depth])
        fputc(',', j->out);
    if (j->depth > 0 && !j->compact)
        fprintf(j->out, "\n%*s", 2 * j->depth, "");
    j->filled[j->depth] = true;
    if (key) {
        put_text(j->out, key, strlen(key));
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
    if (filled && !j->compact)
        fprintf(j->out, "\n%*s", 2 * j->depth, "");
    fputc(bracket, j->out);
    if (j->depth == 0 && !j->compact)
        fputc('\n', j->out);
}

void ka_json_bytes(struct ka_json *j, const char *key, const char *text, size_t bytes)
{
    begin_value(j, key);
    put_text(j->out, text, bytes);
}

void ka_json_text(struct ka_json *j, const char *key, const char *text)
{
    ka_json_bytes(j, key, text, strlen(text));
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
        fprintf(j->out, "%.*g", j->digits ? j->digits : 6, x);
    else
        fputs("null", j->out);
}

void ka_json_flag(struct ka_json *j, const char *key, bool value)
{
    begin_value(j, key);
    fputs(value ? "true" : "false", j->out);
}
