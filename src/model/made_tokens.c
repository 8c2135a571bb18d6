/* A vocabulary for made models: the order of ids is that of the released one, what lies between is made up. */
#include "base/error.h"
#include "model/made.h"
#include "model/token_meta.h"
#include "text/spelling.h"
#include "text/tokenizer.h"

enum { N_BYTE = 256, WORD_BYTES = 16, N_SYLLABLE = 100 };

/* Word `i`: every run of syllables once, shorter ones first, each length first without and then with a space. */
static size_t make_word(char to[WORD_BYTES], int64_t i)
{
    static const char consonant[] = "tnsrhldcmwfgypbvkjxz", vowel[] = "eaoiu";
    int n_syllable = 1;
    int64_t each = N_SYLLABLE;
    for (; i >= 2 * each; n_syllable++) {
        i -= 2 * each;
        each *= N_SYLLABLE;
    }
    size_t n = 0;
    if (i >= each)
        to[n++] = ' ';
    i %= each;
    for (int s = 0; s < n_syllable; s++) {
        each /= N_SYLLABLE;
        int syllable = (int)(i / each % N_SYLLABLE);
        to[n++] = consonant[syllable / 5];
        to[n++] = vowel[syllable % 5];
    }
    return n;
}

/* Bytes in the order of the released vocabulary: those that are spelled as themselves, then the others. */
static kl_status add_bytes(struct kl__vocab *v, kl_error *err)
{
    for (int hidden = 0; hidden < 2; hidden++)
        for (int b = 0; b < N_BYTE; b++) {
            char byte = (char)b;
            if ((kl__byte_point((unsigned char)b) >= 0x100) == hidden)
                KL_TRY(kl__vocab_add(v, (struct kl__str){&byte, 1}, KL__TOKEN_ORDINARY, err));
        }
    return KL_OK;
}

static kl_status fill(struct kl__vocab *v, int32_t n_vocab, kl_error *err)
{
    char word[WORD_BYTES];
    int32_t special = n_vocab - KL__SPECIAL_SLOTS;
    KL_TRY(kl__vocab_reserve(v, (size_t)n_vocab,
                             (size_t)n_vocab * WORD_BYTES + KL__SPECIAL_SLOTS * sizeof(struct kl__reserved), err));
    KL_TRY(add_bytes(v, err));
    for (int32_t i = 0; i < special - N_BYTE; i++)
        KL_TRY(kl__vocab_add(v, (struct kl__str){word, make_word(word, i)}, KL__TOKEN_ORDINARY, err));
    for (int32_t i = 0; i < KL__SPECIAL_SLOTS; i++) {
        struct kl__reserved reserved = kl__reserved_name(special + i);
        const char *name = kl__released_name(i) ? kl__released_name(i) : reserved.text;
        KL_TRY(kl__vocab_add(v, kl__str(name), KL__TOKEN_SPECIAL, err));
    }
    return kl__vocab_finish(v, err);
}

kl_status kl__made_tokens(struct kl__writer *w, const kl_config *c, const kl_allocator *alloc, kl_error *err)
{
    static const char path[] = "the made vocabulary";
    kl_tokenizer t = {.alloc = alloc, .vocab = {.alloc = alloc, .path = path}};
    if (c->n_vocab < N_BYTE + KL__SPECIAL_SLOTS)
        return KL_OK;
    kl_status status = fill(&t.vocab, c->n_vocab, err);
    if (status == KL_OK)
        status = kl__tokenizer_put(w, &t, c, path, alloc, err);
    kl__vocab_close(&t.vocab);
    return status;
}
