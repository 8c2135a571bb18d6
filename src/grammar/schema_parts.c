/* JSON schemas: objects, arrays, and whole numbers within bounds. */
#include "grammar/schema.h"

#include <stdint.h>

static struct kl__expr *mark(struct kl__schema *s, const char *text)
{
    return kl__expr_text(s->p, text, strlen(text));
}

/* ------------------------------------------------------------------------------------------------------- objects -- */

enum { NAME_CHARS = 256, NAMES = 4096 };

struct name {
    uint32_t at[NAME_CHARS]; /* [n] characters */
    int n;
};

/* Keys of additional properties must be none of the names, or a key would come twice.  They have no escapes, so that
 * they cannot be a name in disguise. */
struct others {
    struct kl__schema *s;
    struct name *name; /* [n] */
    int n;
};

/* Any characters of a key, as they are. */
static struct kl__expr *plain(struct kl__schema *s)
{
    static const struct kl__chars chars[] = {{0x20, '"' - 1}, {'"' + 1, '\\' - 1}, {'\\' + 1, KL__CHAR_LAST}};
    return kl__expr_set(s->p, chars, 3);
}

/* What may follow the first `at` characters of the names in `in` [n], which have those alike. */
static struct kl__expr *other_rest(struct others *o, int *in, int n, int at)
{
    struct kl__parse *p = o->s->p;
    struct kl__expr *all = kl__expr_new(p, KL__EXPR_ALT), *set = kl__expr_new(p, KL__EXPR_SET);
    static const struct kl__chars marks[] = {{0, 0x1F}, {'"', '"'}, {'\\', '\\'}};
    bool is_name = false;
    for (int i = 0; i < 3; i++)
        kl__expr_add_chars(p, set, marks[i].first, marks[i].last);
    for (int first = 0, end; first < n && p->status == KL_OK; first = end) {
        end = first + 1;
        if (o->name[in[first]].n == at) {
            is_name = true;
            continue;
        }
        uint32_t c = o->name[in[first]].at[at];
        for (int k = end; k < n; k++) /* those that go on with the same character come next */
            if (o->name[in[k]].n > at && o->name[in[k]].at[at] == c) {
                int swap = in[k];
                in[k] = in[end];
                in[end++] = swap;
            }
        struct kl__expr *one = kl__expr_set(p, &(struct kl__chars){c, c}, 1);
        kl__expr_add_chars(p, set, c, c);
        struct kl__expr *behind = other_rest(o, in + first, end - first, at + 1);
        kl__expr_add(p, all, kl__schema_seq(o->s, 2, (struct kl__expr *[]){one, behind}));
    }
    kl__expr_invert(p, set);
    struct kl__expr *rest = kl__expr_repeat(p, plain(o->s), 0, -1);
    kl__expr_add(p, all, kl__schema_seq(o->s, 2, (struct kl__expr *[]){set, rest}));
    if (!is_name)
        kl__expr_add(p, all, kl__expr_new(p, KL__EXPR_SEQ));
    return all;
}

/* Names with characters that need an escape cannot be met, and are left out. */
static bool read_name(struct name *name, struct kl__str key, bool *met)
{
    *met = true;
    for (size_t at = 0; at < key.bytes;) {
        uint32_t c;
        if (name->n == NAME_CHARS || !kl__next_char(&c, key, &at))
            return false;
        *met &= c >= 0x20 && c != '"' && c != '\\';
        name->at[name->n++] = c;
    }
    return true;
}

static struct kl__expr *other_key(struct kl__schema *s, const struct json_t *properties)
{
    struct others o = {.s = s};
    struct kl__str key;
    const struct json_t *value;
    int n = 0;
    for (void *at = NULL; kl__json_each(properties, &at, &key, &value);)
        n++;
    o.name = kl__arena_take(&s->p->arena, ((size_t)n + 1) * sizeof *o.name);
    int *in = kl__arena_take(&s->p->arena, ((size_t)n + 1) * sizeof *in);
    if (n > NAMES || !o.name || !in) {
        kl__parse_fail(s->p, KL_ERR_UNSUPPORTED, "the JSON schema has too many properties beside additional ones");
        return NULL;
    }
    for (void *at = NULL; kl__json_each(properties, &at, &key, &value);) {
        bool met;
        o.name[o.n].n = 0;
        if (!read_name(&o.name[o.n], key, &met)) {
            kl__parse_fail(s->p, KL_ERR_UNSUPPORTED, "the JSON schema has a property of more than %d characters",
                           NAME_CHARS);
            return NULL;
        }
        if (met) {
            in[o.n] = o.n;
            o.n++;
        }
    }
    struct kl__expr *quote = mark(s, "\"");
    return kl__schema_seq(s, 3, (struct kl__expr *[]){quote, other_rest(&o, in, o.n, 0), quote});
}

/* key ":" ws value */
static struct kl__expr *member(struct kl__schema *s, struct kl__expr *key, struct kl__expr *value)
{
    return kl__schema_seq(s, 4, (struct kl__expr *[]){key, mark(s, ":"), kl__schema_rule(s, "ws"), value});
}

static struct kl__expr *named(struct kl__schema *s, struct kl__str key, const struct json_t *schema)
{
    struct kl__expr *text = kl__expr_text(s->p, key.at, key.bytes), *quote = mark(s, "\"");
    if (text)
        text->json = true;
    return member(s, kl__schema_seq(s, 3, (struct kl__expr *[]){quote, text, quote}), kl__schema_value(s, schema));
}

static bool is_required(const struct json_t *required, struct kl__str key)
{
    struct kl__str one;
    for (size_t i = 0; i < kl__json_items(required); i++)
        if (kl__json_string(kl__json_item(required, i), &one) && kl__str_same(one, key))
            return true;
    return false;
}

/* A rule by an expression, as an expression. */
static struct kl__expr *as_rule(struct kl__schema *s, const char *name, struct kl__expr *e)
{
    int rule = e ? kl__rule_new(s->p, kl__str(name)) : -1;
    if (rule >= 0)
        s->p->rule[rule].expr = e;
    return kl__expr_call(s->p, rule);
}

/* Additional members: none, or as many as there come; `first`: nothing stands in front of them. */
static struct kl__expr *additional(struct kl__schema *s, struct kl__expr *extra, bool first)
{
    struct kl__expr *none = kl__expr_new(s->p, KL__EXPR_SEQ);
    if (!extra)
        return none;
    struct kl__expr *more = kl__schema_seq(s, 3, (struct kl__expr *[]){mark(s, ","), kl__schema_rule(s, "ws"), extra});
    more = kl__expr_repeat(s->p, more, 0, -1);
    if (!first)
        return more;
    return kl__expr_repeat(s->p, kl__schema_seq(s, 2, (struct kl__expr *[]){extra, more}), 0, 1);
}

/* What comes from this property on, made from the last one to the first: behind another member, and as the first. */
struct tails {
    struct kl__expr *behind, *first;
};

static void put_property(struct kl__schema *s, struct tails *t, struct kl__expr *one, bool required)
{
    struct kl__expr *comma = kl__schema_seq(s, 3, (struct kl__expr *[]){mark(s, ","), kl__schema_rule(s, "ws"), one});
    struct kl__expr *first = kl__schema_seq(s, 2, (struct kl__expr *[]){one, t->behind});
    if (!required) {
        struct kl__expr *either = kl__expr_new(s->p, KL__EXPR_ALT);
        kl__expr_add(s->p, either, first);
        kl__expr_add(s->p, either, t->first);
        first = either;
        comma = kl__expr_repeat(s->p, comma, 0, 1);
    }
    t->behind = as_rule(s, "(properties)", kl__schema_seq(s, 2, (struct kl__expr *[]){comma, t->behind}));
    t->first = as_rule(s, "(properties)", first);
}

/* Every required name must be a property. */
static bool check_required(struct kl__schema *s, const struct json_t *properties, const struct json_t *required)
{
    struct kl__str name;
    char key[256];
    for (size_t i = 0; i < kl__json_items(required); i++) {
        bool fits = kl__json_string(kl__json_item(required, i), &name) && name.bytes < sizeof key;
        if (fits) {
            memcpy(key, name.at, name.bytes);
            key[name.bytes] = 0;
        }
        if (!fits || !kl__json_member(properties, key))
            return kl__parse_fail(s->p, KL_ERR_UNSUPPORTED,
                                  "the JSON schema requires \"%s\", which is none of the properties",
                                  fits ? kl__shown(name).text : "?");
    }
    return true;
}

struct property {
    struct kl__str key;
    const struct json_t *schema;
};

/* All properties, so that they can be gone through from the last one; NULL: no memory. */
static struct property *list_properties(struct kl__schema *s, const struct json_t *properties, int *n)
{
    struct kl__str key;
    const struct json_t *value;
    *n = 0;
    for (void *at = NULL; kl__json_each(properties, &at, &key, &value);)
        (*n)++;
    struct property *list = kl__arena_take(&s->p->arena, ((size_t)*n + 1) * sizeof *list);
    if (!list) {
        kl__parse_memory(s->p);
        return NULL;
    }
    *n = 0;
    for (void *at = NULL; kl__json_each(properties, &at, &key, &value);)
        list[(*n)++] = (struct property){key, value};
    return list;
}

struct kl__expr *kl__schema_object(struct kl__schema *s, const struct json_t *schema)
{
    const struct json_t *properties = kl__json_member(schema, "properties");
    const struct json_t *required = kl__json_member(schema, "required");
    const struct json_t *more = kl__json_member(schema, "additionalProperties");
    struct property *list;
    struct kl__expr *extra = NULL;
    bool any = !properties;
    int n = 0;
    if ((properties && !kl__json_is_object(properties)) || (required && !kl__json_is_array(required))) {
        kl__parse_fail(s->p, KL_ERR_FORMAT, "the JSON schema has %s",
                       required && !kl__json_is_array(required) ? "required, expected an array of names"
                                                                : "properties, expected an object");
        return NULL;
    }
    if (more && !kl__json_bool(more, &any))
        any = true;
    if (!check_required(s, properties, required))
        return NULL;
    if (any)
        extra = member(s, other_key(s, properties),
                       more ? kl__schema_value(s, more) : kl__schema_rule(s, "value"));
    if (any && !extra)
        return NULL;
    list = list_properties(s, properties, &n);
    struct tails t = {additional(s, extra, false), additional(s, extra, true)};
    while (list && n-- > 0 && s->p->status == KL_OK)
        put_property(s, &t, as_rule(s, "(property)", named(s, list[n].key, list[n].schema)),
                     is_required(required, list[n].key));
    return kl__schema_seq(s, 5, (struct kl__expr *[]){mark(s, "{"), kl__schema_rule(s, "ws"), t.first,
                                                      kl__schema_rule(s, "ws"), mark(s, "}")});
}

/* -------------------------------------------------------------------------------------------------------- arrays -- */

/* item ("," ws item)*, least to most of them. */
static struct kl__expr *list_of(struct kl__schema *s, struct kl__expr *item, int least, int most)
{
    struct kl__expr *more = kl__schema_seq(s, 3, (struct kl__expr *[]){mark(s, ","), kl__schema_rule(s, "ws"), item});
    struct kl__expr *rest = kl__expr_repeat(s->p, more, least > 0 ? least - 1 : 0, most < 0 ? -1 : most - 1);
    struct kl__expr *all = kl__schema_seq(s, 2, (struct kl__expr *[]){item, rest});
    return least > 0 ? all : kl__expr_repeat(s->p, all, 0, 1);
}

/* Items that have schemas of their own: all of them are written. */
static struct kl__expr *tuple(struct kl__schema *s, const struct json_t *prefix, const struct json_t *items, int least,
                              int most)
{
    struct kl__expr *all = kl__expr_new(s->p, KL__EXPR_SEQ);
    int n = (int)kl__json_items(prefix);
    bool none = true;
    for (int i = 0; i < n; i++) {
        if (i)
            kl__expr_add(s->p, all, mark(s, ","));
        if (i)
            kl__expr_add(s->p, all, kl__schema_rule(s, "ws"));
        kl__expr_add(s->p, all, kl__schema_value(s, kl__json_item(prefix, (size_t)i)));
    }
    if (n == 0 || (most >= 0 && most < n)) {
        kl__parse_fail(s->p, KL_ERR_UNSUPPORTED, "the JSON schema has %d prefixItems and maxItems %d, expected some "
                                                 "and at least as many", n, most);
        return NULL;
    }
    if (items && (!kl__json_bool(items, &none) || none)) {
        struct kl__expr *item = as_rule(s, "(item)", kl__schema_value(s, items));
        struct kl__expr *more =
            kl__schema_seq(s, 3, (struct kl__expr *[]){mark(s, ","), kl__schema_rule(s, "ws"), item});
        kl__expr_add(s->p, all, kl__expr_repeat(s->p, more, least > n ? least - n : 0, most < 0 ? -1 : most - n));
    } else if (least > n)
        kl__parse_fail(s->p, KL_ERR_UNSUPPORTED, "the JSON schema has minItems %d, and %d prefixItems without items",
                       least, n);
    return s->p->status == KL_OK ? all : NULL;
}

struct kl__expr *kl__schema_array(struct kl__schema *s, const struct json_t *schema)
{
    const struct json_t *items = kl__json_member(schema, "items"), *prefix = kl__json_member(schema, "prefixItems");
    struct kl__expr *inner;
    int least = 0, most = -1;
    if (!kl__schema_count(s, schema, "minItems", &least) || !kl__schema_count(s, schema, "maxItems", &most))
        return NULL;
    if (kl__json_is_array(items) || (most >= 0 && most < least)) {
        kl__parse_fail(s->p, KL_ERR_UNSUPPORTED, "the JSON schema has %s",
                       kl__json_is_array(items) ? "an array of items, expected prefixItems for that"
                                                : "a minItems above its maxItems");
        return NULL;
    }
    if (prefix)
        inner = tuple(s, prefix, items, least, most);
    else if (most == 0)
        inner = kl__expr_new(s->p, KL__EXPR_SEQ);
    else
        inner = list_of(s, as_rule(s, "(item)", items ? kl__schema_value(s, items) : kl__schema_rule(s, "value")),
                        least, most);
    return kl__schema_seq(s, 5, (struct kl__expr *[]){mark(s, "["), kl__schema_rule(s, "ws"), inner,
                                                      kl__schema_rule(s, "ws"), mark(s, "]")});
}

/* ------------------------------------------------------------------------------------------------- whole numbers -- */

static const int64_t largest = 9999999999999999; /* 16 digits */

static struct kl__expr *digit(struct kl__schema *s, int64_t first, int64_t last)
{
    return kl__expr_set(s->p, &(struct kl__chars){(uint32_t)('0' + first), (uint32_t)('0' + last)}, 1);
}

/* Numbers first .. last, written with as many digits as `unit`, a power of ten, has. */
static struct kl__expr *digits(struct kl__schema *s, int64_t first, int64_t last, int64_t unit)
{
    int64_t a = first / unit, b = last / unit, rest = first % unit, end = last % unit;
    if (unit == 1)
        return digit(s, a, b);
    int n = 0;
    for (int64_t u = unit; u > 1; u /= 10)
        n++;
    struct kl__expr *all = kl__expr_new(s->p, KL__EXPR_ALT);
    if (a == b)
        return kl__schema_seq(s, 2, (struct kl__expr *[]){digit(s, a, a), digits(s, rest, end, unit / 10)});
    if (rest > 0) {
        kl__expr_add(s->p, all,
                     kl__schema_seq(s, 2, (struct kl__expr *[]){digit(s, a, a), digits(s, rest, unit - 1, unit / 10)}));
        a++;
    }
    if (end < unit - 1) {
        kl__expr_add(s->p, all,
                     kl__schema_seq(s, 2, (struct kl__expr *[]){digit(s, b, b), digits(s, 0, end, unit / 10)}));
        b--;
    }
    struct kl__expr *free = kl__expr_repeat(s->p, digit(s, 0, 9), n, n);
    if (a <= b)
        kl__expr_add(s->p, all, kl__schema_seq(s, 2, (struct kl__expr *[]){digit(s, a, b), free}));
    return all;
}

/* Numbers first .. last, neither negative. */
static void add_range(struct kl__schema *s, struct kl__expr *all, const char *sign, int64_t first, int64_t last)
{
    for (int64_t unit = 1; unit <= largest && unit <= last; unit *= 10) {
        int64_t low = first > unit ? first : unit, high = last < 10 * unit - 1 ? last : 10 * unit - 1;
        if (low <= high)
            kl__expr_add(s->p, all,
                         kl__schema_seq(s, 2, (struct kl__expr *[]){mark(s, sign), digits(s, low, high, unit)}));
    }
}

/* A bound as a whole number: the smallest that is not below it, or with `down` the largest that is not above. */
static bool bound(struct kl__schema *s, const struct json_t *schema, const char *key, bool down, int exclusive,
                  int64_t *to)
{
    const struct json_t *value = kl__json_member(schema, key);
    double x;
    int64_t n;
    if (!value)
        return true;
    if (!kl__json_number(value, &x))
        return kl__parse_fail(s->p, KL_ERR_FORMAT, "the JSON schema has %s, expected a number", key);
    bool whole = kl__json_int(value, &n);
    if (whole) /* not by way of a double, which has not all of them */
        n = n < -largest - 1 ? -largest - 1 : n > largest + 1 ? largest + 1 : n;
    else {
        double most = (double)largest;
        n = (int64_t)(x < -most ? -most : x > most ? most : x); /* towards zero */
        whole = (double)n >= x && (double)n <= x;
    }
    if (!whole)
        n += down ? (x < 0 ? -1 : 0) : (x > 0 ? 1 : 0);
    else
        n += down ? -exclusive : exclusive;
    *to = down ? (n < *to ? n : *to) : (n > *to ? n : *to);
    return true;
}

struct kl__expr *kl__schema_integer(struct kl__schema *s, const struct json_t *schema)
{
    int64_t first = -largest, last = largest;
    if (!bound(s, schema, "minimum", false, 0, &first) || !bound(s, schema, "exclusiveMinimum", false, 1, &first) ||
        !bound(s, schema, "maximum", true, 0, &last) || !bound(s, schema, "exclusiveMaximum", true, 1, &last))
        return NULL;
    if (first == -largest && last == largest)
        return kl__schema_rule(s, "integer");
    if (first > last) {
        kl__parse_fail(s->p, KL_ERR_UNSUPPORTED, "the JSON schema has bounds that no integer is within");
        return NULL;
    }
    struct kl__expr *all = kl__expr_new(s->p, KL__EXPR_ALT);
    if (first <= 0 && last >= 0)
        kl__expr_add(s->p, all, mark(s, "0"));
    if (last > 0)
        add_range(s, all, "", first > 0 ? first : 1, last);
    if (first < 0)
        add_range(s, all, "-", last < 0 ? -last : 1, -first);
    return all;
}
