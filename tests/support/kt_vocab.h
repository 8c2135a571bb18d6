/** Small vocabularies for tests: the 256 single bytes under their own values, then the words that the test wants. */
#ifndef KT_VOCAB_H
#define KT_VOCAB_H

#include "klinear/kl/text.h"
#include "support/kt_file.h"

/** Writes `name` as a tiktoken.model file: 256 bytes, then word [n_word], ids from 256 on.  Returns its path. */
const char *kt_write_tiktoken(const char *name, const char *const *word, int n_word);
/** Opens such a vocabulary; the caller closes it.  256 special tokens follow the words. */
kl_tokenizer *kt_tokenizer(const char *const *word, int n_word);
/** Bytes as base64, four letters for each three begun.  to [4 * (n + 2) / 3 + 1] */
void kt_base64(char *to, const unsigned char *data, size_t n);

#endif
