/* A tokenizer's two files, as the released model has them. */
#include "base/error.h"
#include "base/file.h"
#include "base/str.h"
#include "train/bpe_learn.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

enum { TOKEN_BYTES = 1024, LINE_BYTES = 2048, MOST_SPECIAL = 256 };

/* A file that is written line by line. */
struct text {
    struct kl__out *out;
    uint64_t end;
    kl_error *err;
};

static kl_status put(struct text *t, const char *data, size_t bytes)
{
    KL_TRY(kl__out_write(t->out, t->end, data, bytes, t->err));
    t->end += bytes;
    return KL_OK;
}

static kl_status finish(struct text *t, kl_status status)
{
    if (status == KL_OK)
        return kl__out_commit(t->out, t->end, t->err);
    kl__out_abandon(t->out);
    return status;
}

/* ------------------------------------------------------------------------------------------------ tiktoken.model -- */

static size_t base64(char *to, const unsigned char *p, size_t n)
{
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t m = 0;
    for (size_t i = 0; i < n; i += 3) {
        unsigned a = p[i], b = i + 1 < n ? p[i + 1] : 0, c = i + 2 < n ? p[i + 2] : 0, x = a << 16 | b << 8 | c;
        to[m++] = digit[x >> 18];
        to[m++] = digit[x >> 12 & 63];
        to[m++] = i + 1 < n ? digit[x >> 6 & 63] : '=';
        to[m++] = i + 2 < n ? digit[x & 63] : '=';
    }
    return m;
}

/* The bytes of a token; 0: more than there is room for. */
static size_t spell(const kl_bpe *b, int32_t id, unsigned char to[TOKEN_BYTES])
{
    int32_t stack[TOKEN_BYTES];
    size_t n = 0, depth = 0;
    stack[depth++] = id;
    while (depth) {
        int32_t top = stack[--depth];
        struct kl__token t = ((struct kl__token *)b->token.item)[top];
        if (t.left < 0) {
            to[n++] = (unsigned char)top;
            continue;
        }
        if (n + depth + 2 > TOKEN_BYTES)
            return 0;
        stack[depth++] = t.right;
        stack[depth++] = t.left;
    }
    return n;
}

static kl_status put_ranks(struct text *t, const kl_bpe *b)
{
    for (int32_t id = 0; id < b->token.n; id++) {
        unsigned char bytes[TOKEN_BYTES];
        char line[LINE_BYTES];
        size_t n = base64(line, bytes, spell(b, id, bytes));
        n += (size_t)snprintf(line + n, sizeof line - n, " %d\n", (int)id);
        KL_TRY(put(t, line, n));
    }
    return KL_OK;
}

/* ----------------------------------------------------------------------------------------- tokenizer_config.json -- */

static kl_status put_special(struct text *t, const kl_bpe *b, const char *const *special, int n)
{
    char line[LINE_BYTES];
    static const char begin[] = "{\n  \"added_tokens_decoder\": {\n", end[] = "  },\n  \"tokenizer_class\": "
                                                                              "\"TikTokenTokenizer\"\n}\n";
    KL_TRY(put(t, begin, sizeof begin - 1));
    for (int i = 0; i < n; i++) {
        int bytes = snprintf(line, sizeof line, "    \"%lld\": {\"content\": \"%s\", \"special\": true}%s\n",
                             (long long)b->token.n + i, special[i], i + 1 < n ? "," : "");
        KL_TRY(put(t, line, (size_t)bytes));
    }
    return put(t, end, sizeof end - 1);
}

static kl_status check_special(const char *const *special, int n, kl_error *err)
{
    if (n < 1 || n > MOST_SPECIAL)
        return kl__fail(err, KL_ERR_ARGUMENT, "kl_bpe_write: n_special is %d, expected 1 .. %d", n, MOST_SPECIAL);
    for (int i = 0; i < n; i++) {
        size_t length = strlen(special[i]);
        for (const char *c = special[i]; *c; c++)
            if (*c < ' ' || *c > '~' || *c == '"' || *c == '\\')
                length = 0;
        if (length == 0 || length > 100)
            return kl__fail(err, KL_ERR_ARGUMENT,
                            "kl_bpe_write: special token %d is '%s', expected printable ASCII without quotes", i,
                            kl__shown(kl__str(special[i])).text);
    }
    return KL_OK;
}

kl_status kl_bpe_write(const kl_bpe *b, const char *folder, const char *const *special, int n_special, kl_error *err)
{
    if (b->token.n == 0)
        return kl__fail(err, KL_ERR_ARGUMENT, "kl_bpe_write: nothing has been learnt yet");
    KL_TRY(check_special(special, n_special, err));
    for (int i = 0; i < 2; i++) {
        char path[PATH_MAX];
        struct text t = {.err = err};
        int n = snprintf(path, sizeof path, "%s/%s", folder, i ? "tokenizer_config.json" : "tiktoken.model");
        if (n < 0 || n >= PATH_MAX)
            return kl__fail(err, KL_ERR_IO, "%s: the path is too long", kl__shown_path(folder).text);
        KL_TRY(kl__out_open(&t.out, path, b->alloc, err));
        KL_TRY(finish(&t, i ? put_special(&t, b, special, n_special) : put_ranks(&t, b)));
    }
    return KL_OK;
}
