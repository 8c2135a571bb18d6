#include "grammar/expr.h"

#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

bool kl__parse_fail(struct kl__parse *p, kl_status status, const char *format, ...)
{
    char text[256];
    va_list list;
    if (p->status != KL_OK)
        return false;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    p->status = kl__fail(p->err, status, "%s", text);
    return false;
}

bool kl__parse_memory(struct kl__parse *p)
{
    return kl__parse_fail(p, KL_ERR_MEMORY, "no memory for a grammar");
}

/* -------------------------------------------------------------------------------------------------- expressions -- */

struct kl__expr *kl__expr_new(struct kl__parse *p, enum kl__expr_kind kind)
{
    struct kl__expr *e = p->status == KL_OK ? kl__arena_take(&p->arena, sizeof *e) : NULL;
    if (!e) {
        kl__parse_memory(p);
        return NULL;
    }
    e->kind = kind;
    return e;
}

struct kl__expr *kl__expr_text(struct kl__parse *p, const char *text, size_t bytes)
{
    struct kl__expr *e = kl__expr_new(p, KL__EXPR_TEXT);
    char *copy = e ? kl__arena_take(&p->arena, bytes + 1) : NULL;
    if (!copy) {
        kl__parse_memory(p);
        return NULL;
    }
    if (bytes)
        memcpy(copy, text, bytes);
    e->text = (struct kl__str){copy, bytes};
    return e;
}

struct kl__expr *kl__expr_set(struct kl__parse *p, const struct kl__chars *chars, int n)
{
    struct kl__expr *e = kl__expr_new(p, KL__EXPR_SET);
    for (int i = 0; e && i < n; i++)
        kl__expr_add_chars(p, e, chars[i].first, chars[i].last);
    return p->status == KL_OK ? e : NULL;
}

struct kl__expr *kl__expr_repeat(struct kl__parse *p, struct kl__expr *body, int least, int most)
{
    struct kl__expr *e = kl__expr_new(p, KL__EXPR_REPEAT);
    if (!e || !kl__expr_add(p, e, body))
        return NULL;
    e->least = least;
    e->most = most;
    return e;
}

struct kl__expr *kl__expr_call(struct kl__parse *p, int rule)
{
    struct kl__expr *e = rule >= 0 ? kl__expr_new(p, KL__EXPR_CALL) : NULL;
    if (e)
        e->rule = rule;
    return e;
}

/* Room for one more of `size` bytes in a list in the arena; NULL: no memory. */
static void *grow(struct kl__parse *p, void *list, int n, int *room, size_t size)
{
    if (n < *room)
        return list;
    int more = *room ? 2 * *room : 4;
    void *longer = kl__arena_take(&p->arena, (size_t)more * size);
    if (!longer) {
        kl__parse_memory(p);
        return NULL;
    }
    if (n)
        memcpy(longer, list, (size_t)n * size);
    *room = more;
    return longer;
}

bool kl__expr_add(struct kl__parse *p, struct kl__expr *to, struct kl__expr *part)
{
    struct kl__expr **list = to && part ? grow(p, to->part, to->n, &to->room, sizeof *list) : NULL;
    if (!list)
        return false;
    to->part = list;
    to->part[to->n++] = part;
    return true;
}

bool kl__expr_add_chars(struct kl__parse *p, struct kl__expr *set, uint32_t first, uint32_t last)
{
    struct kl__chars *list = set ? grow(p, set->set, set->n, &set->room, sizeof *list) : NULL;
    if (!list)
        return false;
    set->set = list;
    set->set[set->n++] = (struct kl__chars){first, last};
    return true;
}

static int by_first(const void *a, const void *b)
{
    const struct kl__chars *x = a, *y = b;
    return (x->first > y->first) - (x->first < y->first);
}

void kl__expr_invert(struct kl__parse *p, struct kl__expr *set)
{
    struct kl__expr *other = set ? kl__expr_new(p, KL__EXPR_SET) : NULL;
    uint32_t from = 0;
    if (!other)
        return;
    if (set->n)
        qsort(set->set, (size_t)set->n, sizeof *set->set, by_first);
    for (int i = 0; i < set->n; i++) {
        if (set->set[i].first > from)
            kl__expr_add_chars(p, other, from, set->set[i].first - 1);
        from = set->set[i].last + 1 > from ? set->set[i].last + 1 : from;
    }
    if (from <= KL__CHAR_LAST)
        kl__expr_add_chars(p, other, from, KL__CHAR_LAST);
    set->set = other->set;
    set->n = other->n;
    set->room = other->room;
}

int kl__rule_new(struct kl__parse *p, struct kl__str name)
{
    struct kl__rule *list = NULL;
    if (p->n_rule < KL__RULES_MOST)
        list = grow(p, p->rule, p->n_rule, &p->n_rule_room, sizeof *list);
    else
        kl__parse_fail(p, KL_ERR_UNSUPPORTED, "the grammar has more than %d rules", KL__RULES_MOST);
    if (!list)
        return -1;
    p->rule = list;
    p->rule[p->n_rule] = (struct kl__rule){.name = name};
    return p->n_rule++;
}

/* ---------------------------------------------------------------------------------------------------- characters -- */

bool kl__next_char(uint32_t *c, struct kl__str text, size_t *at)
{
    const unsigned char *s = (const unsigned char *)text.at + *at;
    size_t left = text.bytes - *at, n = *s < 0x80 ? 1 : *s < 0xE0 ? 2 : *s < 0xF0 ? 3 : 4;
    if (n > left || !kl__utf8_valid((struct kl__str){(const char *)s, n}))
        return false;
    *c = n == 1 ? *s : *s & (0x7F >> n);
    for (size_t i = 1; i < n; i++)
        *c = *c << 6 | (s[i] & 0x3F);
    *at += n;
    return true;
}

int kl__put_char(char *to, uint32_t c)
{
    if (c < 0x80) {
        to[0] = (char)c;
        return 1;
    }
    int n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (int i = n - 1; i > 0; i--, c >>= 6)
        to[i] = (char)(0x80 | (c & 0x3F));
    to[0] = (char)(lead[n] | c);
    return n;
}

bool kl__read_hex(uint32_t *value, struct kl__str text, size_t *at, int n)
{
    *value = 0;
    for (int i = 0; i < n; i++, (*at)++) {
        char c = *at < text.bytes ? text.at[*at] : 0;
        int lower = c >= 'A' && c <= 'F' ? c - 'A' + 'a' : c;
        int d = c >= '0' && c <= '9' ? c - '0' : lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
        if (d < 0)
            return false;
        *value = *value << 4 | (uint32_t)d;
    }
    return true;
}

/* Digits; -1 when there are none. */
static bool read_count(struct kl__parse *p, struct kl__str text, size_t *at, int *count)
{
    *count = -1;
    for (; *at < text.bytes && text.at[*at] >= '0' && text.at[*at] <= '9'; (*at)++) {
        *count = (*count < 0 ? 0 : *count * 10) + (text.at[*at] - '0');
        if (*count > KL__REPEAT_MOST)
            return kl__parse_fail(p, KL_ERR_UNSUPPORTED, "a repetition at byte %zu asks for more than %d times", *at,
                                  KL__REPEAT_MOST);
    }
    return true;
}

bool kl__read_counts(struct kl__parse *p, struct kl__str text, size_t *at, int *least, int *most)
{
    size_t from = *at;
    if (!read_count(p, text, at, least))
        return false;
    *most = *least;
    if (*at < text.bytes && text.at[*at] == ',') {
        (*at)++;
        if (!read_count(p, text, at, most))
            return false;
        *least = *least < 0 ? 0 : *least;
    }
    bool closed = *at < text.bytes && text.at[*at] == '}';
    if (!closed || *least < 0 || (*most >= 0 && *most < *least))
        return kl__parse_fail(p, KL_ERR_FORMAT, "the repetition at byte %zu is none, expected {m}, {m,} or {m,n}",
                              from);
    (*at)++;
    return true;
}
