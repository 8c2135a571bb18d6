/** How GGUF vocabularies spell bytes, and what the special tokens of this family of models are called. */
#ifndef KL_MODEL_SPELLING_H
#define KL_MODEL_SPELLING_H

#include "base/str.h"

#include <stdint.h>

enum {
    KL__N_SPECIAL = 256, /* the last ids of a vocabulary */
    KL__SPECIAL_NAME_BYTES = 48,
};

/** Code point that stands for a byte: itself where it is a visible character of Latin-1, else one from U+0100 on. */
unsigned kl__byte_point(unsigned char byte);
/** UTF-8 of `bytes` bytes, each spelled as its code point.  Returns the length; `to` has room for twice the bytes. */
size_t kl__spell(char *to, const void *data, size_t bytes);
/** The way back; `to` has room for as many bytes as `text` has.  False: not such a text. */
bool kl__unspell(unsigned char *to, size_t *bytes, struct kl__str text);

/** Name of special token `i` (0: [BOS]) of a vocabulary whose special tokens begin at id `first`. */
void kl__special_name(char name[KL__SPECIAL_NAME_BYTES], int i, int64_t first);

#endif
