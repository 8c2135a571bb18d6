#include "model/spelling.h"

static bool visible(unsigned b)
{
    return (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
}

unsigned kl__byte_point(unsigned char byte)
{
    unsigned hidden = 0;
    if (visible(byte))
        return byte;
    for (unsigned b = 0; b < byte; b++)
        hidden += !visible(b);
    return 0x100 + hidden;
}

size_t kl__spell(char *to, const void *data, size_t bytes)
{
    const unsigned char *byte = data;
    size_t n = 0;
    for (size_t i = 0; i < bytes; i++) {
        unsigned point = kl__byte_point(byte[i]);
        if (point < 0x80) {
            to[n++] = (char)point;
            continue;
        }
        to[n++] = (char)(0xc0 | point >> 6);
        to[n++] = (char)(0x80 | (point & 0x3f));
    }
    return n;
}
