/** What the pre-tokeniser must know of a code point, from pinned tables (tools/make_unicode.mjs), and UTF-8. */
#ifndef KL_TEXT_UNICODE_H
#define KL_TEXT_UNICODE_H

#include "base/str.h"

#include <stdint.h>

/** Classes, which overlap: a mark may begin and continue a word, a Han character may be a letter, a number or
 *  neither. */
enum {
    KL__CH_HAN = 1,     /* Script=Han */
    KL__CH_UPPER = 2,   /* Lu, Lt, Lm, Lo, M, and not Han: the first part of a word */
    KL__CH_LOWER = 4,   /* Ll, Lm, Lo, M, and not Han: the second part of a word */
    KL__CH_LETTER = 8,  /* L */
    KL__CH_NUMBER = 16, /* N */
    KL__CH_SPACE = 32,  /* White_Space */
};

enum { KL__UNICODE_BLOCKS = 7173 };

extern const char kl__unicode_version[];
extern const unsigned char kl__unicode_block[KL__UNICODE_BLOCKS];
extern const unsigned char kl__unicode_class[][128];

/** The classes of a code point up to U+10FFFF. */
static inline unsigned kl__class_of(uint32_t c)
{
    uint32_t block = c >> 7;
    return kl__unicode_class[kl__unicode_block[block < KL__UNICODE_BLOCKS ? block : KL__UNICODE_BLOCKS - 1]][c & 127];
}

/** The character at `p` of well-formed UTF-8, and its bytes. */
static inline uint32_t kl__utf8_at(const unsigned char *p, size_t *bytes)
{
    if (p[0] < 0x80) {
        *bytes = 1;
        return p[0];
    }
    if (p[0] < 0xe0) {
        *bytes = 2;
        return (p[0] & 0x1fu) << 6 | (p[1] & 0x3fu);
    }
    if (p[0] < 0xf0) {
        *bytes = 3;
        return (p[0] & 0xfu) << 12 | (p[1] & 0x3fu) << 6 | (p[2] & 0x3fu);
    }
    *bytes = 4;
    return (p[0] & 7u) << 18 | (p[1] & 0x3fu) << 12 | (p[2] & 0x3fu) << 6 | (p[3] & 0x3fu);
}

/** What begins at `p`, of `left` > 0 bytes: a well-formed character, or what stands for one U+FFFD (the longest prefix
 *  of a well-formed character, at least one byte). */
struct kl__utf8_part {
    uint8_t bytes;
    bool whole;
    bool cut; /* not whole, but more bytes could make it so */
};
struct kl__utf8_part kl__utf8_part(const unsigned char *p, size_t left);

#endif
