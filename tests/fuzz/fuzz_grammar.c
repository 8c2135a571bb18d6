/* Bytes as grammars: the first byte chooses the notation, then come the grammar, a zero byte, and a text for it.
 * What is compiled is followed by a guide that takes whatever token comes first. */
#include "klinear/kl/grammar.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static kl_tokenizer *tokenizer;
static kl_lexicon *lexicon;
enum { WRITTEN = 12, N_VOCAB = 600 };

/* A vocabulary of the 256 single bytes. */
static void open_tokenizer(void)
{
    static const char letter[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char path[] = "/tmp/fuzz_grammar_XXXXXX/tiktoken.model";
    *strrchr(path, '/') = 0;
    if (!mkdtemp(path))
        abort();
    path[strlen(path)] = '/';
    FILE *f = fopen(path, "wb");
    if (!f)
        abort();
    for (int i = 0; i < 256; i++)
        fprintf(f, "%c%c== %d\n", letter[i >> 2], letter[(i & 3) << 4], i);
    fclose(f);
    if (kl_tokenizer_open(&tokenizer, path, NULL, NULL) != KL_OK ||
        kl_lexicon_open(&lexicon, tokenizer, NULL, NULL) != KL_OK)
        abort();
    unlink(path);
    *strrchr(path, '/') = 0;
    rmdir(path);
}

static void follow(const kl_grammar *g)
{
    kl_guide *guide;
    int32_t stop = kl_tokenizer_n_vocab(tokenizer) - 1, n = kl_tokenizer_n_vocab(tokenizer);
    float logits[N_VOCAB];
    if (n > N_VOCAB || kl_guide_open(&guide, g, lexicon, NULL, NULL, NULL) != KL_OK)
        return;
    for (int i = 0; i < WRITTEN && !kl_guide_ended(guide); i++) {
        int32_t id = 0;
        memset(logits, 0, sizeof logits);
        if (kl_guide_mask(guide, logits, n, &stop, 1, NULL) != KL_OK)
            break;
        while (id < n && !isfinite(logits[id]))
            id++;
        if (id == n || kl_guide_take(guide, id, NULL) != KL_OK)
            abort(); /* what may come can be taken */
    }
    kl_guide_close(guide);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes == 0)
        return 0;
    if (!tokenizer)
        open_tokenizer();
    const char *text = (const char *)data + 1;
    const char *zero = bytes > 1 ? memchr(text, 0, bytes - 1) : NULL;
    size_t n = zero ? (size_t)(zero - text) : bytes - 1;
    kl_grammar *g;
    bool accepts;
    if (kl_grammar_open(&g, (kl_grammar_kind)(*data % 3), (kl_text){text, n}, NULL, NULL) != KL_OK)
        return 0;
    kl_grammar_accepts(&accepts, g, zero ? (kl_text){zero + 1, bytes - n - 2} : (kl_text){0}, NULL);
    follow(g);
    kl_grammar_close(g);
    return 0;
}
