/* Trees of values, by jansson. */
#include "base/error.h"
#include "format/json.h"

#include <jansson.h>

kl_status kl__json_parse(struct json_t **value, struct kl__str text, const char *path, const char *what, kl_error *err)
{
    KL_TRY(kl__json_check_limits(text, path, what, err));
    json_error_t e = {0};
    json_t *tree = json_loadb(text.bytes ? text.at : "", text.bytes, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &e);
    if (!tree && json_error_code(&e) == json_error_out_of_memory)
        return kl__fail(err, KL_ERR_MEMORY, "%s: %s: no memory to read it", kl__shown_path(path).text, what);
    if (!tree)
        return kl__fail(err, KL_ERR_FORMAT, "%s: %s: %s", kl__shown_path(path).text, what,
                        kl__shown(kl__str(e.text)).text);
    *value = tree;
    return KL_OK;
}

void kl__json_free(struct json_t *value)
{
    json_decref(value);
}

bool kl__json_int(const struct json_t *value, int64_t *to)
{
    if (!json_is_integer(value))
        return false;
    *to = json_integer_value(value);
    return true;
}

bool kl__json_number(const struct json_t *value, double *to)
{
    if (!json_is_number(value))
        return false;
    *to = json_number_value(value);
    return true;
}

bool kl__json_bool(const struct json_t *value, bool *to)
{
    if (!json_is_boolean(value))
        return false;
    *to = json_is_true(value);
    return true;
}

bool kl__json_string(const struct json_t *value, struct kl__str *to)
{
    if (!json_is_string(value))
        return false;
    *to = (struct kl__str){json_string_value(value), json_string_length(value)};
    return true;
}

bool kl__json_is_null(const struct json_t *value)
{
    return json_is_null(value);
}

bool kl__json_is_object(const struct json_t *value)
{
    return json_is_object(value);
}

bool kl__json_is_array(const struct json_t *value)
{
    return json_is_array(value);
}

const struct json_t *kl__json_member(const struct json_t *object, const char *key)
{
    return json_object_get(object, key);
}

size_t kl__json_items(const struct json_t *array)
{
    return json_array_size(array);
}

const struct json_t *kl__json_item(const struct json_t *array, size_t i)
{
    return json_array_get(array, i);
}

bool kl__json_each(const struct json_t *object, void **cursor, struct kl__str *key, const struct json_t **value)
{
    json_t *o = (json_t *)(uintptr_t)object; /* iterating does not change it */
    *cursor = *cursor ? json_object_iter_next(o, *cursor) : json_object_iter(o);
    if (!*cursor)
        return false;
    *key = kl__str(json_object_iter_key(*cursor));
    *value = json_object_iter_value(*cursor);
    return true;
}
