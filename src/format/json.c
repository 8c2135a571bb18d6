#include "format/json.h"
#include "base/error.h"

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Behind the string that begins at `at`; NULL when it does not end. */
static const char *pass_string(const char *at, const char *end)
{
    for (at++; at < end; at++) {
        if (*at == '\\' && end - at > 1)
            at++;
        else if (*at == '"')
            return at + 1;
    }
    return NULL;
}

struct extent {
    const char *end; /* where the value stops; NULL when a string in it does not */
    int depth;       /* brackets inside each other */
    size_t n_value;
};

/* The extent of the value at `at`, by brackets and strings alone: up to a comma or a closing bracket of the object
 * around it.  Stops early past the limit of depth. */
static struct extent measure(const char *at, const char *end)
{
    struct extent e = {.n_value = 1};
    int open = 0;
    while (at < end) {
        char c = *at;
        if (open == 0 && (c == ',' || c == '}' || c == ']'))
            break;
        if (c == '{' || c == '[')
            open++;
        if (c == '}' || c == ']')
            open--;
        e.depth = open > e.depth ? open : e.depth;
        e.n_value += c == ',' || c == '{' || c == '[';
        if (e.depth > KL__JSON_DEPTH)
            break;
        at = c == '"' ? pass_string(at, end) : at + 1;
        if (!at)
            return e;
    }
    e.end = at;
    return e;
}

static kl_status fail_at(const struct kl__json_walk *w, const char *at, const char *expected)
{
    char found[8] = "the end";
    if (at < w->end) {
        found[0] = found[2] = '\'';
        found[1] = *at >= ' ' && *at < 0x7f ? *at : '?';
        found[3] = 0;
    }
    return kl__fail(w->err, KL_ERR_FORMAT, "%s: %s, byte %zu: found %s, expected %s", kl__shown_path(w->path).text,
                    w->what, (size_t)(at - w->start), found, expected);
}

static void skip_space(struct kl__json_walk *w)
{
    while (w->at < w->end && is_space(*w->at))
        w->at++;
}

static kl_status expect(struct kl__json_walk *w, char c, const char *expected)
{
    skip_space(w);
    if (w->at == w->end || *w->at != c)
        return fail_at(w, w->at, expected);
    w->at++;
    return KL_OK;
}

kl_status kl__json_walk(struct kl__json_walk *w, struct kl__str object, const char *path, const char *what,
                        kl_error *err)
{
    const char *start = object.bytes ? object.at : "";
    *w = (struct kl__json_walk){
        .path = path, .what = what, .start = start, .at = start, .end = start + object.bytes, .err = err};
    return expect(w, '{', "'{'");
}

/* At a closing brace: nothing but space may follow. */
static kl_status finish(struct kl__json_walk *w, struct kl__str *key)
{
    w->at++;
    skip_space(w);
    if (w->at < w->end)
        return fail_at(w, w->at, "nothing more");
    *key = (struct kl__str){0};
    return KL_OK;
}

kl_status kl__json_next(struct kl__json_walk *w, struct kl__str *key, struct kl__str *value)
{
    skip_space(w);
    if (w->at < w->end && *w->at == '}')
        return finish(w, key);
    if (w->any)
        KL_TRY(expect(w, ',', "',' or '}'"));
    w->any = true;
    KL_TRY(expect(w, '"', "'\"'"));
    const char *begin = w->at - 1, *end = pass_string(begin, w->end);
    if (!end)
        return fail_at(w, w->end, "'\"'");
    *key = (struct kl__str){begin, (size_t)(end - begin)};
    w->at = end;
    KL_TRY(expect(w, ':', "':'"));
    skip_space(w);
    struct extent e = measure(w->at, w->end);
    if (e.depth > KL__JSON_DEPTH)
        return kl__fail(w->err, KL_ERR_UNSUPPORTED, "%s: %s: more than %d brackets inside each other",
                        kl__shown_path(w->path).text, w->what, KL__JSON_DEPTH);
    if (!e.end || e.end == w->end)
        return fail_at(w, w->end, "',' or '}'");
    *value = (struct kl__str){w->at, (size_t)(e.end - w->at)};
    w->at = e.end;
    return KL_OK;
}

/* What a tree of the text would cost: it is measured before the library sees it. */
kl_status kl__json_check_limits(struct kl__str text, const char *path, const char *what, kl_error *err)
{
    struct extent e = {0};
    if (text.bytes && text.bytes <= KL__JSON_BYTES)
        e = measure(text.at, text.at + text.bytes);
    if (text.bytes > KL__JSON_BYTES || e.depth > KL__JSON_DEPTH || e.n_value > KL__JSON_VALUES)
        return kl__fail(err, KL_ERR_UNSUPPORTED,
                        "%s: %s: the JSON is too large: %zu bytes, limit %d; %zu values, limit %d; depth %d, limit %d",
                        kl__shown_path(path).text, what, text.bytes, KL__JSON_BYTES, e.n_value, KL__JSON_VALUES,
                        e.depth, KL__JSON_DEPTH);
    return KL_OK;
}

kl_status kl__json_copy_string(char **room, struct kl__str *copy, struct kl__str json, const char *path,
                               const char *what, kl_error *err)
{
    struct json_t *value;
    struct kl__str text;
    KL_TRY(kl__json_parse(&value, json, path, what, err));
    bool is_string = kl__json_string(value, &text);
    if (is_string) {
        memcpy(*room, text.at, text.bytes);
        *copy = (struct kl__str){*room, text.bytes};
        *room += text.bytes;
    }
    kl__json_free(value);
    if (is_string)
        return KL_OK;
    return kl__fail(err, KL_ERR_FORMAT, "%s: %s: found %s, expected a string", kl__shown_path(path).text, what,
                    kl__shown(json).text);
}
