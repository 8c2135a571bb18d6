/* Encodes many texts, for a script that compares with another tokenizer.
 *     encode_file TOKENIZER TEXTS > IDS
 * TEXTS: for each text its length (u32, little-endian), then its bytes.  IDS: two lines of ids for each text, plain and
 * with markup. */
#include "klinear/kl.h"

#include <stdio.h>
#include <stdlib.h>

static void die(const char *what)
{
    fprintf(stderr, "encode_file: %s\n", what);
    exit(2);
}

static void print_ids(const kl_tokenizer *t, kl_text text, kl_markup markup)
{
    kl_error err;
    size_t room = 3 * text.bytes + 1, n = 0;
    int32_t *ids = malloc(room * sizeof *ids);
    if (!ids || kl_tokenize(ids, room, &n, t, text, markup, &err) != KL_OK || n > room)
        die("a text could not be encoded");
    for (size_t i = 0; i < n; i++)
        printf(i ? " %d" : "%d", ids[i]);
    putchar('\n');
    free(ids);
}

int main(int argc, char **argv)
{
    kl_tokenizer *t;
    kl_error err;
    FILE *texts = argc == 3 ? fopen(argv[2], "rb") : NULL;
    if (!texts)
        die("usage: encode_file TOKENIZER TEXTS");
    if (kl_tokenizer_open(&t, argv[1], NULL, &err) != KL_OK)
        die(err.text);
    for (uint32_t n; fread(&n, 1, sizeof n, texts) == sizeof n;) {
        char *bytes = malloc(n + 1);
        if (!bytes || fread(bytes, 1, n, texts) != n)
            die("the file of texts ends inside a text");
        print_ids(t, (kl_text){bytes, n}, KL_MARKUP_PLAIN);
        print_ids(t, (kl_text){bytes, n}, KL_MARKUP_SPECIAL);
        free(bytes);
    }
    fclose(texts);
    kl_tokenizer_close(t);
    return 0;
}
