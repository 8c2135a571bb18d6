#include "bytes.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool ks_room(struct ks_bytes *b, size_t more)
{
    if (more <= b->room - b->n)
        return true;
    if (more > SIZE_MAX / 4 - b->n)
        return false;
    size_t room = 2 * b->room > b->n + more ? 2 * b->room : b->n + more + 64;
    char *data = realloc(b->data, room);
    if (!data)
        return false;
    b->data = data;
    b->room = room;
    return true;
}

bool ks_add(struct ks_bytes *b, const void *data, size_t n)
{
    if (!ks_room(b, n))
        return false;
    if (n)
        memcpy(b->data + b->n, data, n);
    b->n += n;
    return true;
}

bool ks_add_text(struct ks_bytes *b, const char *text)
{
    return ks_add(b, text, strlen(text));
}

bool ks_addf(struct ks_bytes *b, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return n >= 0 && ks_add(b, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
}

void ks_take(struct ks_bytes *b, size_t n)
{
    if (n)
        memmove(b->data, b->data + n, b->n - n);
    b->n -= n;
}

void ks_free(struct ks_bytes *b)
{
    free(b->data);
    *b = (struct ks_bytes){0};
}
