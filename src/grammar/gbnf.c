/* GBNF: rules as llama.cpp reads them. */
#include "grammar/expr.h"

struct reading {
    struct kl__parse *p;
    struct kl__str text;
    size_t at;
    int depth;
};

static char peek(const struct reading *r)
{
    return r->at < r->text.bytes ? r->text.at[r->at] : 0;
}

static bool fail(struct reading *r, const char *expected)
{
    struct kl__str rest = {r->text.at + r->at, r->text.bytes - r->at < 20 ? r->text.bytes - r->at : 20};
    return kl__parse_fail(r->p, KL_ERR_FORMAT, "the grammar has \"%s\" at byte %zu, expected %s", kl__shown(rest).text,
                          r->at, expected);
}

/* Blanks and comments, and with `lines` the ends of lines. */
static void skip(struct reading *r, bool lines)
{
    for (; r->at < r->text.bytes; r->at++) {
        char c = r->text.at[r->at];
        if (c == '#')
            while (r->at + 1 < r->text.bytes && r->text.at[r->at + 1] != '\n')
                r->at++;
        else if (c != ' ' && c != '\t' && !(lines && (c == '\n' || c == '\r')))
            return;
    }
}

static bool is_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

/* A rule's number by its name; whoever is called first makes it. */
static int rule_of(struct reading *r, struct kl__str name)
{
    for (int i = 0; i < r->p->n_rule; i++)
        if (kl__str_same(r->p->rule[i].name, name))
            return i;
    return kl__rule_new(r->p, name);
}

static bool read_name(struct reading *r, struct kl__str *name)
{
    size_t from = r->at;
    while (is_name(peek(r)))
        r->at++;
    *name = (struct kl__str){r->text.at + from, r->at - from};
    return name->bytes > 0 || fail(r, "the name of a rule");
}

/* A character, perhaps behind a backslash. */
static bool read_char(struct reading *r, uint32_t *c)
{
    static const char names[] = "nrt\\\"[]-^", values[] = "\n\r\t\\\"[]-^";
    if (r->at >= r->text.bytes)
        return fail(r, "a character");
    if (peek(r) != '\\')
        return kl__next_char(c, r->text, &r->at) || fail(r, "UTF-8");
    r->at++;
    char kind = peek(r);
    int digits = kind == 'x' ? 2 : kind == 'u' ? 4 : kind == 'U' ? 8 : 0;
    if (digits) {
        r->at++;
        if (!kl__read_hex(c, r->text, &r->at, digits) || *c > KL__CHAR_LAST || (*c >= 0xD800 && *c < 0xE000))
            return fail(r, "the digits of a character");
        return true;
    }
    const char *found = kind ? strchr(names, kind) : NULL;
    if (!found)
        return fail(r, "n, r, t, x, u, U or a mark behind a backslash");
    r->at++;
    *c = (uint32_t)values[found - names];
    return true;
}

static struct kl__expr *read_text(struct reading *r)
{
    struct kl__expr *all = kl__expr_new(r->p, KL__EXPR_SEQ);
    char piece[256];
    size_t n = 0;
    for (r->at++; all && peek(r) != '"';) {
        uint32_t c;
        if (!read_char(r, &c))
            return NULL;
        n += (size_t)kl__put_char(piece + n, c);
        if (n + 4 > sizeof piece) {
            if (!kl__expr_add(r->p, all, kl__expr_text(r->p, piece, n)))
                return NULL;
            n = 0;
        }
    }
    r->at++;
    return kl__expr_add(r->p, all, kl__expr_text(r->p, piece, n)) ? all : NULL;
}

static struct kl__expr *read_class(struct reading *r)
{
    struct kl__expr *set = kl__expr_new(r->p, KL__EXPR_SET);
    r->at++;
    bool inverted = peek(r) == '^';
    r->at += inverted;
    while (set && peek(r) != ']') {
        uint32_t first, last;
        if (!read_char(r, &first))
            return NULL;
        last = first;
        if (peek(r) == '-' && r->at + 1 < r->text.bytes && r->text.at[r->at + 1] != ']') {
            r->at++;
            if (!read_char(r, &last))
                return NULL;
        }
        if (last < first) {
            fail(r, "a range that goes up");
            return NULL;
        }
        if (!kl__expr_add_chars(r->p, set, first, last))
            return NULL;
    }
    r->at++;
    if (inverted)
        kl__expr_invert(r->p, set);
    return set;
}

static struct kl__expr *read_alternatives(struct reading *r, bool nested);

static struct kl__expr *read_group(struct reading *r)
{
    if (++r->depth > KL__NESTING) {
        kl__parse_fail(r->p, KL_ERR_UNSUPPORTED, "the grammar has more than %d brackets inside each other at byte %zu",
                       KL__NESTING, r->at);
        return NULL;
    }
    r->at++;
    struct kl__expr *inner = read_alternatives(r, true);
    if (inner && peek(r) != ')') {
        fail(r, ") or more of the group");
        return NULL;
    }
    r->at++;
    r->depth--;
    return inner;
}

static struct kl__expr *read_any(struct reading *r)
{
    r->at++;
    return kl__expr_set(r->p, &(struct kl__chars){0, KL__CHAR_LAST}, 1);
}

/* Something without its repetition; *none: nothing that begins something. */
static struct kl__expr *read_item(struct reading *r, bool *none)
{
    struct kl__str name;
    char c = peek(r);
    *none = false;
    if (c == '"')
        return read_text(r);
    if (c == '[')
        return read_class(r);
    if (c == '(')
        return read_group(r);
    if (c == '.')
        return read_any(r);
    if (is_name(c))
        return read_name(r, &name) ? kl__expr_call(r->p, rule_of(r, name)) : NULL;
    *none = true;
    return NULL;
}

static struct kl__expr *read_repetition(struct reading *r, struct kl__expr *body)
{
    int least = 0, most = -1;
    while (body) {
        char c = peek(r);
        if (c == '{') {
            r->at++;
            if (!kl__read_counts(r->p, r->text, &r->at, &least, &most))
                return NULL;
        } else if (c == '*' || c == '+' || c == '?') {
            r->at++;
            least = c == '+';
            most = c == '?' ? 1 : -1;
        } else
            return body;
        body = kl__expr_repeat(r->p, body, least, most);
    }
    return NULL;
}

static struct kl__expr *read_sequence(struct reading *r, bool nested)
{
    struct kl__expr *all = kl__expr_new(r->p, KL__EXPR_SEQ);
    for (skip(r, nested); all; skip(r, nested)) {
        bool none;
        struct kl__expr *item = read_item(r, &none);
        if (none)
            return all;
        item = read_repetition(r, item);
        if (!kl__expr_add(r->p, all, item))
            return NULL;
    }
    return NULL;
}

/* Outside of groups a line may begin with | as well. */
static bool goes_on(struct reading *r, bool nested)
{
    size_t before = r->at;
    skip(r, true);
    if (peek(r) == '|') {
        r->at++;
        skip(r, true);
        return true;
    }
    if (!nested)
        r->at = before;
    return false;
}

static struct kl__expr *read_alternatives(struct reading *r, bool nested)
{
    struct kl__expr *all = kl__expr_new(r->p, KL__EXPR_ALT);
    do
        if (!kl__expr_add(r->p, all, read_sequence(r, nested)))
            return NULL;
    while (goes_on(r, nested));
    return all;
}

static bool read_rule(struct reading *r)
{
    struct kl__str name;
    if (!read_name(r, &name))
        return false;
    int rule = rule_of(r, name);
    skip(r, false);
    if (rule < 0 || r->text.bytes - r->at < 3 || memcmp(r->text.at + r->at, "::=", 3) != 0)
        return fail(r, "::=");
    if (r->p->rule[rule].expr)
        return kl__parse_fail(r->p, KL_ERR_FORMAT, "the grammar has the rule \"%s\" twice", kl__shown(name).text);
    r->at += 3;
    skip(r, true);
    struct kl__expr *expr = read_alternatives(r, false);
    if (!expr)
        return false;
    r->p->rule[rule].expr = expr;
    skip(r, false);
    return r->at == r->text.bytes || peek(r) == '\n' || peek(r) == '\r' || fail(r, "the end of the line");
}

bool kl__parse_gbnf(struct kl__parse *p, struct kl__str text)
{
    struct reading r = {.p = p, .text = text};
    for (skip(&r, true); r.at < text.bytes; skip(&r, true))
        if (!read_rule(&r))
            return false;
    p->root = -1;
    for (int i = 0; i < p->n_rule; i++) {
        if (!p->rule[i].expr)
            return kl__parse_fail(p, KL_ERR_FORMAT, "the grammar calls the rule \"%s\", which it does not have",
                                  kl__shown(p->rule[i].name).text);
        if (kl__str_same(p->rule[i].name, kl__str("root")))
            p->root = i;
    }
    return p->root >= 0 || kl__parse_fail(p, KL_ERR_FORMAT, "the grammar has %d rules, expected one called root",
                                          p->n_rule);
}
