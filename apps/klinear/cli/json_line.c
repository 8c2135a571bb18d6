#include "json_line.h"

#include "base/error.h"
#include "base/str.h"

#include <string.h>

struct reader {
    const char *line;
    size_t bytes, at;
    kl_error *err;
};

static kl_status refuse(const struct reader *r, const char *found_and_expected)
{
    return kl__fail(r->err, KL_ERR_FORMAT, "column %zu: %s", r->at + 1, found_and_expected);
}

static void skip_space(struct reader *r)
{
    while (r->at < r->bytes && r->line[r->at] && strchr(" \t\r\n", r->line[r->at]))
        r->at++;
}

/* Four hexadecimal digits at `at`; -1: they are not there. */
static int32_t hex4(const struct reader *r, size_t at)
{
    int32_t value = 0;
    if (at + 4 > r->bytes)
        return -1;
    for (size_t i = at; i < at + 4; i++) {
        const char *digits = "0123456789abcdef", c = r->line[i];
        const char *found = c ? strchr(digits, c >= 'A' && c <= 'F' ? c + 32 : c) : NULL;
        if (!found)
            return -1;
        value = value << 4 | (int32_t)(found - digits);
    }
    return value;
}

static size_t put_utf8(char *to, uint32_t c)
{
    if (c < 0x80) {
        to[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (size_t i = n - 1; i > 0; i--, c >>= 6)
        to[i] = (char)(0x80 | (c & 0x3F));
    to[0] = (char)(lead[n] | c);
    return n;
}

/* What follows \u: a character, of two halves when it is beyond U+FFFF. */
static kl_status read_code(struct reader *r, char *to, size_t *n)
{
    int32_t c = hex4(r, r->at), low;
    if (c < 0)
        return refuse(r, "expected four hexadecimal digits after \\u");
    r->at += 4;
    if (c >= 0xD800 && c < 0xDC00 && r->at + 2 <= r->bytes && memcmp(r->line + r->at, "\\u", 2) == 0 &&
        (low = hex4(r, r->at + 2)) >= 0xDC00 && low < 0xE000) {
        c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
        r->at += 6;
    }
    *n += put_utf8(to + *n, c >= 0xD800 && c < 0xE000 ? 0xFFFD : (uint32_t)c);
    return KL_OK;
}

static kl_status read_escape(struct reader *r, char *to, size_t *n)
{
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    char c = r->at < r->bytes ? r->line[r->at] : 0;
    if (c == 'u') {
        r->at++;
        return read_code(r, to, n);
    }
    const char *found = c ? strchr(names, c) : NULL;
    if (!found)
        return refuse(r, "expected one of \" \\ / b f n r t u after a backslash");
    r->at++;
    to[(*n)++] = values[found - names];
    return KL_OK;
}

kl_status ka_json_line(char *line, size_t bytes, size_t *n, kl_error *err)
{
    struct reader r = {line, bytes, 0, err};
    if (!kl__utf8_valid((struct kl__str){line, bytes}))
        return kl__fail(err, KL_ERR_FORMAT, "the line is not UTF-8");
    skip_space(&r);
    if (r.at == bytes || line[r.at] != '"')
        return refuse(&r, "expected a JSON string");
    r.at++;
    *n = 0;
    for (;;) {
        if (r.at == bytes)
            return refuse(&r, "the string does not end");
        unsigned char c = (unsigned char)line[r.at];
        if (c < 0x20)
            return refuse(&r, "a control character, expected it as \\u00..");
        r.at++;
        if (c == '"')
            break;
        if (c != '\\')
            line[(*n)++] = (char)c; /* what is written is never longer than what was read */
        else
            KL_TRY(read_escape(&r, line, n));
    }
    skip_space(&r);
    return r.at == bytes ? KL_OK : refuse(&r, "expected nothing after the string");
}
