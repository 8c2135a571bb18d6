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
    struct kl__referred *known;
    int looked_at, nested; /* schemas, to learn which types their values have; and how deep in each other */
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

/** What "#/..." refers to.  NULL: nothing, a failure. */
const struct json_t *kl__schema_find(struct kl__schema *s, struct kl__str ref);
/** Is the value of the type, or of one of the types, that `type` names?  NULL: it names none, which is all of them. */
bool kl__schema_is_of_type(const struct json_t *value, const struct json_t *type);
/** Is whatever the schema allows by its keywords, but for `type`, of one of the types in `type`?  False also where they
 *  do not tell.  Cost: a step for each schema in it, and no more than some 100,000 for all calls together. */
bool kl__schema_is_within(struct kl__schema *s, const struct json_t *schema, const struct json_t *type);

#endif
