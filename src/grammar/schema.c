/* JSON schemas: which keywords there are, and what each type becomes. */
#include "grammar/schema.h"

#include "text/json_text.h"

#include <stdlib.h>

/* What all schemas share.  White space is short, since a model may write it for ever; so are numbers.  Halves of
 * surrogate pairs come in pairs, and days are those of their month. */
static const char shared[] =
    "ws ::= \" \"? | \"\\n\" [ \\t]{0,20}\n"
    "hex ::= [0-9a-fA-F]\n"
    "escape ::= \"\\\\\" ([\"\\\\/bfnrt] | \"u\" ([0-9abcefABCEF] hex{3} | [dD] [0-7] hex{2} |"
    " [dD] [89abAB] hex{2} \"\\\\u\" [dD] [c-fC-F] hex{2}))\n"
    "char ::= [^\"\\\\\\x00-\\x1F] | escape\n"
    "string ::= \"\\\"\" char* \"\\\"\"\n"
    "digits ::= \"0\" | [1-9] [0-9]{0,15}\n"
    "integer ::= \"-\"? digits\n"
    "unsigned ::= digits (\".\" [0-9]{1,16})? ([eE] [+-]? [0-9]{1,2})?\n"
    "number ::= \"-\"? unsigned\n"
    "boolean ::= \"true\" | \"false\"\n"
    "null ::= \"null\"\n"
    "value ::= object | array | string | number | boolean | null\n"
    "member ::= string \":\" ws value\n"
    "object ::= \"{\" ws (member (\",\" ws member)* ws)? \"}\"\n"
    "array ::= \"[\" ws (value (\",\" ws value)* ws)? \"]\"\n"
    "day28 ::= \"0\" [1-9] | \"1\" [0-9] | \"2\" [0-8]\n"
    "day30 ::= day28 | \"29\" | \"30\"\n"
    "leap ::= [0-9]{2} (\"0\" [48] | [2468] [048] | [13579] [26]) | ([02468] [048] | [13579] [26]) \"00\"\n"
    "date ::= [0-9]{4} \"-\" ((\"0\" [13578] | \"1\" [02]) \"-\" (day30 | \"31\") | (\"0\" [469] | \"11\")"
    " \"-\" day30 | \"02-\" day28) | leap \"-02-29\"\n"
    "clock ::= ([01] [0-9] | \"2\" [0-3]) \":\" [0-5] [0-9]\n"
    "time ::= clock \":\" [0-5] [0-9] (\".\" [0-9]{1,6})? (\"Z\" | [+-] clock)\n"
    "date-time ::= date \"T\" time\n"
    "uuid ::= hex{8} \"-\" hex{4} \"-\" hex{4} \"-\" hex{4} \"-\" hex{12}\n"
    "root ::= value\n";

/* --------------------------------------------------------------------------------------------------- small parts -- */

struct kl__expr *kl__schema_rule(struct kl__schema *s, const char *name)
{
    for (int i = 0; i < s->p->n_rule; i++)
        if (kl__str_same(s->p->rule[i].name, kl__str(name)))
            return kl__expr_call(s->p, i);
    return NULL;
}

struct kl__expr *kl__schema_seq(struct kl__schema *s, int n, struct kl__expr *const *part)
{
    struct kl__expr *all = kl__expr_new(s->p, KL__EXPR_SEQ);
    for (int i = 0; i < n; i++)
        if (!kl__expr_add(s->p, all, part[i]))
            return NULL;
    return all;
}

bool kl__schema_count(struct kl__schema *s, const struct json_t *schema, const char *key, int *count)
{
    const struct json_t *value = kl__json_member(schema, key);
    int64_t n;
    if (!value)
        return true;
    if (!kl__json_int(value, &n) || n < 0 || n > KL__REPEAT_MOST)
        return kl__parse_fail(s->p, KL_ERR_UNSUPPORTED, "the JSON schema has %s, expected a whole number, 0 to %d", key,
                              KL__REPEAT_MOST);
    *count = (int)n;
    return true;
}

/* A value as it is written. */
static struct kl__expr *literal(struct kl__schema *s, const struct json_t *value)
{
    static const struct kl__json_style compact = {.comma = ",", .colon = ":"};
    struct kl__growing text = {.alloc = s->p->arena.alloc};
    struct kl__expr *e = NULL;
    if (kl__json_write(&text, value, &compact))
        e = kl__expr_text(s->p, text.at, text.bytes);
    else
        kl__parse_memory(s->p);
    kl__growing_close(&text);
    return e;
}

/* --------------------------------------------------------------------------------------------------------- types -- */

/* A member that is a string where there is one; false: it is something else. */
static bool get_string(struct kl__schema *s, const struct json_t *schema, const char *key, struct kl__str *to,
                       bool *there)
{
    const struct json_t *value = kl__json_member(schema, key);
    *there = kl__json_string(value, to);
    return *there || !value || kl__parse_fail(s->p, KL_ERR_FORMAT, "the JSON schema has %s, expected a string", key);
}

static struct kl__expr *string(struct kl__schema *s, const struct json_t *schema)
{
    static const char *const formats[] = {"date", "time", "date-time", "uuid"};
    struct kl__str pattern = {0}, format = {0};
    int least = 0, most = -1;
    bool sized = kl__json_member(schema, "minLength") || kl__json_member(schema, "maxLength");
    struct kl__expr *inner = NULL, *quote = kl__expr_text(s->p, "\"", 1);
    if (!kl__schema_count(s, schema, "minLength", &least) || !kl__schema_count(s, schema, "maxLength", &most))
        return NULL;
    if (most >= 0 && most < least) {
        kl__parse_fail(s->p, KL_ERR_UNSUPPORTED, "the JSON schema has a minLength above its maxLength");
        return NULL;
    }
    bool has_pattern, has_format;
    if (!get_string(s, schema, "pattern", &pattern, &has_pattern) ||
        !get_string(s, schema, "format", &format, &has_format))
        return NULL;
    if (has_pattern + has_format + sized > 1) {
        kl__parse_fail(s->p, KL_ERR_UNSUPPORTED,
                       "the JSON schema has a string with two of pattern, format and a length, expected one");
        return NULL;
    }
    if (has_pattern)
        inner = kl__regex_in_json(s->p, pattern);
    for (int i = 0; i < 4 && has_format; i++)
        if (kl__str_same(format, kl__str(formats[i])))
            inner = kl__schema_rule(s, formats[i]);
    if (has_format && !inner)
        kl__parse_fail(s->p, KL_ERR_UNSUPPORTED,
                       "the JSON schema has the format \"%s\", expected date, time, date-time or uuid",
                       kl__shown(format).text);
    if (!has_format && !has_pattern)
        inner = kl__expr_repeat(s->p, kl__schema_rule(s, "char"), least, most);
    return kl__schema_seq(s, 3, (struct kl__expr *[]){quote, inner, quote});
}

/* Numbers have no bounds here but one: not to be negative. */
static struct kl__expr *number(struct kl__schema *s, const struct json_t *schema)
{
    static const char *const bounds[] = {"maximum", "exclusiveMinimum", "exclusiveMaximum"};
    const struct json_t *least = kl__json_member(schema, "minimum");
    double x = 0;
    for (int i = 0; i < 3; i++)
        if (kl__json_member(schema, bounds[i])) {
            kl__parse_fail(s->p, KL_ERR_UNSUPPORTED, "the JSON schema has %s for a number, expected it for integers",
                           bounds[i]);
            return NULL;
        }
    if (least && (!kl__json_number(least, &x) || x < 0 || x > 0)) {
        kl__parse_fail(s->p, KL_ERR_UNSUPPORTED, "the JSON schema has minimum %g for a number, expected 0", x);
        return NULL;
    }
    return kl__schema_rule(s, least ? "unsigned" : "number");
}

static struct kl__expr *of_type(struct kl__schema *s, const struct json_t *schema, struct kl__str type)
{
    static const char *const plain[] = {"boolean", "null"};
    for (int i = 0; i < 2; i++)
        if (kl__str_same(type, kl__str(plain[i])))
            return kl__schema_rule(s, plain[i]);
    if (kl__str_same(type, kl__str("string")))
        return string(s, schema);
    if (kl__str_same(type, kl__str("number")))
        return number(s, schema);
    if (kl__str_same(type, kl__str("integer")))
        return kl__schema_integer(s, schema);
    if (kl__str_same(type, kl__str("object")))
        return kl__schema_object(s, schema);
    if (kl__str_same(type, kl__str("array")))
        return kl__schema_array(s, schema);
    kl__parse_fail(s->p, KL_ERR_FORMAT, "the JSON schema has the type \"%s\", which there is not",
                   kl__shown(type).text);
    return NULL;
}

/* ------------------------------------------------------------------------------------------------------ keywords -- */

static bool is_among(struct kl__str key, const char *const *list)
{
    while (*list && !kl__str_same(key, kl__str(*list)))
        list++;
    return *list != NULL;
}

static bool check_keywords(struct kl__schema *s, const struct json_t *schema)
{
    static const char *const silent[] = {"title",      "description", "default",  "examples",  "$schema", "$id",
                                         "$comment",   "deprecated",  "readOnly", "writeOnly", "$defs",   "definitions",
                                         NULL};
    static const char *const known[] = {
        "type",      "enum",      "const",     "properties", "required", "additionalProperties", "items",
        "prefixItems", "minItems", "maxItems", "minLength", "maxLength", "pattern", "format", "minimum", "maximum",
        "exclusiveMinimum", "exclusiveMaximum", "anyOf", "oneOf", "allOf", "$ref", NULL};
    struct kl__str key;
    const struct json_t *value;
    for (void *at = NULL; kl__json_each(schema, &at, &key, &value);)
        if (!is_among(key, silent) && !is_among(key, known))
            return kl__parse_fail(s->p, KL_ERR_UNSUPPORTED, "the JSON schema has \"%s\", which is not offered",
                                  kl__shown(key).text);
    return true;
}

static int by_bytes(const void *a, const void *b)
{
    const struct kl__str *x = a, *y = b;
    int order = memcmp(x->at, y->at, x->bytes < y->bytes ? x->bytes : y->bytes);
    return order ? order : (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

/* One of these sorted texts, whose first `at` bytes are the same and have been written: what they begin with, and then
 * by the next byte, so that there are never more ways to go on than bytes, however many texts there are. */
static struct kl__expr *one_of_texts(struct kl__schema *s, const struct kl__str *text, size_t n, size_t at)
{
    size_t same = at, end;
    while (same < text[0].bytes && same < text[n - 1].bytes && text[0].at[same] == text[n - 1].at[same])
        same++;
    struct kl__expr *begin = kl__expr_text(s->p, text[0].at + at, same - at), *all = kl__expr_new(s->p, KL__EXPR_ALT);
    for (size_t first = 0; first < n; first = end) {
        bool whole = text[first].bytes == same;
        for (end = first + 1; end < n; end++) /* the same text again adds nothing */
            if (whole ? text[end].bytes != same : text[end].at[same] != text[first].at[same])
                break;
        if (!kl__expr_add(s->p, all, whole ? kl__expr_new(s->p, KL__EXPR_SEQ)
                                           : one_of_texts(s, text + first, end - first, same)))
            return NULL;
    }
    return kl__schema_seq(s, 2, (struct kl__expr *[]){begin, all});
}

/* One of these values, as far as they are of the schema's type. */
static struct kl__expr *one_of_values(struct kl__schema *s, const struct json_t *schema, const char *keyword,
                                      const struct json_t *value)
{
    const struct json_t *type = kl__json_member(schema, "type");
    bool list = strcmp(keyword, "enum") == 0;
    size_t n = list ? kl__json_items(value) : 1, n_text = 0;
    struct kl__str *text = kl__arena_take(&s->p->arena, (n + 1) * sizeof *text);
    if (!text) {
        kl__parse_memory(s->p);
        return NULL;
    }
    for (size_t i = 0; i < n; i++) {
        const struct json_t *one = list ? kl__json_item(value, i) : value;
        if (!kl__schema_is_of_type(one, type))
            continue;
        const struct kl__expr *written = literal(s, one);
        if (!written)
            return NULL;
        text[n_text++] = written->text;
    }
    if (!n_text) {
        const char *expected = !list ? "a value of its type" : n ? "something of its type in it"
                                                                 : "an array with something in it";
        kl__parse_fail(s->p, list && !n ? KL_ERR_FORMAT : KL_ERR_UNSUPPORTED, "the JSON schema has %s, expected %s",
                       keyword, expected);
        return NULL;
    }
    qsort(text, n_text, sizeof *text, by_bytes);
    return one_of_texts(s, text, n_text, 0);
}

static struct kl__expr *one_of(struct kl__schema *s, const struct json_t *list, const char *name)
{
    struct kl__expr *all = kl__expr_new(s->p, KL__EXPR_ALT);
    size_t n = kl__json_items(list);
    if (!kl__json_is_array(list) || n == 0) {
        kl__parse_fail(s->p, KL_ERR_FORMAT, "the JSON schema has %s, expected an array with something in it", name);
        return NULL;
    }
    for (size_t i = 0; i < n; i++)
        if (!kl__expr_add(s->p, all, kl__schema_value(s, kl__json_item(list, i))))
            return NULL;
    return all;
}

/* ---------------------------------------------------------------------------------------------------- references -- */

/* The member or item that a part of a JSON pointer names: "~1" is a slash, "~0" a tilde. */
static const struct json_t *step_into(const struct json_t *at, const char *part, size_t bytes)
{
    char key[256];
    size_t n = 0;
    for (size_t i = 0; i < bytes && n + 1 < sizeof key; i++) {
        bool escape = part[i] == '~' && i + 1 < bytes;
        key[n++] = !escape ? part[i] : part[i + 1] == '1' ? '/' : '~';
        i += escape;
    }
    key[n] = 0;
    if (kl__json_is_array(at))
        return *key >= '0' && *key <= '9' ? kl__json_item(at, strtoul(key, NULL, 10)) : NULL;
    return kl__json_member(at, key);
}

const struct json_t *kl__schema_find(struct kl__schema *s, struct kl__str ref)
{
    const struct json_t *at = s->root;
    size_t i = 1;
    if (ref.bytes < 1 || ref.at[0] != '#' || (ref.bytes > 1 && ref.at[1] != '/'))
        at = NULL;
    while (at && i < ref.bytes) {
        size_t first = ++i;
        while (i < ref.bytes && ref.at[i] != '/')
            i++;
        at = step_into(at, ref.at + first, i - first);
    }
    if (!at)
        kl__parse_fail(s->p, KL_ERR_UNSUPPORTED,
                       "the JSON schema refers to \"%s\", expected # or #/... of something in it", kl__shown(ref).text);
    return at;
}

static struct kl__expr *refer(struct kl__schema *s, struct kl__str ref)
{
    const struct json_t *schema = kl__schema_find(s, ref);
    for (struct kl__referred *r = s->known; r && schema; r = r->next)
        if (r->schema == schema)
            return kl__expr_call(s->p, r->rule);
    struct kl__referred *r = schema ? kl__arena_take(&s->p->arena, sizeof *r) : NULL;
    if (!r) {
        kl__parse_memory(s->p);
        return NULL;
    }
    *r = (struct kl__referred){.next = s->known, .schema = schema, .rule = kl__rule_new(s->p, ref)};
    s->known = r;
    return kl__expr_call(s->p, r->rule);
}

/* -------------------------------------------------------------------------------------------------------- values -- */

static struct kl__expr *by_type(struct kl__schema *s, const struct json_t *schema)
{
    const struct json_t *type = kl__json_member(schema, "type");
    struct kl__str name;
    if (kl__json_string(type, &name))
        return of_type(s, schema, name);
    if (type) {
        struct kl__expr *all = kl__expr_new(s->p, KL__EXPR_ALT);
        for (size_t i = 0; i < kl__json_items(type); i++) {
            if (!kl__json_string(kl__json_item(type, i), &name))
                name = kl__str("");
            if (!kl__expr_add(s->p, all, of_type(s, schema, name)))
                return NULL;
        }
        return all;
    }
    if (kl__json_member(schema, "properties") || kl__json_member(schema, "required") ||
        kl__json_member(schema, "additionalProperties"))
        return kl__schema_object(s, schema);
    if (kl__json_member(schema, "items") || kl__json_member(schema, "prefixItems") ||
        kl__json_member(schema, "minItems") || kl__json_member(schema, "maxItems"))
        return kl__schema_array(s, schema);
    if (kl__json_member(schema, "pattern") || kl__json_member(schema, "format") ||
        kl__json_member(schema, "minLength") || kl__json_member(schema, "maxLength"))
        return string(s, schema);
    if (kl__json_member(schema, "minimum") || kl__json_member(schema, "maximum") ||
        kl__json_member(schema, "exclusiveMinimum") || kl__json_member(schema, "exclusiveMaximum")) {
        kl__parse_fail(s->p, KL_ERR_UNSUPPORTED, "the JSON schema has a bound without a type, expected type integer");
        return NULL;
    }
    return kl__schema_rule(s, "value");
}

/* Keywords that say everything by themselves.  Beside them there may be a type: values are chosen by it, and of schemas
 * all has to have it. */
static struct kl__expr *whole(struct kl__schema *s, const struct json_t *schema, const char *keyword,
                              const struct json_t *value)
{
    struct kl__str ref;
    if (strcmp(keyword, "$ref") == 0) {
        if (kl__json_string(value, &ref))
            return refer(s, ref);
        kl__parse_fail(s->p, KL_ERR_FORMAT, "the JSON schema has $ref, expected a string");
        return NULL;
    }
    if (strcmp(keyword, "const") == 0 || strcmp(keyword, "enum") == 0)
        return one_of_values(s, schema, keyword, value);
    if (strcmp(keyword, "allOf") == 0 && kl__json_items(value) != 1) {
        kl__parse_fail(s->p, KL_ERR_UNSUPPORTED, "the JSON schema has allOf with %zu entries, expected one",
                       kl__json_items(value));
        return NULL;
    }
    return one_of(s, value, keyword);
}

static struct kl__expr *combined(struct kl__schema *s, const struct json_t *schema)
{
    static const char *const keyword[] = {"$ref", "const", "enum", "anyOf", "oneOf", "allOf"};
    static const char *const others[] = {"properties", "required",         "additionalProperties", "items",
                                         "prefixItems", "minItems",        "maxItems",             "minLength",
                                         "maxLength",   "pattern",         "format",               "minimum",
                                         "maximum",     "exclusiveMinimum", "exclusiveMaximum",    NULL};
    const char *first = NULL;
    for (int i = 0; i < 6; i++) {
        if (!kl__json_member(schema, keyword[i]))
            continue;
        if (first) {
            kl__parse_fail(s->p, KL_ERR_UNSUPPORTED, "the JSON schema has %s beside %s, expected one of them", first,
                           keyword[i]);
            return NULL;
        }
        first = keyword[i];
    }
    if (!first)
        return by_type(s, schema);
    for (int i = 0; others[i]; i++)
        if (kl__json_member(schema, others[i])) {
            kl__parse_fail(s->p, KL_ERR_UNSUPPORTED, "the JSON schema has %s beside %s, expected one of them", first,
                           others[i]);
            return NULL;
        }
    const struct json_t *said = kl__json_member(schema, first), *type = kl__json_member(schema, "type");
    bool schemas = strcmp(first, "const") != 0 && strcmp(first, "enum") != 0;
    struct kl__expr *e = whole(s, schema, first, said);
    if (!e || !type || !schemas || kl__schema_is_within(s, schema, type))
        return e;
    kl__parse_fail(s->p, KL_ERR_UNSUPPORTED, "the JSON schema has a type beside %s, expected one that all of it has",
                   first);
    return NULL;
}

struct kl__expr *kl__schema_value(struct kl__schema *s, const struct json_t *schema)
{
    bool all;
    if (kl__json_bool(schema, &all))
        return all ? kl__schema_rule(s, "value") : kl__expr_new(s->p, KL__EXPR_ALT);
    if (!kl__json_is_object(schema)) {
        kl__parse_fail(s->p, KL_ERR_FORMAT, "the JSON schema has something else where an object, true or false is due");
        return NULL;
    }
    return check_keywords(s, schema) ? combined(s, schema) : NULL;
}

bool kl__parse_schema(struct kl__parse *p, struct kl__str text)
{
    struct json_t *root = NULL;
    struct kl__schema s = {.p = p};
    if (!kl__parse_gbnf(p, kl__str(shared)))
        return false;
    p->status = kl__json_parse(&root, text, "the JSON schema", "text", p->err);
    if (p->status != KL_OK)
        return false;
    s.root = root;
    refer(&s, kl__str("#"));
    p->root = s.known ? s.known->rule : -1;
    /* Whatever is referred to on the way comes in front of what is known. */
    for (struct kl__referred *done = NULL; p->status == KL_OK && s.known != done;) {
        struct kl__referred *until = done;
        done = s.known;
        for (struct kl__referred *r = done; r != until && p->status == KL_OK; r = r->next) {
            struct kl__expr *e = kl__schema_value(&s, r->schema);
            if (r->rule >= 0 && e)
                p->rule[r->rule].expr = e;
        }
    }
    kl__json_free(root);
    return p->status == KL_OK;
}
