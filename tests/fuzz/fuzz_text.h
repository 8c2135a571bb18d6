/** A small vocabulary for targets that need one. */
#ifndef FUZZ_TEXT_H
#define FUZZ_TEXT_H

#include "text/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>

static kl_tokenizer *fuzz_make_tokenizer(void)
{
    static const char *const words[] = {"th",   "the",      " the",     "in",       "ing",  "aa",
                                        "aaaa", "\xe4\xb8", "\xad\xe4", "  ",       "\n\n", "12",
                                        "123",  "!!",       "\xef\xbf", "\xbd\xef", "'s",   "<|"};
    static char text[16384];
    size_t n = 0;
    for (int i = 0; i < 256; i++) {
        char byte = (char)i;
        n += kl__tiktoken_line(text + n, (struct kl__str){&byte, 1}, i);
    }
    for (int i = 0; i < (int)(sizeof words / sizeof *words); i++)
        n += kl__tiktoken_line(text + n, kl__str(words[i]), 256 + i);
    struct kl__tiktoken files = {.ranks = {"fuzz.tiktoken", {text, n}}};
    kl_tokenizer *t;
    if (kl__tokenizer_of_tiktoken(&t, &files, NULL, NULL) != KL_OK)
        abort();
    return t;
}

/** Opened once; as long as the program. */
static const kl_tokenizer *fuzz_tokenizer(void)
{
    static kl_tokenizer *t;
    if (!t)
        t = fuzz_make_tokenizer();
    return t;
}

#endif
