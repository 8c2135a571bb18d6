/** A JSON schema while it is read: schemas that are referred to become rules. */
#ifndef KL_GRAMMAR_SCHEMA_H
#define KL_GRAMMAR_SCHEMA_H

#include "format/json.h"
#include "grammar/expr.h"

/** A schema that something refers to, and its rule. */
struct kl__referred {
    struct kl__referred *next;
    const struct json_t *schema;
    int rule;
};

struct kl__schema {
    struct kl__parse *p;
    const struct json_t *root;
    struct kl__referred *known, *pending; /* pending: known ones from here on have no expression yet */
    int depth;
};

/** What a schema allows.  NULL: a failure. */
struct kl__expr *kl__schema_value(struct kl__schema *s, const struct json_t *schema);
/** Objects, arrays and whole numbers of a schema. */
struct kl__expr *kl__schema_object(struct kl__schema *s, const struct json_t *schema);
struct kl__expr *kl__schema_array(struct kl__schema *s, const struct json_t *schema);
struct kl__expr *kl__schema_integer(struct kl__schema *s, const struct json_t *schema);

/** A rule that every schema has: "value", "object", "string", "ws", ... */
struct kl__expr *kl__schema_rule(struct kl__schema *s, const char *name);
/** Parts one behind the other, up to a NULL behind them; a NULL among them is a failure, told by n. */
struct kl__expr *kl__schema_seq(struct kl__schema *s, int n, struct kl__expr *const *part);
/** A count such as minItems; false: it is there, and none. */
bool kl__schema_count(struct kl__schema *s, const struct json_t *schema, const char *key, int *count);

#endif
