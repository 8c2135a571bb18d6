/* tiktoken.model: a line "BASE64 RANK" for each token, in the order of the ranks, which are the ids.  The special
 * tokens are not in it; tokenizer_config.json beside it may name them, and special_names.def says what they are
 * otherwise. */
#include "base/error.h"
#include "text/tokenizer_config.h"

#include <stdio.h>

/* -------------------------------------------------------------------------------------------------------- base64 -- */

/* The six bits of a letter, or -1. */
static int bits_of(unsigned char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Decodes text [n] to `to`, which has room for it; false: that is no base64. */
static bool decode(unsigned char *to, size_t *bytes, const char *text, size_t n)
{
    size_t padding = 0, out = 0;
    uint32_t bits = 0;
    if (n == 0 || n % 4)
        return false;
    while (padding < 2 && text[n - 1 - padding] == '=')
        padding++;
    for (size_t i = 0; i < n - padding; i++) {
        int six = bits_of((unsigned char)text[i]);
        if (six < 0)
            return false;
        bits = bits << 6 | (uint32_t)six;
        if (i % 4)
            to[out++] = (unsigned char)(bits >> (6 - 2 * (i % 4)));
    }
    *bytes = out;
    return padding == 0 || (bits & (padding == 1 ? 3u : 15u)) == 0;
}

/* --------------------------------------------------------------------------------------------------------- lines -- */

struct lines {
    const char *at, *end;
    long number; /* of the line that was read last, from 1 */
};

/* The next line that is not empty, without its end. */
static bool next_line(struct lines *l, struct kl__str *line)
{
    while (l->at < l->end) {
        const char *end = memchr(l->at, '\n', (size_t)(l->end - l->at));
        *line = (struct kl__str){l->at, (size_t)((end ? end : l->end) - l->at)};
        l->at = end ? end + 1 : l->end;
        l->number++;
        if (line->bytes && line->at[line->bytes - 1] == '\r')
            line->bytes--;
        if (line->bytes)
            return true;
    }
    return false;
}

static size_t count_lines(struct lines l)
{
    struct kl__str line;
    size_t n = 0;
    while (next_line(&l, &line))
        n++;
    return n;
}

static kl_status fail_line(kl_error *err, const char *path, const struct lines *l, struct kl__str found,
                           const char *expected)
{
    return kl__fail(err, KL_ERR_FORMAT, "%s, line %ld: found '%s', expected %s", kl__shown_path(path).text, l->number,
                    kl__shown(found).text, expected);
}

/* A decimal number without sign, all of the text; -1 for anything else and for what no rank can be. */
static int32_t number_of(const char *at, size_t n)
{
    int32_t value = 0;
    if (n == 0 || n > 9 || (n > 1 && at[0] == '0'))
        return -1;
    for (size_t i = 0; i < n; i++) {
        if (at[i] < '0' || at[i] > '9')
            return -1;
        value = value * 10 + (at[i] - '0');
    }
    return value;
}

static kl_status add_line(struct kl__vocab *v, const struct lines *l, struct kl__str line, kl_error *err)
{
    unsigned char token[KL__TOKEN_BYTES + 3];
    size_t bytes;
    const char *space = memchr(line.at, ' ', line.bytes);
    size_t n = space ? (size_t)(space - line.at) : 0;
    if (n == 0 || n > KL__TOKEN_BYTES / 3 * 4 || !decode(token, &bytes, line.at, n))
        return fail_line(err, v->path, l, line, "a token in base64, a space and its rank");
    int32_t rank = number_of(space + 1, line.bytes - n - 1);
    if (rank != v->n_token) {
        char expected[40];
        snprintf(expected, sizeof expected, "rank %d", v->n_token);
        return fail_line(err, v->path, l, (struct kl__str){space + 1, line.bytes - n - 1}, expected);
    }
    return kl__vocab_add(v, (struct kl__str){(const char *)token, bytes}, KL__TOKEN_ORDINARY, err);
}

/* ------------------------------------------------------------------------------------------------------ the file -- */

static kl_status fill(kl_tokenizer *t, struct lines lines, const struct kl__special_list *list, kl_error *err)
{
    struct kl__vocab *v = &t->vocab;
    struct kl__str line;
    size_t n_line = count_lines(lines), room = (size_t)(lines.end - lines.at) / 4 * 3;
    for (int32_t i = 0; i < list->n; i++)
        room += list->text[i].bytes;
    KL_TRY(kl__vocab_reserve(v, n_line + (size_t)list->n, room, err));
    while (next_line(&lines, &line))
        KL_TRY(add_line(v, &lines, line, err));
    for (int32_t i = 0; i < list->n; i++)
        KL_TRY(kl__vocab_add(v, list->text[i], KL__TOKEN_SPECIAL, err));
    return kl__vocab_finish(v, err);
}

kl_status kl__tokenizer_read_tiktoken(kl_tokenizer *t, const struct kl__tiktoken *files, kl_error *err)
{
    const char *text = files->ranks.text.bytes ? files->ranks.text.at : "";
    struct lines lines = {text, text + files->ranks.text.bytes, 0};
    size_t n_line = count_lines(lines);
    struct kl__special_list list;
    if (n_line < 256 || n_line > KL__VOCAB_TOKENS)
        return kl__fail(err, KL_ERR_FORMAT, "%s: found %zu lines, expected one for each of 256 to %d tokens",
                        kl__shown_path(files->ranks.path).text, n_line, KL__VOCAB_TOKENS);
    kl_status status = kl__special_list_open(&list, t, files, (int32_t)n_line, err);
    if (status == KL_OK)
        status = fill(t, lines, &list, err);
    kl__special_list_close(&list);
    return status;
}
