/* Bytes as the files of a tokenizer, which is then used.  The first byte says which: the metadata of a GGUF file, the
 * ranks alone, ranks behind those of the 256 single bytes, or a configuration beside those. */
#include "fuzz_store.h"
#include "text/tokenizer.h"

#include <stdio.h>

/* Whatever the vocabulary: text comes back as it was, and nothing is read that is not there. */
static void use(const kl_tokenizer *t)
{
    static const char text[] = "Hello, 123 \xe4\xb8\xad\xe6\x96\x87 <|im_end|> it's  \n x";
    int32_t ids[sizeof text];
    char back[sizeof text];
    size_t n;
    for (int32_t id = -2; id < kl_tokenizer_n_vocab(t) + 2; id++)
        if (kl_tokenizer_text(t, id).bytes > KL__TOKEN_BYTES)
            abort();
    if (kl_tokenize(ids, sizeof text, &n, t, kl_text_of(text), KL_MARKUP_PLAIN, NULL) != KL_OK || n > sizeof text ||
        kl_detokenize(back, sizeof back, t, ids, n, false) != strlen(text) || memcmp(back, text, strlen(text)) != 0)
        abort();
    kl_tokenize(ids, sizeof text, &n, t, kl_text_of(text), KL_MARKUP_SPECIAL, NULL);
    kl_chat_check(t, KL_TEMPLATE_MODEL, NULL);
}

/* The ranks of single bytes, with `more` behind them; freed by the caller. */
static char *with_bytes(size_t *bytes, const uint8_t *more, size_t n)
{
    char *text = malloc(256 * 16 + n);
    *bytes = 0;
    for (int i = 0; text && i < 256; i++) {
        unsigned char byte = (unsigned char)i;
        *bytes += kl__tiktoken_line(text + *bytes, (struct kl__str){(const char *)&byte, 1}, i);
    }
    if (text && n)
        memcpy(text + *bytes, more, n);
    *bytes += n;
    return text;
}

static kl_status open_gguf(kl_tokenizer **t, const uint8_t *data, size_t bytes, const kl_allocator *alloc,
                           kl_error *err)
{
    struct kl__store *s;
    kl_status status = kl__store_open_bytes(&s, "fuzz.gguf", data, bytes, alloc, err);
    if (status != KL_OK)
        return status;
    status = kl__tokenizer_of_store(t, s, alloc, err);
    kl__store_close(s);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct fuzz_heap heap = {0};
    kl_allocator alloc = {fuzz_alloc, fuzz_release, &heap};
    kl_tokenizer *t;
    kl_error err = {0};
    int kind = bytes ? data[0] % 4 : 0;
    size_t rest = bytes ? bytes - 1 : 0, n_text;
    char *text = with_bytes(&n_text, data + 1, kind == 2 ? rest : 0);
    struct kl__str given = {(const char *)data + 1, rest}, made = {text, n_text};
    struct kl__tiktoken files = {.ranks = {"fuzz.tiktoken", kind == 1 ? given : made}};
    if (!text)
        return 0;
    if (kind == 3)
        files.config = (struct kl__named_text){"fuzz.json", given};
    kl_status status =
        kind == 0 ? open_gguf(&t, data + 1, rest, &alloc, &err) : kl__tokenizer_of_tiktoken(&t, &files, &alloc, &err);
    if (status == KL_OK)
        use(t);
    else if (!err.text[0] || err.text[sizeof err.text - 1])
        abort(); /* no sentence */
    if (status == KL_OK)
        kl_tokenizer_close(t);
    if (heap.out || heap.most > 5 * bytes + (300 << 10))
        abort(); /* a leak, or too much memory; metadata of a GGUF file are in memory as well */
    free(text);
    return 0;
}
