/** JSON as Python's json.dumps(ensure_ascii=False) writes it, because the reference's template does. */
#ifndef KL_TEXT_JSON_TEXT_H
#define KL_TEXT_JSON_TEXT_H

#include "format/json.h"
#include "text/growing.h"

struct kl__json_style {
    const char *comma, *colon;
    bool sorted; /* the members of every object by their keys' code points, instead of as they came */
};

/** Appends a value; false: no memory. */
bool kl__json_write(struct kl__growing *to, const struct json_t *value, const struct kl__json_style *style);

/** A finite number as Python's repr() writes it: the fewest digits that are no other number. */
struct kl__real {
    char text[64];
};
struct kl__real kl__real_text(double x);

#endif
