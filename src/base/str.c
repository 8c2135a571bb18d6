#include "base/str.h"

#include <stdint.h>

/* Bytes of the well-formed character that starts at p (Unicode standard, table 3-7); 0 when there is none. */
static size_t character_bytes(const unsigned char *p, size_t left)
{
    if (p[0] < 0x80)
        return 1;
    if (p[0] < 0xc2 || p[0] > 0xf4)
        return 0;
    size_t n = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    if (n > left)
        return 0;
    unsigned low = p[0] == 0xe0 ? 0xa0 : p[0] == 0xf0 ? 0x90 : 0x80;
    unsigned high = p[0] == 0xed ? 0x9f : p[0] == 0xf4 ? 0x8f : 0xbf;
    if (p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < n; i++)
        if (p[i] < 0x80 || p[i] > 0xbf)
            return 0;
    return n;
}

bool kl__utf8_valid(struct kl__str s)
{
    for (size_t i = 0; i < s.bytes;) {
        size_t n = character_bytes((const unsigned char *)s.at + i, s.bytes - i);
        if (n == 0)
            return false;
        i += n;
    }
    return true;
}

enum { ROOM = 80 };

/* Appends the character at p, or '?', and returns how far to move on. */
static size_t show(struct kl__shown *to, size_t *length, const char *p, size_t left)
{
    size_t n = character_bytes((const unsigned char *)p, left);
    bool printable = n > 1 || (n == 1 && *p >= ' ' && *p != 0x7f);
    memcpy(to->text + *length, printable ? p : "?", printable ? n : 1);
    *length += printable ? n : 1;
    return n ? n : 1;
}

struct kl__shown kl__shown(struct kl__str s)
{
    struct kl__shown to = {0};
    size_t length = 0;
    for (size_t i = 0; i < s.bytes;) {
        if (length > ROOM - 4) {
            memcpy(to.text + length, "...", 4);
            break;
        }
        i += show(&to, &length, s.at + i, s.bytes - i);
    }
    return to;
}

struct kl__shown kl__shown_path(const char *path)
{
    size_t bytes = strlen(path), skip = bytes > ROOM - 4 ? bytes - (ROOM - 4) : 0, length = 0;
    struct kl__shown to = {0};
    if (skip) {
        memcpy(to.text, "...", 3);
        length = 3;
        while (skip < bytes && ((unsigned char)path[skip] & 0xc0) == 0x80)
            skip++;
    }
    for (size_t i = skip; i < bytes;)
        i += show(&to, &length, path + i, bytes - i);
    return to;
}
