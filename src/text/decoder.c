#include "text/tokenizer.h"
#include "text/unicode.h"

static const unsigned char replacement[] = {0xef, 0xbf, 0xbd};

/* The longest text: every byte of a token is no character, and neither is what was held. */
size_t kl_decoder_room(const kl_tokenizer *t)
{
    return sizeof replacement * (t->vocab.longest + sizeof((kl_decoder *)0)->held);
}

static size_t put_broken(char *text)
{
    memcpy(text, replacement, sizeof replacement);
    return sizeof replacement;
}

size_t kl_decoder_end(kl_decoder *d, char *text)
{
    size_t bytes = d->n_held ? put_broken(text) : 0;
    d->n_held = 0;
    return bytes;
}

/* Takes one byte: a character is complete, or cannot become one, or waits for more.  At most two rounds, because a byte
 * that ends what was held without completing it may begin something new. */
static size_t put_byte(kl_decoder *d, char *text, unsigned char byte)
{
    size_t n = 0;
    d->held[d->n_held++] = byte;
    for (;;) {
        struct kl__utf8_part part = kl__utf8_part(d->held, d->n_held);
        if (part.cut)
            return n;
        if (part.whole)
            memcpy(text + n, d->held, part.bytes);
        n += part.whole ? part.bytes : put_broken(text + n);
        d->n_held = (unsigned char)(d->n_held - part.bytes);
        if (!d->n_held)
            return n;
        d->held[0] = byte;
    }
}

/* Bytes of whole characters at the beginning of a token. */
static size_t whole_characters(const unsigned char *p, size_t bytes)
{
    size_t n = 0;
    while (n < bytes) {
        struct kl__utf8_part part = {.bytes = 1, .whole = true};
        if (p[n] >= 0x80)
            part = kl__utf8_part(p + n, bytes - n);
        if (!part.whole)
            break;
        n += part.bytes;
    }
    return n;
}

static size_t put_token(kl_decoder *d, char *text, kl_text token)
{
    size_t whole = d->n_held ? 0 : whole_characters((const unsigned char *)token.data, token.bytes), n = whole;
    memcpy(text, token.data, whole);
    for (size_t i = whole; i < token.bytes; i++)
        n += put_byte(d, text + n, (unsigned char)token.data[i]);
    return n;
}

size_t kl_decoder_put(kl_decoder *d, char *text, const kl_tokenizer *t, int32_t id)
{
    kl_text token = kl_tokenizer_text(t, id);
    bool special = kl_tokenizer_is_special(t, id);
    size_t n = !token.data || special ? kl_decoder_end(d, text) : 0;
    if (!token.data)
        return n + put_broken(text + n);
    return special && !d->show_special ? n : n + put_token(d, text + n, token);
}

/* ------------------------------------------------------------------------------------------------------- at once -- */

size_t kl_detokenize(char *text, size_t room, const kl_tokenizer *t, const int32_t *ids, size_t n_id, bool show_special)
{
    char some[3 * (KL__TOKEN_BYTES + 4)];
    kl_decoder d = {.show_special = show_special};
    size_t n = 0;
    for (size_t i = 0; i <= n_id; i++) {
        size_t bytes = i < n_id ? kl_decoder_put(&d, some, t, ids[i]) : kl_decoder_end(&d, some);
        size_t fits = n < room ? room - n : 0;
        if (fits)
            memcpy(text + n, some, bytes < fits ? bytes : fits);
        n += bytes;
    }
    return n;
}
