/* The vocabulary in the metadata of a GGUF file: every token as a text, ordinary ones in the spelling of GPT-2, which
 * has a printable character for each byte; and a type for each. */
#include "base/error.h"
#include "format/format.h"
#include "text/spelling.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

static const char key_tokens[] = "tokenizer.ggml.tokens", key_types[] = "tokenizer.ggml.token_type",
                  key_template[] = "tokenizer.chat_template";

/* Types of tokens in GGUF files. */
enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, USER_DEFINED = 4, UNUSED = 5 };

/* False: the text is no such spelling, or too long. */
static bool unspell(unsigned char token[KL__TOKEN_BYTES], size_t *bytes, struct kl__str text)
{
    const unsigned char *p = (const unsigned char *)text.at;
    *bytes = 0;
    for (size_t i = 0, n; i < text.bytes; i += n) {
        struct kl__utf8_part part = kl__utf8_part(p + i, text.bytes - i);
        int byte = part.whole ? kl__point_byte(kl__utf8_at(p + i, &n)) : -1;
        if (byte < 0 || *bytes == KL__TOKEN_BYTES)
            return false;
        token[(*bytes)++] = (unsigned char)byte;
    }
    return true;
}

static kl_status fail_token(const struct kl__vocab *v, struct kl__str text, const char *what, kl_error *err)
{
    return kl__fail(err, KL_ERR_FORMAT, "%s: key '%s': token %d, '%s', %s", kl__shown_path(v->path).text, key_tokens,
                    v->n_token, kl__shown(text).text, what);
}

static kl_status add_ordinary(struct kl__vocab *v, struct kl__str text, kl_error *err)
{
    unsigned char token[KL__TOKEN_BYTES];
    size_t bytes;
    if (!unspell(token, &bytes, text))
        return fail_token(v, text, "is no spelling of at most 1024 bytes in GPT-2's alphabet", err);
    return kl__vocab_add(v, (struct kl__str){(const char *)token, bytes}, KL__TOKEN_ORDINARY, err);
}

/* Where the special tokens of the released model begin, if this vocabulary has them; else its end. */
static int64_t first_special(const struct kl__meta *tokens, const struct kl__meta *types)
{
    for (uint64_t i = 0; i < tokens->n_item; i++) {
        int64_t type;
        struct kl__meta m = kl__meta_item(types, i);
        if (kl__meta_int(&m, &type) && type == CONTROL)
            return kl__str_same(tokens->text[i], kl__str("[BOS]")) ? (int64_t)i : (int64_t)tokens->n_item;
    }
    return (int64_t)tokens->n_item;
}

/* The released name of a special token that has a reserved one here: some tools lose the names of the markers of tool
 * calls.  NULL: it has none. */
static const char *lost_name(const struct kl__meta *tokens, int64_t id, int64_t first)
{
    const char *name = kl__released_name((int32_t)(id - first));
    if (!name || !kl__str_same(tokens->text[id], kl__str(kl__reserved_name((int32_t)id).text)))
        return NULL;
    for (uint64_t i = (uint64_t)first; i < tokens->n_item; i++)
        if (kl__str_same(tokens->text[i], kl__str(name)))
            return NULL;
    return name;
}

static kl_status add_token(struct kl__vocab *v, const struct kl__meta *tokens, int64_t type, int64_t first,
                           kl_error *err)
{
    struct kl__str text = tokens->text[v->n_token];
    if (type == NORMAL)
        return add_ordinary(v, text, err);
    if (type == UNUSED)
        return kl__vocab_add(v, text, KL__TOKEN_UNUSED, err);
    if (type != CONTROL && type != USER_DEFINED && type != UNKNOWN)
        return fail_token(v, text, "has a type that is none of 1 to 5", err);
    const char *name = v->n_token >= first ? lost_name(tokens, v->n_token, first) : NULL;
    return kl__vocab_add(v, name ? kl__str(name) : text, KL__TOKEN_SPECIAL, err);
}

static kl_status fill(struct kl__vocab *v, const struct kl__meta *tokens, const struct kl__meta *types, kl_error *err)
{
    size_t room = KL__SPECIAL_SLOTS * sizeof(struct kl__reserved); /* names that were lost may be longer */
    int64_t first = first_special(tokens, types), type;
    for (uint64_t i = 0; i < tokens->n_item; i++)
        room += tokens->text[i].bytes;
    KL_TRY(kl__vocab_reserve(v, tokens->n_item, room, err));
    for (uint64_t i = 0; i < tokens->n_item; i++) {
        struct kl__meta m = kl__meta_item(types, i);
        KL_TRY(add_token(v, tokens, kl__meta_int(&m, &type) ? type : 0, first, err));
    }
    return kl__vocab_finish(v, err);
}

static kl_status need(const struct kl__store *s, const char *key, const char *expected, kl_error *err)
{
    struct kl__str found;
    KL_TRY(kl__store_string(&found, s, key, err));
    return kl__str_same(found, kl__str(expected))
               ? KL_OK
               : kl__fail(err, KL_ERR_UNSUPPORTED, "%s: key '%s' is '%s', expected '%s'", kl__shown_file(s, 0).text,
                          key, kl__shown(found).text, expected);
}

kl_status kl__tokenizer_read_store(kl_tokenizer *t, const struct kl__store *s, kl_error *err)
{
    const struct kl__meta *tokens, *types;
    struct kl__str text;
    KL_TRY(need(s, "tokenizer.ggml.model", "gpt2", err));
    KL_TRY(need(s, "tokenizer.ggml.pre", "kimi-k2", err));
    KL_TRY(kl__store_array(&tokens, s, key_tokens, KL__META_STRING, err));
    KL_TRY(kl__store_array(&types, s, key_types, KL__META_I64, err));
    if (types->n_item != tokens->n_item)
        return kl__fail(err, KL_ERR_FORMAT, "%s: key '%s' has %llu items, expected one for each of %llu tokens",
                        kl__shown_file(s, 0).text, key_types, (unsigned long long)types->n_item,
                        (unsigned long long)tokens->n_item);
    KL_TRY(fill(&t->vocab, tokens, types, err));
    if (!kl__meta_find(&s->meta, key_template))
        return KL_OK;
    KL_TRY(kl__store_string(&text, s, key_template, err));
    return kl__tokenizer_keep_template(t, text, t->vocab.path, err);
}
