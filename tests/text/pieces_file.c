/* Cuts texts into pieces, for a script that compares with another pre-tokeniser.
 *     pieces_file TEXTS > LENGTHS
 * TEXTS as for encode_file, well-formed UTF-8.  LENGTHS: for each text a line with the bytes of its pieces. */
#include "text/pieces.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    FILE *texts = argc == 2 ? fopen(argv[1], "rb") : NULL;
    if (!texts) {
        fprintf(stderr, "usage: pieces_file TEXTS\n");
        return 2;
    }
    for (uint32_t n; fread(&n, 1, sizeof n, texts) == sizeof n;) {
        unsigned char *p = malloc(n + 1), *at = p;
        if (!p || fread(p, 1, n, texts) != n)
            return 2;
        while (at < p + n) {
            const unsigned char *next = kl__piece_end(at, p + n);
            printf("%d ", (int)(next - at));
            at = p + (next - p);
        }
        putchar('\n');
        free(p);
    }
    fclose(texts);
    return 0;
}
