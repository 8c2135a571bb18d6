#include "base/error.h"
#include "base/file.h"
#include "format/json.h"
#include "klinear/kl_train.h"

#include <stdio.h>

struct reading {
    const kl_documents *d;
    kl_document_fn *fn;
    void *user;
    int64_t n;
    kl_error *err;
};

static kl_status hand_on(struct reading *r, struct kl__str text)
{
    r->n++;
    return r->fn(r->user, (kl_text){text.at, text.bytes}, r->err);
}

/* The next line, without its end; moves on behind it. */
static struct kl__str next_line(struct kl__str *rest)
{
    const char *end = memchr(rest->at, '\n', rest->bytes);
    struct kl__str line = {rest->at, end ? (size_t)(end - rest->at) : rest->bytes};
    size_t used = line.bytes + (end != NULL);
    rest->at += used;
    rest->bytes -= used;
    if (line.bytes && line.at[line.bytes - 1] == '\r')
        line.bytes--;
    return line;
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static struct kl__str trimmed(struct kl__str s)
{
    while (s.bytes && is_space(s.at[0])) {
        s.at++;
        s.bytes--;
    }
    while (s.bytes && is_space(s.at[s.bytes - 1]))
        s.bytes--;
    return s;
}

/* ---------------------------------------------------------------------------------------------------- plain text -- */

static kl_status read_plain(struct reading *r, struct kl__str rest)
{
    struct kl__str document = {rest.at, 0};
    while (rest.bytes) {
        struct kl__str line = next_line(&rest);
        bool ends = r->d->separator && kl__str_same(line, kl__str(r->d->separator));
        if (!ends)
            document.bytes = (size_t)(rest.at - document.at);
        if (!ends && rest.bytes)
            continue;
        document = trimmed(document);
        if (document.bytes)
            KL_TRY(hand_on(r, document));
        document = (struct kl__str){rest.at, 0};
    }
    return KL_OK;
}

/* --------------------------------------------------------------------------------------------------------- JSONL -- */

static kl_status read_object(struct reading *r, struct kl__str line, int64_t number)
{
    struct json_t *object;
    struct kl__str text;
    char what[40];
    snprintf(what, sizeof what, "line %lld", (long long)number);
    KL_TRY(kl__json_parse(&object, line, r->d->path, what, r->err));
    kl_status status;
    if (!kl__json_string(kl__json_member(object, r->d->field), &text))
        status = kl__fail(r->err, KL_ERR_FORMAT, "%s: %s has no text '%s'", kl__shown_path(r->d->path).text, what,
                          kl__shown(kl__str(r->d->field)).text);
    else if (trimmed(text).bytes == 0)
        status = kl__fail(r->err, KL_ERR_FORMAT, "%s: %s: the text '%s' is empty", kl__shown_path(r->d->path).text,
                          what, kl__shown(kl__str(r->d->field)).text);
    else
        status = hand_on(r, text);
    kl__json_free(object);
    return status;
}

static kl_status read_lines(struct reading *r, struct kl__str rest)
{
    for (int64_t number = 1; rest.bytes; number++) {
        struct kl__str line = trimmed(next_line(&rest));
        if (line.bytes)
            KL_TRY(read_object(r, line, number));
    }
    return KL_OK;
}

kl_status kl_documents_each(const kl_documents *d, kl_document_fn *fn, void *user, int64_t *n_document, kl_error *err)
{
    struct kl__map map;
    struct reading r = {d, fn, user, 0, err};
    KL_TRY(kl__map_open(&map, d->path, err));
    struct kl__str all = {(const char *)map.data, map.bytes};
    kl_status status = d->field ? read_lines(&r, all) : read_plain(&r, all);
    kl__map_close(&map);
    KL_TRY(status);
    if (r.n == 0)
        return kl__fail(err, KL_ERR_FORMAT, "%s: has no documents", kl__shown_path(d->path).text);
    if (n_document)
        *n_document = r.n;
    return KL_OK;
}
