/* A text as an object to walk, and each of its values, and the text itself, as trees. */
#include "format/json.h"

#include <stdlib.h>

static void parse(struct kl__str text)
{
    struct json_t *value;
    if (kl__json_parse(&value, text, "fuzz.json", "value", NULL) == KL_OK)
        kl__json_free(value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct kl__str text = {(const char *)data, bytes}, key, value, copy;
    struct kl__json_walk w;
    kl_error err = {0};
    parse(text);
    kl_status status = kl__json_walk(&w, text, "fuzz.json", "text", &err);
    char *room = malloc(bytes + 1), *at = room;
    while (room && status == KL_OK) {
        status = kl__json_next(&w, &key, &value);
        if (status != KL_OK || !key.at)
            break;
        parse(value);
        kl__json_copy_string(&at, &copy, key, "fuzz.json", "key", NULL);
        if (at > room + bytes)
            abort();
    }
    free(room);
    return 0;
}
