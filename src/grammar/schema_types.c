/* JSON schemas: which types a value has, and which the values that a schema allows. */
#include "grammar/schema.h"

#include <math.h>

static bool is_of(const struct json_t *value, struct kl__str type)
{
    static const char *const names[] = {"string", "boolean", "number", "null", "object", "array", "integer"};
    struct kl__str text;
    double x = 0;
    bool flag, number = kl__json_number(value, &x), whole = number && !(x > floor(x));
    bool is[] = {kl__json_string(value, &text), kl__json_bool(value, &flag), number, kl__json_is_null(value),
                 kl__json_is_object(value),     kl__json_is_array(value),    whole};
    for (int i = 0; i < 7; i++)
        if (kl__str_same(type, kl__str(names[i])))
            return is[i];
    return false;
}

/* Name `i` of one type or a list of them; false: there is none. */
static bool name_of(const struct json_t *type, size_t i, struct kl__str *name)
{
    return kl__json_is_array(type) ? kl__json_string(kl__json_item(type, i), name)
                                   : i == 0 && kl__json_string(type, name);
}

bool kl__schema_is_of_type(const struct json_t *value, const struct json_t *type)
{
    struct kl__str name;
    for (size_t i = 0; name_of(type, i, &name); i++)
        if (is_of(value, name))
            return true;
    return !type;
}

static bool is_among(struct kl__str name, const struct json_t *type)
{
    struct kl__str one;
    bool whole = kl__str_same(name, kl__str("integer"));
    for (size_t i = 0; name_of(type, i, &one); i++)
        if (kl__str_same(one, name) || (whole && kl__str_same(one, kl__str("number"))))
            return true;
    return false;
}

/* All types that a schema names itself. */
static bool are_among(const struct json_t *own, const struct json_t *type)
{
    struct kl__str one;
    size_t n = 0;
    while (name_of(own, n, &one) && is_among(one, type))
        n++;
    return n > 0 && n == (kl__json_is_array(own) ? kl__json_items(own) : 1);
}

static bool is_within(struct kl__schema *s, const struct json_t *schema, const struct json_t *type);

bool kl__schema_is_within(struct kl__schema *s, const struct json_t *schema, const struct json_t *type)
{
    static const char *const lists[] = {"anyOf", "oneOf", "allOf", "enum"};
    static const struct {
        const char *key, *type;
    } tells[] = {{"properties", "object"}, {"required", "object"},   {"additionalProperties", "object"},
                 {"items", "array"},       {"prefixItems", "array"}, {"minItems", "array"},
                 {"maxItems", "array"},    {"pattern", "string"},    {"format", "string"},
                 {"minLength", "string"},  {"maxLength", "string"}};
    const struct json_t *value;
    struct kl__str ref;
    if (kl__json_string(kl__json_member(schema, "$ref"), &ref))
        return (value = kl__schema_find(s, ref)) && is_within(s, value, type);
    if ((value = kl__json_member(schema, "const")))
        return kl__schema_is_of_type(value, type);
    for (int i = 0; i < 4; i++) {
        bool all = true;
        if (!(value = kl__json_member(schema, lists[i])))
            continue;
        for (size_t k = 0; k < kl__json_items(value) && all; k++) {
            const struct json_t *one = kl__json_item(value, k);
            all = i == 3 ? kl__schema_is_of_type(one, type) : is_within(s, one, type);
        }
        return all;
    }
    bool named = kl__json_member(schema, "type"); /* which these do not change */
    for (size_t i = 0; i < sizeof tells / sizeof *tells && !named; i++)
        if (kl__json_member(schema, tells[i].key))
            return is_among(kl__str(tells[i].type), type);
    return false;
}

/* A schema may refer to itself, and many times: from some number on nothing is told. */
static bool is_within(struct kl__schema *s, const struct json_t *schema, const struct json_t *type)
{
    enum { MOST = 100000 };
    const struct json_t *own = kl__json_member(schema, "type");
    bool all;
    if (kl__json_bool(schema, &all))
        return !all;
    if (own && are_among(own, type))
        return true;
    if (s->nested == KL__NESTING || s->looked_at == MOST)
        return false;
    s->nested++;
    s->looked_at++;
    bool within = kl__schema_is_within(s, schema, type);
    s->nested--;
    return within;
}
