/* The alternatives of the reference's expression, in its order:
 *     1  [\p{Han}]+
 *     2  [^\r\n\p{L}\p{N}]?[UPPER]*[LOWER]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?
 *     3  [^\r\n\p{L}\p{N}]?[UPPER]+[LOWER]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?
 *     4  \p{N}{1,3}
 *     5   ?[^\s\p{L}\p{N}]+[\r\n]*
 *     6  \s*[\r\n]+
 *     7  \s+(?!\S)
 *     8  \s+
 * with UPPER and LOWER as in unicode.h.  Each function below looks at a character a bounded number of times, and what
 * it looks at beyond the end of its piece belongs to the next piece or the one after: so the time is linear. */
#include "text/pieces.h"
#include "text/unicode.h"

typedef const unsigned char *cursor;

/* Classes and length of the character at p; no class at the end. */
static inline unsigned look(cursor p, cursor end, size_t *bytes)
{
    *bytes = 0;
    if (p == end)
        return 0;
    *bytes = 1;
    return *p < 0x80 ? kl__unicode_class[0][*p] : kl__class_of(kl__utf8_at(p, bytes));
}

/* Behind the characters that have one of the classes `in`. */
static inline cursor pass(cursor p, cursor end, unsigned in)
{
    size_t n;
    while (look(p, end, &n) & in)
        p += n;
    return p;
}

static inline bool is_line_end(cursor p, cursor end)
{
    return p < end && (*p == '\r' || *p == '\n');
}

/* What alternatives 2 and 3 find without their prefix; NULL: nothing. */
struct word {
    cursor lower, upper;
};

static inline struct word word_at(cursor p, cursor end)
{
    struct word w = {0};
    size_t n;
    cursor a = p, last = NULL;
    unsigned c;
    while ((c = look(a, end, &n)) & KL__CH_UPPER) {
        a += n;
        if (c & KL__CH_LOWER)
            last = a;
    }
    if (c & KL__CH_LOWER)
        w.lower = pass(a, end, KL__CH_LOWER);
    else if (last)
        w.lower = last; /* UPPER* gives back as little as it must */
    else if (a > p)
        w.upper = a;
    return w;
}

/* Behind the English ending at p, if there is one.  U+017F, the long s, is an s when case does not count. */
static cursor pass_ending(cursor p, cursor end)
{
    static const char endings[][3] = {"s", "t", "re", "ve", "m", "ll", "d"};
    if (p == end || *p != '\'')
        return p;
    if (end - p >= 3 && p[1] == 0xc5 && p[2] == 0xbf)
        return p + 3;
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        ptrdiff_t n = endings[i][1] ? 2 : 1;
        if (end - p > n && (p[1] | 0x20) == endings[i][0] && (n == 1 || (p[2] | 0x20) == endings[i][1]))
            return p + 1 + n;
    }
    return p;
}

/* Alternatives 2 and 3; NULL: neither. */
static inline cursor word_end(cursor p, cursor end, unsigned c, size_t n)
{
    struct word behind = {0}, here = {0};
    if (!(c & (KL__CH_LETTER | KL__CH_NUMBER)) && !is_line_end(p, end)) {
        behind = word_at(p + n, end);
        if (behind.lower)
            return pass_ending(behind.lower, end);
    }
    if (c & (KL__CH_UPPER | KL__CH_LOWER))
        here = word_at(p, end);
    cursor found = here.lower ? here.lower : behind.upper ? behind.upper : here.upper;
    return found ? pass_ending(found, end) : NULL;
}

static cursor number_end(cursor p, cursor end)
{
    size_t n;
    for (int i = 0; i < 3 && look(p, end, &n) & KL__CH_NUMBER; i++)
        p += n;
    return p;
}

/* Alternative 5; NULL: it does not match. */
static cursor signs_end(cursor p, cursor end)
{
    cursor start = *p == ' ' ? p + 1 : p, at = start;
    size_t n;
    while (!(look(at, end, &n) & (KL__CH_SPACE | KL__CH_LETTER | KL__CH_NUMBER)) && n)
        at += n;
    if (at == start)
        return NULL;
    while (is_line_end(at, end))
        at++;
    return at;
}

/* Alternatives 6 to 8, at a space. */
static cursor space_end(cursor p, cursor end)
{
    cursor at = p, last = p, line = NULL;
    size_t n;
    while (look(at, end, &n) & KL__CH_SPACE) {
        last = at;
        at += n;
        if (is_line_end(last, end))
            line = at;
    }
    if (line)
        return line;
    return at == end || last == p ? at : last;
}

const unsigned char *kl__piece_end(const unsigned char *p, const unsigned char *end)
{
    size_t n;
    unsigned c = look(p, end, &n);
    if (c & KL__CH_HAN)
        return pass(p + n, end, KL__CH_HAN);
    cursor found = word_end(p, end, c, n);
    if (found)
        return found;
    if (c & KL__CH_NUMBER)
        return number_end(p, end);
    found = signs_end(p, end);
    return found ? found : space_end(p, end);
}
