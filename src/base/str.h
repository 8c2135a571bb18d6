/** Pieces of text that somebody else holds: not terminated, of any content. */
#ifndef KL_BASE_STR_H
#define KL_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct kl__str {
    const char *at; /* may hold any byte; NULL only when bytes is 0 */
    size_t bytes;
};

static inline struct kl__str kl__str(const char *text)
{
    return (struct kl__str){text, strlen(text)};
}

static inline bool kl__str_same(struct kl__str a, struct kl__str b)
{
    return a.bytes == b.bytes && (a.bytes == 0 || memcmp(a.at, b.at, a.bytes) == 0);
}

/** True for well-formed UTF-8: no overlong form, no surrogate, nothing above U+10FFFF. */
bool kl__utf8_valid(struct kl__str s);

/** A piece of text fit to stand in a sentence: what is not printable shows as '?', what is too long loses its end
 *  (or its beginning, where a path is shown).  Use as kl__shown(s).text, inside one expression. */
struct kl__shown {
    char text[84];
};
struct kl__shown kl__shown(struct kl__str s);
struct kl__shown kl__shown_path(const char *path);

#endif
