#include "support/kt_vocab.h"

#include <stdio.h>
#include <string.h>

void kt_base64(char *to, const unsigned char *data, size_t n)
{
    static const char letter[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < n; i += 3) {
        unsigned b1 = i + 1 < n ? data[i + 1] : 0, b2 = i + 2 < n ? data[i + 2] : 0;
        *to++ = letter[data[i] >> 2];
        *to++ = letter[(data[i] & 3) << 4 | b1 >> 4];
        *to++ = i + 1 < n ? letter[(b1 & 15) << 2 | b2 >> 6] : '=';
        *to++ = i + 2 < n ? letter[b2 & 63] : '=';
    }
    *to = 0;
}

static void put_line(struct kt_image *file, const unsigned char *token, size_t n, int rank)
{
    char text[200], line[240];
    kt_base64(text, token, n);
    snprintf(line, sizeof line, "%s %d\n", text, rank);
    kt_put_text(file, line);
}

const char *kt_write_tiktoken(const char *name, const char *const *word, int n_word)
{
    static struct kt_image file;
    file.n = 0;
    for (int i = 0; i < 256; i++)
        put_line(&file, &(unsigned char){(unsigned char)i}, 1, i);
    for (int i = 0; i < n_word; i++)
        put_line(&file, (const unsigned char *)word[i], strlen(word[i]), 256 + i);
    return kt_write_file(name, file.data, file.n);
}

kl_tokenizer *kt_tokenizer(const char *const *word, int n_word)
{
    kl_tokenizer *t;
    KT_OK(kl_tokenizer_open(&t, kt_write_tiktoken("tiktoken.model", word, n_word), NULL, KT_ERR));
    return t;
}
