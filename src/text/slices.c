/* The limits of the reference's encode(): blocks of 400,000 characters, cut where 25,000 are all space or all not. */
#include "text/pieces.h"
#include "text/unicode.h"

#include <assert.h>

/* ---------------------------------------------------------------------------------------------------------- runs -- */

/* What Python's str.isspace() says, which counts four separators more than White_Space does. */
static bool is_space(const unsigned char *p, size_t *bytes)
{
    uint32_t c = kl__utf8_at(p, bytes);
    return (c >= 0x1c && c <= 0x1f) || kl__class_of(c) & KL__CH_SPACE;
}

/* One of two neighbours in ASCII is a space and the other is not. */
static bool turns(const unsigned char *p)
{
    if (p[-1] >= 0x80 || p[0] >= 0x80)
        return false;
    size_t n;
    return is_space(p - 1, &n) != is_space(p, &n);
}

/* True when no run can be too long: turns in ASCII lie close enough together.  Looks at few bytes of usual text,
 * because it looks from far to near. */
static bool surely_short(const unsigned char *p, const unsigned char *end)
{
    while (end - p > KL__RUN_CHARACTERS) {
        const unsigned char *at = p + KL__RUN_CHARACTERS;
        while (at > p && !turns(at))
            at--;
        if (at == p)
            return false;
        p = at;
    }
    return true;
}

const unsigned char *kl__slice_end(const unsigned char *p, const unsigned char *end)
{
    if (surely_short(p, end))
        return end;
    size_t n, run = 0;
    bool of_space = is_space(p, &n);
    for (; p < end; p += n) {
        bool space = is_space(p, &n);
        run = space == of_space ? run + 1 : 1;
        of_space = space;
        if (run > KL__RUN_CHARACTERS)
            return p;
    }
    return end;
}

/* -------------------------------------------------------------------------------------------------------- blocks -- */

/* Bytes of ASCII from p on, at most `most`. */
static size_t ascii_run(const unsigned char *p, size_t most)
{
    size_t n = 0;
    for (uint64_t word; most - n >= sizeof word; n += sizeof word) {
        memcpy(&word, p + n, sizeof word);
        if (word & 0x8080808080808080)
            break;
    }
    while (n < most && p[n] < 0x80)
        n++;
    return n;
}

struct kl__block kl__block_of(const unsigned char *p, size_t left)
{
    struct kl__block b = {0};
    size_t room = KL__BLOCK_CHARACTERS;
    while (room && b.bytes < left) {
        size_t rest = left - b.bytes, ascii = ascii_run(p + b.bytes, rest < room ? rest : room);
        b.bytes += ascii;
        b.whole += ascii;
        room -= ascii;
        if (!room || b.bytes == left)
            break;
        struct kl__utf8_part part = kl__utf8_part(p + b.bytes, left - b.bytes);
        b.bytes += part.bytes;
        b.whole += part.whole ? part.bytes : 3;
        b.n_broken += !part.whole;
        room--;
    }
    return b;
}

void kl__block_mend(unsigned char *to, const unsigned char *p, const struct kl__block *b)
{
    const unsigned char *end = p + b->bytes, *start = to;
    while (p < end) {
        struct kl__utf8_part part = kl__utf8_part(p, (size_t)(end - p));
        memcpy(to, part.whole ? (const char *)p : "\xef\xbf\xbd", part.whole ? part.bytes : 3);
        to += part.whole ? part.bytes : 3;
        p += part.bytes;
    }
    assert((size_t)(to - start) == b->whole);
    (void)start;
}
