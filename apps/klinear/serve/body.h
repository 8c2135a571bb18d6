/** The JSON that clients send: parsed within limits, and read field by field. */
#ifndef KS_BODY_H
#define KS_BODY_H

#include "problem.h"

#include <stdint.h>

enum {
    KS_JSON_DEPTH = 64,       /* most brackets inside each other */
    KS_JSON_VALUES = 2000000, /* most values */
};

/** Makes a tree: strict UTF-8, no duplicate keys, numbers within range, within the limits.  NULL: see `p`. */
json_t *ks_parse(struct ks_problem *p, const char *text, size_t bytes);

/** An object whose fields are asked for by name; those that nobody asked for can be refused. */
struct ks_fields {
    json_t *object;
    const char *path; /* in front of names in sentences: "messages[1]."; "" at the top */
    struct ks_problem *p;
};

/** The field, or NULL when it is absent or null. */
json_t *ks_field(const struct ks_fields *f, const char *name);
/** Each leaves *to alone when the field is absent or null; false: it is of another kind, or out of range. */
bool ks_number(const struct ks_fields *f, const char *name, double *to, double least, double most);
bool ks_integer(const struct ks_fields *f, const char *name, int64_t *to, int64_t least, int64_t most);
bool ks_flag(const struct ks_fields *f, const char *name, bool *to);
/** The text lives as long as the tree. */
bool ks_string(const struct ks_fields *f, const char *name, kl_text *to);
/** False when a field is none of `names`, which ends with NULL: the original API refuses those too. */
bool ks_only(const struct ks_fields *f, const char *const *names);
/** What a value is, for sentences: "a string". */
const char *ks_kind(const json_t *value);

#endif
