/* Regular expressions: the part of the usual notation that is regular. */
#include "grammar/expr.h"

struct reading {
    struct kl__parse *p;
    struct kl__str text;
    size_t at;
    int depth;
    bool json;              /* inside a JSON string */
    bool from_any, to_any;  /* the alternative that was read has no ^, no $ */
};

static char peek(const struct reading *r)
{
    return r->at < r->text.bytes ? r->text.at[r->at] : 0;
}

static bool refuse(struct reading *r, kl_status status, const char *what)
{
    return kl__parse_fail(r->p, status, "the regular expression has %s at byte %zu", what, r->at);
}

static struct kl__expr *set_of(struct reading *r, const struct kl__chars *chars, int n)
{
    struct kl__expr *set = kl__expr_set(r->p, chars, n);
    if (set)
        set->json = r->json;
    return set;
}

static const struct kl__chars digits[] = {{'0', '9'}};
static const struct kl__chars words[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
static const struct kl__chars blanks[] = {{'\t', '\r'}, {' ', ' '}};

/* \d, \w, \s and their opposites are added to a set; false: it is none of those. */
static bool add_kind(struct reading *r, struct kl__expr *set, char kind)
{
    static const struct {
        char name;
        int n;
        const struct kl__chars *chars;
    } kinds[] = {{'d', 1, digits}, {'w', 4, words}, {'s', 2, blanks}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if ((kind | 0x20) != kinds[i].name)
            continue;
        struct kl__expr *some = kl__expr_set(r->p, kinds[i].chars, kinds[i].n);
        if (kind < 'a')
            kl__expr_invert(r->p, some);
        for (int k = 0; some && k < some->n; k++)
            kl__expr_add_chars(r->p, set, some->set[k].first, some->set[k].last);
        return true;
    }
    return false;
}

/* What stands behind a backslash, which is one character. */
static bool read_escape(struct reading *r, uint32_t *c)
{
    static const char names[] = "nrtfv0", values[] = "\n\r\t\f\v";
    char kind = peek(r);
    const char *found = kind ? strchr(names, kind) : NULL;
    int n = kind == 'x' ? 2 : kind == 'u' ? 4 : 0;
    if (n) {
        r->at++;
        return (kl__read_hex(c, r->text, &r->at, n) && (*c < 0xD800 || *c >= 0xE000)) ||
               refuse(r, KL_ERR_FORMAT, "no digits of a character");
    }
    if (found) {
        r->at++;
        *c = (uint32_t)values[found - names];
        return true;
    }
    if ((kind >= 'a' && kind <= 'z') || (kind >= 'A' && kind <= 'Z') || (kind >= '1' && kind <= '9') || !kind)
        return refuse(r, KL_ERR_UNSUPPORTED, "an escape that is not offered (\\b, \\p, a reference back, ...)");
    return kl__next_char(c, r->text, &r->at) || refuse(r, KL_ERR_FORMAT, "no UTF-8");
}

/* A character of a class; *kind: it was a kind of characters, and is in the set. */
static bool read_member(struct reading *r, struct kl__expr *set, uint32_t *c, bool *kind)
{
    *kind = false;
    if (r->at >= r->text.bytes)
        return refuse(r, KL_ERR_FORMAT, "a class without its end");
    if (peek(r) != '\\')
        return kl__next_char(c, r->text, &r->at) || refuse(r, KL_ERR_FORMAT, "no UTF-8");
    r->at++;
    *kind = add_kind(r, set, peek(r));
    if (*kind) {
        r->at++;
        return true;
    }
    if (peek(r) == 'b') {
        r->at++;
        *c = '\b';
        return true;
    }
    return read_escape(r, c);
}

static struct kl__expr *read_class(struct reading *r)
{
    struct kl__expr *set = set_of(r, NULL, 0);
    r->at++;
    bool inverted = peek(r) == '^', kind;
    r->at += inverted;
    for (bool first = true; set && (first || peek(r) != ']'); first = false) {
        uint32_t from, to;
        if (!read_member(r, set, &from, &kind))
            return NULL;
        to = from;
        bool range = !kind && peek(r) == '-' && r->at + 1 < r->text.bytes && r->text.at[r->at + 1] != ']';
        if (range) {
            r->at++;
            if (!read_member(r, set, &to, &kind))
                return NULL;
            if (kind || to < from) {
                refuse(r, KL_ERR_FORMAT, "a range that does not go up");
                return NULL;
            }
        }
        if (!kind && !kl__expr_add_chars(r->p, set, from, to))
            return NULL;
    }
    r->at++;
    if (inverted)
        kl__expr_invert(r->p, set);
    return set;
}

static struct kl__expr *read_alternatives(struct reading *r);

static struct kl__expr *read_group(struct reading *r)
{
    if (++r->depth > KL__NESTING) {
        refuse(r, KL_ERR_UNSUPPORTED, "too many brackets inside each other");
        return NULL;
    }
    r->at++;
    if (peek(r) == '?') {
        if (r->at + 1 >= r->text.bytes || r->text.at[r->at + 1] != ':') {
            refuse(r, KL_ERR_UNSUPPORTED, "a group that looks around, has a name or sets flags");
            return NULL;
        }
        r->at += 2;
    }
    struct kl__expr *inner = read_alternatives(r);
    if (inner && peek(r) != ')') {
        refuse(r, KL_ERR_FORMAT, "a group without its end");
        return NULL;
    }
    r->at++;
    r->depth--;
    return inner;
}

static struct kl__expr *read_escaped(struct reading *r)
{
    uint32_t c = 0;
    struct kl__expr *set = set_of(r, NULL, 0);
    r->at++;
    if (set && add_kind(r, set, peek(r))) {
        r->at++;
        return set;
    }
    return set && read_escape(r, &c) && kl__expr_add_chars(r->p, set, c, c) ? set : NULL;
}

static struct kl__expr *read_item(struct reading *r)
{
    static const struct kl__chars any[] = {{0, '\n' - 1}, {'\n' + 1, KL__CHAR_LAST}};
    uint32_t c;
    switch (peek(r)) {
    case '[':
        return read_class(r);
    case '(':
        return read_group(r);
    case '\\':
        return read_escaped(r);
    case '.':
        r->at++;
        return set_of(r, any, 2);
    case '*':
    case '+':
    case '?':
    case '{':
        refuse(r, KL_ERR_FORMAT, "a repetition of nothing");
        return NULL;
    case '^':
    case '$':
        refuse(r, KL_ERR_UNSUPPORTED, "^ or $ elsewhere than at the ends");
        return NULL;
    default:
        if (kl__next_char(&c, r->text, &r->at))
            return set_of(r, &(struct kl__chars){c, c}, 1);
        refuse(r, KL_ERR_FORMAT, "no UTF-8");
        return NULL;
    }
}

static struct kl__expr *read_repetition(struct reading *r, struct kl__expr *body)
{
    int least = 0, most = -1;
    char c = peek(r);
    if (!body || (c != '*' && c != '+' && c != '?' && c != '{'))
        return body;
    r->at++;
    if (c == '{') {
        if (!kl__read_counts(r->p, r->text, &r->at, &least, &most))
            return NULL;
    } else {
        least = c == '+';
        most = c == '?' ? 1 : -1;
    }
    if (peek(r) == '?') /* which match is found first makes no difference here */
        r->at++;
    if (peek(r) == '+' || peek(r) == '*') {
        refuse(r, KL_ERR_UNSUPPORTED, "a repetition of a repetition");
        return NULL;
    }
    return kl__expr_repeat(r->p, body, least, most);
}

static struct kl__expr *read_sequence(struct reading *r)
{
    struct kl__expr *all = kl__expr_new(r->p, KL__EXPR_SEQ);
    bool outer = r->depth == 0;
    r->from_any = r->to_any = true;
    if (outer && peek(r) == '^') {
        r->at++;
        r->from_any = false;
    }
    bool from_any = r->from_any;
    while (all && r->at < r->text.bytes && peek(r) != '|' && peek(r) != ')') {
        if (outer && peek(r) == '$' && (r->at + 1 == r->text.bytes || r->text.at[r->at + 1] == '|')) {
            r->at++;
            r->to_any = false;
            break;
        }
        bool to_any = r->to_any;
        if (!kl__expr_add(r->p, all, read_repetition(r, read_item(r))))
            return NULL;
        r->to_any = to_any;
    }
    r->from_any = from_any;
    return all;
}

/* In a JSON string an alternative without ^ may have anything in front of it, and one without $ behind it. */
static struct kl__expr *loosen(struct reading *r, struct kl__expr *body)
{
    if (!r->json || r->depth > 0 || !body)
        return body;
    struct kl__expr *all = kl__expr_new(r->p, KL__EXPR_SEQ);
    for (int i = 0; i < 3; i++) {
        struct kl__expr *part = body;
        if (i != 1 && !(i == 0 ? r->from_any : r->to_any))
            continue;
        if (i != 1)
            part = kl__expr_repeat(r->p, set_of(r, &(struct kl__chars){0, KL__CHAR_LAST}, 1), 0, -1);
        if (!kl__expr_add(r->p, all, part))
            return NULL;
    }
    return all;
}

static struct kl__expr *read_alternatives(struct reading *r)
{
    struct kl__expr *all = kl__expr_new(r->p, KL__EXPR_ALT);
    for (bool more = true; more; r->at += more) {
        if (!kl__expr_add(r->p, all, loosen(r, read_sequence(r))))
            return NULL;
        more = peek(r) == '|';
    }
    return all;
}

static struct kl__expr *read_all(struct reading *r)
{
    struct kl__expr *all = read_alternatives(r);
    if (all && r->at < r->text.bytes) {
        refuse(r, KL_ERR_FORMAT, "a bracket that closes nothing");
        return NULL;
    }
    return all;
}

struct kl__expr *kl__regex_in_json(struct kl__parse *p, struct kl__str text)
{
    return read_all(&(struct reading){.p = p, .text = text, .json = true});
}

bool kl__parse_regex(struct kl__parse *p, struct kl__str text)
{
    struct kl__expr *all = read_all(&(struct reading){.p = p, .text = text});
    p->root = all ? kl__rule_new(p, kl__str("root")) : -1;
    if (p->root < 0)
        return false;
    p->rule[p->root].expr = all;
    return true;
}
