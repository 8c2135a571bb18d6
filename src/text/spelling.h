/** How GGUF vocabularies spell bytes, as GPT-2 did: a printable character for each. */
#ifndef KL_TEXT_SPELLING_H
#define KL_TEXT_SPELLING_H

#include "base/str.h"

#include <stdint.h>

/** Code point that stands for a byte: itself where it is a visible character of Latin-1, else one from U+0100 on. */
uint32_t kl__byte_point(unsigned char byte);
/** The byte that a code point stands for, or -1. */
int kl__point_byte(uint32_t point);
/** UTF-8 of `bytes` bytes, each spelled as its code point.  Returns the length; `to` has room for twice the bytes. */
size_t kl__spell(char *to, const void *data, size_t bytes);

#endif
