/* A build without a JSON library: no text can be parsed, so no value ever exists. */
#include "base/error.h"
#include "format/json.h"

kl_status kl__json_parse(struct json_t **value, struct kl__str text, const char *path, const char *what, kl_error *err)
{
    (void)value;
    (void)text;
    return kl__fail(err, KL_ERR_UNSUPPORTED, "%s: %s: this klinear was built without JSON (jansson was not found)",
                    kl__shown_path(path).text, what);
}

void kl__json_free(struct json_t *value)
{
    (void)value;
}

bool kl__json_int(const struct json_t *value, int64_t *to)
{
    (void)value;
    (void)to;
    return false;
}

bool kl__json_number(const struct json_t *value, double *to)
{
    (void)value;
    (void)to;
    return false;
}

bool kl__json_bool(const struct json_t *value, bool *to)
{
    (void)value;
    (void)to;
    return false;
}

bool kl__json_string(const struct json_t *value, struct kl__str *to)
{
    (void)value;
    (void)to;
    return false;
}

bool kl__json_is_null(const struct json_t *value)
{
    (void)value;
    return false;
}

bool kl__json_is_object(const struct json_t *value)
{
    (void)value;
    return false;
}

bool kl__json_is_array(const struct json_t *value)
{
    (void)value;
    return false;
}

const struct json_t *kl__json_member(const struct json_t *object, const char *key)
{
    (void)object;
    (void)key;
    return NULL;
}

size_t kl__json_items(const struct json_t *array)
{
    (void)array;
    return 0;
}

const struct json_t *kl__json_item(const struct json_t *array, size_t i)
{
    (void)array;
    (void)i;
    return NULL;
}

bool kl__json_each(const struct json_t *object, void **cursor, struct kl__str *key, const struct json_t **value)
{
    (void)object;
    (void)cursor;
    (void)key;
    (void)value;
    return false;
}
