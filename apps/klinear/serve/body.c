#include "body.h"

#include "base/str.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ------------------------------------------------------------------------------------------------------- parsing -- */

/* Depth and number of values, before the library takes memory for them. */
static bool within_limits(struct ks_problem *p, const char *text, size_t bytes)
{
    int depth = 0;
    int64_t n_value = 1;
    for (size_t i = 0; i < bytes; i++) {
        char c = text[i];
        if (c == '"') { /* to the end of the string */
            for (i++; i < bytes && text[i] != '"'; i++)
                i += text[i] == '\\';
        } else if (c == '[' || c == '{') {
            depth++;
            n_value++;
        } else if (c == ']' || c == '}') {
            depth--;
        } else if (c == ',') {
            n_value++;
        }
        if (depth > KS_JSON_DEPTH)
            return ks_refuse(p, 400, NULL, "json_too_deep", "the body nests more than %d levels", KS_JSON_DEPTH);
        if (n_value > KS_JSON_VALUES)
            return ks_refuse(p, 400, NULL, "json_too_large", "the body has more than %d values", KS_JSON_VALUES);
    }
    return true;
}

json_t *ks_parse(struct ks_problem *p, const char *text, size_t bytes)
{
    json_error_t error;
    if (!within_limits(p, text, bytes))
        return NULL;
    json_t *tree = json_loadb(text ? text : "", bytes, JSON_REJECT_DUPLICATES, &error);
    if (!tree) {
        ks_refuse(p, 400, NULL, "invalid_json", "the body is no JSON: line %d, column %d: %s", error.line, error.column,
                  error.text);
        return NULL;
    }
    if (!json_is_object(tree)) {
        ks_refuse(p, 400, NULL, "invalid_json", "the body is %s, expected an object", ks_kind(tree));
        json_decref(tree);
        return NULL;
    }
    return tree;
}

const char *ks_kind(const json_t *value)
{
    static const char *const kind[] = {
        [JSON_OBJECT] = "an object", [JSON_ARRAY] = "an array", [JSON_STRING] = "a string", [JSON_INTEGER] = "a number",
        [JSON_REAL] = "a number",    [JSON_TRUE] = "true",      [JSON_FALSE] = "false",     [JSON_NULL] = "null",
    };
    return value ? kind[json_typeof(value)] : "absent";
}

/* -------------------------------------------------------------------------------------------------------- fields -- */

json_t *ks_field(const struct ks_fields *f, const char *name)
{
    json_t *value = json_object_get(f->object, name);
    return json_is_null(value) ? NULL : value;
}

static bool wrong_kind(const struct ks_fields *f, const char *name, const json_t *value, const char *expected)
{
    char full[64];
    snprintf(full, sizeof full, "%s%s", f->path, name);
    return ks_refuse(f->p, 400, full, NULL, "%s is %s, expected %s", full, ks_kind(value), expected);
}

bool ks_number(const struct ks_fields *f, const char *name, double *to, double least, double most)
{
    const json_t *value = ks_field(f, name);
    if (!value)
        return true;
    if (!json_is_number(value))
        return wrong_kind(f, name, value, "a number");
    double x = json_number_value(value);
    if (!(x >= least && x <= most))
        return ks_refuse(f->p, 400, name, NULL, "%s%s is %g, expected %g to %g", f->path, name, x, least, most);
    *to = x;
    return true;
}

bool ks_integer(const struct ks_fields *f, const char *name, int64_t *to, int64_t least, int64_t most)
{
    const json_t *value = ks_field(f, name);
    if (!value)
        return true;
    double x = json_number_value(value);
    bool whole = json_is_integer(value) || (json_is_real(value) && floor(x) == x && fabs(x) < 9e15);
    if (!whole)
        return wrong_kind(f, name, value, "a whole number");
    int64_t n = json_is_integer(value) ? (int64_t)json_integer_value(value) : (int64_t)x;
    if (n < least || n > most)
        return ks_refuse(f->p, 400, name, NULL, "%s%s is %lld, expected %lld to %lld", f->path, name, (long long)n,
                         (long long)least, (long long)most);
    *to = n;
    return true;
}

bool ks_flag(const struct ks_fields *f, const char *name, bool *to)
{
    const json_t *value = ks_field(f, name);
    if (!value)
        return true;
    if (!json_is_boolean(value))
        return wrong_kind(f, name, value, "true or false");
    *to = json_is_true(value);
    return true;
}

bool ks_string(const struct ks_fields *f, const char *name, kl_text *to)
{
    const json_t *value = ks_field(f, name);
    if (!value)
        return true;
    if (!json_is_string(value))
        return wrong_kind(f, name, value, "a string");
    *to = (kl_text){json_string_value(value), json_string_length(value)};
    return true;
}

bool ks_only(const struct ks_fields *f, const char *const *names)
{
    const char *key;
    json_t *value;
    json_object_foreach(f->object, key, value)
    {
        int i = 0;
        while (names[i] && strcmp(names[i], key) != 0)
            i++;
        if (!names[i])
            return ks_refuse(f->p, 400, key, "unknown_field", "%s%.60s is no field that this server knows", f->path,
                             kl__shown(kl__str(key)).text);
    }
    return true;
}
