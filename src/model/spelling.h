/** How GGUF vocabularies spell bytes: a printable character for each.  (text/gguf_vocab.c reads it.) */
#ifndef KL_MODEL_SPELLING_H
#define KL_MODEL_SPELLING_H

#include "base/str.h"

/** Code point that stands for a byte: itself where it is a visible character of Latin-1, else one from U+0100 on. */
unsigned kl__byte_point(unsigned char byte);
/** UTF-8 of `bytes` bytes, each spelled as its code point.  Returns the length; `to` has room for twice the bytes. */
size_t kl__spell(char *to, const void *data, size_t bytes);

#endif
