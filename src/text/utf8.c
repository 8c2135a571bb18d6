#include "text/unicode.h"

/* Continuation bytes that the lead byte asks for; -1 for a byte that leads nothing. */
static int following(unsigned char lead)
{
    if (lead < 0x80)
        return 0;
    if (lead < 0xc2 || lead > 0xf4)
        return -1;
    return lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3;
}

/* Unicode standard, table 3-7: only the second byte depends on the first. */
static bool follows(const unsigned char *p, int i)
{
    unsigned low = 0x80, high = 0xbf;
    if (i == 1) {
        low = p[0] == 0xe0 ? 0xa0 : p[0] == 0xf0 ? 0x90 : 0x80;
        high = p[0] == 0xed ? 0x9f : p[0] == 0xf4 ? 0x8f : 0xbf;
    }
    return p[i] >= low && p[i] <= high;
}

struct kl__utf8_part kl__utf8_part(const unsigned char *p, size_t left)
{
    int n = following(p[0]);
    if (n < 0)
        return (struct kl__utf8_part){.bytes = 1};
    for (int i = 1; i <= n; i++)
        if ((size_t)i == left || !follows(p, i))
            return (struct kl__utf8_part){.bytes = (uint8_t)i, .cut = (size_t)i == left};
    return (struct kl__utf8_part){.bytes = (uint8_t)(n + 1), .whole = true};
}
