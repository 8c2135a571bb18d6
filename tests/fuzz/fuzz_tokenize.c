/* Any text: its ids come back as the text, with U+FFFD for what is no UTF-8; in a stream, well-formed at each step;
 * with markup, shown, as well.  And any ids: well-formed text. */
#include "fuzz_text.h"
#include "text/pieces.h"

static void check_pieces(const unsigned char *p, size_t bytes)
{
    for (const unsigned char *end = p + bytes, *slice = p; slice < end;) {
        const unsigned char *stop = kl__slice_end(slice, end);
        if (stop <= slice || stop > end)
            abort();
        while (slice < stop) {
            const unsigned char *next = kl__piece_end(slice, stop);
            if (next <= slice || next > stop)
                abort();
            slice = next;
        }
    }
}

static void check_back(const kl_tokenizer *t, const int32_t *ids, size_t n, const unsigned char *whole, size_t bytes)
{
    char *back = malloc(bytes + 1);
    if (!back || kl_detokenize(back, bytes, t, ids, n, true) != bytes || memcmp(back, whole, bytes) != 0)
        abort();
    free(back);
}

static void check_stream(const kl_tokenizer *t, const uint8_t *data, size_t bytes)
{
    char *text = malloc(kl_decoder_room(t));
    kl_decoder d = {.show_special = bytes % 2};
    for (size_t i = 0; i + 1 < bytes; i += 2) {
        size_t n = kl_decoder_put(&d, text, t, (int32_t)data[i] * 2 + data[i + 1] % 40);
        if (n > kl_decoder_room(t) || !kl__utf8_valid((struct kl__str){text, n}))
            abort();
    }
    if (!kl__utf8_valid((struct kl__str){text, kl_decoder_end(&d, text)}))
        abort();
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    const kl_tokenizer *t = fuzz_tokenizer();
    struct kl__block b = kl__block_of(data, bytes);
    if (bytes > KL__BLOCK_CHARACTERS)
        return 0;
    unsigned char *whole = malloc(b.whole + 1);
    int32_t *ids = malloc((3 * bytes + 1) * sizeof *ids);
    if (!whole || !ids)
        abort();
    kl__block_mend(whole, data, &b);
    if (b.bytes != bytes || !kl__utf8_valid((struct kl__str){(char *)whole, b.whole}))
        abort();
    check_pieces(whole, b.whole);
    for (int markup = 0; markup < 2; markup++) {
        size_t n;
        if (kl_tokenize(ids, 3 * bytes, &n, t, (kl_text){(const char *)data, bytes}, (kl_markup)markup, NULL) !=
                KL_OK ||
            n > 3 * bytes)
            abort();
        check_back(t, ids, n, whole, b.whole);
    }
    check_stream(t, data, bytes);
    free(whole);
    free(ids);
    return 0;
}
