/* A vocabulary for made models: the order of ids is that of the released one, what lies between is made up. */
#include "base/error.h"
#include "base/memory.h"
#include "model/made.h"
#include "text/spelling.h"
#include "text/tokenizer.h"

enum { N_BYTE = 256, WORD_BYTES = 16, N_SYLLABLE = 100 };

struct vocabulary {
    struct kl__str *text; /* [n] */
    int32_t *type;        /* [n] */
    char *room;           /* behind the texts so far */
};

static void add(struct vocabulary *v, int64_t id, const char *text, size_t bytes, int32_t type)
{
    memcpy(v->room, text, bytes);
    v->text[id] = (struct kl__str){v->room, bytes};
    v->type[id] = type;
    v->room += bytes;
}

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
    size_t n = i >= each ? kl__spell(to, " ", 1) : 0;
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
static int64_t add_bytes(struct vocabulary *v)
{
    int64_t id = 0;
    for (int hidden = 0; hidden < 2; hidden++)
        for (int b = 0; b < N_BYTE; b++) {
            unsigned char byte = (unsigned char)b;
            char text[2];
            if ((kl__byte_point(byte) >= 0x100) == hidden) {
                add(v, id, text, kl__spell(text, &byte, 1), 1);
                id++;
            }
        }
    return id;
}

static void fill(struct vocabulary *v, int64_t n_vocab)
{
    char word[WORD_BYTES];
    int64_t special = n_vocab - KL__SPECIAL_SLOTS;
    for (int64_t id = add_bytes(v), i = 0; id < special; id++, i++)
        add(v, id, word, make_word(word, i), 1);
    for (int i = 0; i < KL__SPECIAL_SLOTS; i++) {
        struct kl__reserved reserved = kl__reserved_name((int32_t)special + i);
        const char *name = kl__released_name(i) ? kl__released_name(i) : reserved.text;
        add(v, special + i, name, strlen(name), 3);
    }
}

static kl_status announce(struct kl__writer *w, const struct vocabulary *v, int64_t n_vocab, kl_error *err)
{
    uint32_t special = (uint32_t)(n_vocab - KL__SPECIAL_SLOTS);
    const struct kl__meta meta[] = {
        kl__meta_string("tokenizer.ggml.model", kl__str("gpt2")),
        kl__meta_string("tokenizer.ggml.pre", kl__str("kimi-k2")),
        kl__meta_strings("tokenizer.ggml.tokens", v->text, (uint64_t)n_vocab),
        kl__meta_numbers("tokenizer.ggml.token_type", KL__META_I32, v->type, (uint64_t)n_vocab),
        kl__meta_u32("tokenizer.ggml.bos_token_id", special),
        kl__meta_u32("tokenizer.ggml.eos_token_id", special + 1),
        kl__meta_u32("tokenizer.ggml.unknown_token_id", special + 254),
        kl__meta_u32("tokenizer.ggml.padding_token_id", special + 255),
        kl__meta_bool("tokenizer.ggml.add_bos_token", false),
    };
    for (size_t i = 0; i < sizeof meta / sizeof *meta; i++)
        KL_TRY(kl__writer_meta(w, &meta[i], err));
    return KL_OK;
}

kl_status kl__made_tokens(struct kl__writer *w, int64_t n_vocab, const kl_allocator *alloc, kl_error *err)
{
    size_t n = (size_t)n_vocab;
    if (n_vocab < N_BYTE + KL__SPECIAL_SLOTS)
        return KL_OK;
    struct vocabulary v = {.text = kl__alloc(alloc, n * sizeof *v.text), .type = kl__alloc(alloc, n * sizeof *v.type)};
    char *texts = kl__alloc(alloc, n * WORD_BYTES + KL__SPECIAL_SLOTS * sizeof(struct kl__reserved));
    kl_status status = KL_ERR_MEMORY;
    v.room = texts;
    if (v.text && v.type && texts) {
        fill(&v, n_vocab);
        status = announce(w, &v, n_vocab, err);
    } else
        kl__fail(err, KL_ERR_MEMORY, "no memory for a vocabulary of %lld entries", (long long)n_vocab);
    kl__release(alloc, texts);
    kl__release(alloc, v.type);
    kl__release(alloc, v.text);
    return status;
}
