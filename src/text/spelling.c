#include "text/spelling.h"

/* Prints as a character of Latin-1, b < 256. */
static bool visible(unsigned b)
{
    return (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
}

uint32_t kl__byte_point(unsigned char byte)
{
    uint32_t hidden = 0;
    if (visible(byte))
        return byte;
    for (unsigned b = 0; b < byte; b++)
        hidden += !visible(b);
    return 0x100 + hidden;
}

/* The 68 bytes that do not print follow U+0100 in their order: 00 .. 20, 7f .. a0, ad. */
int kl__point_byte(uint32_t point)
{
    if (point <= 0xff)
        return visible(point) ? (int)point : -1;
    if (point >= 0x100 && point <= 0x120)
        return (int)(point - 0x100);
    if (point >= 0x121 && point <= 0x142)
        return (int)(point - 0x121 + 0x7f);
    return point == 0x143 ? 0xad : -1;
}

size_t kl__spell(char *to, const void *data, size_t bytes)
{
    const unsigned char *byte = data;
    size_t n = 0;
    for (size_t i = 0; i < bytes; i++) {
        uint32_t point = kl__byte_point(byte[i]);
        if (point < 0x80) {
            to[n++] = (char)point;
            continue;
        }
        to[n++] = (char)(0xc0 | point >> 6);
        to[n++] = (char)(0x80 | (point & 0x3f));
    }
    return n;
}
