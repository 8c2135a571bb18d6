/** JSON in model files.  Everything that knows the JSON library is in json_jansson.c; a build without it has
 *  json_none.c instead, and refuses every text with KL_ERR_UNSUPPORTED.
 *
 *  Two ways to read: kl__json_parse() makes a tree of a text with few values; a walk goes through the members of an
 *  object of any size, such as the header of a safetensors file, and costs no memory. */
#ifndef KL_FORMAT_JSON_H
#define KL_FORMAT_JSON_H

#include "base/str.h"
#include "klinear/kl/base.h"

enum {
    KL__JSON_DEPTH = 32,       /* most brackets inside each other */
    KL__JSON_VALUES = 1 << 16, /* most values in a tree */
    KL__JSON_BYTES = 4 << 20,  /* longest text of a tree */
};

/** A value in a tree. */
struct json_t;

/** Makes a tree of `text`, all of it one value.  Strict: UTF-8, no duplicate keys, no NaN, no \u0000, integers within
 *  64 bits, reals within range.  `path` and `what` ("tensor 'x'") begin the sentence of a failure.
 *  Errors: KL_ERR_FORMAT, KL_ERR_UNSUPPORTED (past a limit; no JSON library), KL_ERR_MEMORY. */
kl_status kl__json_parse(struct json_t **value, struct kl__str text, const char *path, const char *what, kl_error *err);
void kl__json_free(struct json_t *value);
/** What a tree of the text would cost, measured before the library sees it: KL_ERR_UNSUPPORTED past a limit. */
kl_status kl__json_check_limits(struct kl__str text, const char *path, const char *what, kl_error *err);

/** Each is false, or NULL, when the value is NULL or of another kind.  What they return lives as long as the tree. */
bool kl__json_int(const struct json_t *value, int64_t *to);
bool kl__json_number(const struct json_t *value, double *to);
bool kl__json_bool(const struct json_t *value, bool *to);
bool kl__json_string(const struct json_t *value, struct kl__str *to);
bool kl__json_is_null(const struct json_t *value);
bool kl__json_is_object(const struct json_t *value);
bool kl__json_is_array(const struct json_t *value);
const struct json_t *kl__json_member(const struct json_t *object, const char *key);
size_t kl__json_items(const struct json_t *array);
const struct json_t *kl__json_item(const struct json_t *array, size_t i);

/** Goes through the members of an object in the order of its text: *cursor is NULL to begin with.  False behind the
 *  last one, and for what is no object. */
bool kl__json_each(const struct json_t *object, void **cursor, struct kl__str *key, const struct json_t **value);

/** Copies the text that the JSON string `json` spells to *room, which moves on behind it; it needs no more room than
 *  `json` itself.  Errors as kl__json_parse. */
kl_status kl__json_copy_string(char **room, struct kl__str *copy, struct kl__str json, const char *path,
                               const char *what, kl_error *err);

/** A walk over the members of one object.  It finds where keys and values begin and end; parsing them, which is left
 *  to the caller, checks what is between. */
struct kl__json_walk {
    const char *path, *what; /* for sentences */
    const char *start, *at, *end;
    bool any; /* a member was seen */
    kl_error *err;
};

/** Starts at the opening brace of `object`. */
kl_status kl__json_walk(struct kl__json_walk *w, struct kl__str object, const char *path, const char *what,
                        kl_error *err);
/** The texts of the next key (with its quotes) and of its value; key->at is NULL behind the last member. */
kl_status kl__json_next(struct kl__json_walk *w, struct kl__str *key, struct kl__str *value);

#endif
