/** What the three notations are parsed into: expressions over characters, and rules that name them. */
#ifndef KL_GRAMMAR_EXPR_H
#define KL_GRAMMAR_EXPR_H

#include "base/str.h"
#include "grammar/arena.h"
#include "klinear/kl/grammar.h"

enum {
    KL__CHAR_LAST = 0x10FFFF,
    KL__NESTING = 200,         /* most brackets inside each other in a grammar's text */
    KL__REPEAT_MOST = 100000,  /* largest count */
    KL__RULES_MOST = 1 << 14,
};

enum kl__expr_kind {
    KL__EXPR_SET,    /* one character of a set */
    KL__EXPR_TEXT,   /* these bytes */
    KL__EXPR_SEQ,    /* part after part; no part: the empty text */
    KL__EXPR_ALT,    /* one of the parts; no part: nothing matches */
    KL__EXPR_REPEAT, /* part[0] least to most times */
    KL__EXPR_CALL,   /* what the rule says */
};

struct kl__chars {
    uint32_t first, last;
};

struct kl__expr {
    enum kl__expr_kind kind;
    bool json; /* of a set or text: as it stands inside a JSON string */
    int n, room;
    struct kl__chars *set;  /* [n] of [room] */
    struct kl__expr **part; /* [n] of [room] */
    struct kl__str text;
    int least, most; /* most -1: no limit */
    int rule;
};

struct kl__rule {
    struct kl__str name;    /* for sentences */
    struct kl__expr *expr;  /* NULL: it was only called so far */
};

/** A grammar while it is parsed. */
struct kl__parse {
    struct kl__arena arena;
    struct kl__rule *rule; /* [n_rule] of [n_rule_room], in the arena */
    int n_rule, n_rule_room, root;
    kl_status status; /* the first failure */
    kl_error *err;
};

/** Each is NULL, or false, when there was a failure, which is then in p->status.  Arguments that are NULL because of an
 *  earlier one are allowed. */
struct kl__expr *kl__expr_new(struct kl__parse *p, enum kl__expr_kind kind);
struct kl__expr *kl__expr_text(struct kl__parse *p, const char *text, size_t bytes);
struct kl__expr *kl__expr_set(struct kl__parse *p, const struct kl__chars *chars, int n);
struct kl__expr *kl__expr_repeat(struct kl__parse *p, struct kl__expr *body, int least, int most);
struct kl__expr *kl__expr_call(struct kl__parse *p, int rule);
bool kl__expr_add(struct kl__parse *p, struct kl__expr *to, struct kl__expr *part);
bool kl__expr_add_chars(struct kl__parse *p, struct kl__expr *set, uint32_t first, uint32_t last);
/** All other characters. */
void kl__expr_invert(struct kl__parse *p, struct kl__expr *set);
/** A new rule, or -1. */
int kl__rule_new(struct kl__parse *p, struct kl__str name);

/** Notes a failure, and returns false. */
bool kl__parse_fail(struct kl__parse *p, kl_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
bool kl__parse_memory(struct kl__parse *p);

/** The next character of text[*at .. bytes - 1], which is not empty; *at moves on.  False: no UTF-8. */
bool kl__next_char(uint32_t *c, struct kl__str text, size_t *at);
/** Writes a character as UTF-8; returns its bytes, at most 4. */
int kl__put_char(char *to, uint32_t c);
/** Hexadecimal digits text[*at ..], exactly n of them. */
bool kl__read_hex(uint32_t *value, struct kl__str text, size_t *at, int n);
/** {m}, {m,}, {m,n} or {,n} at text[*at], which is behind the brace. */
bool kl__read_counts(struct kl__parse *p, struct kl__str text, size_t *at, int *least, int *most);

/** The notations: rules with p->root.  False: p->status. */
bool kl__parse_gbnf(struct kl__parse *p, struct kl__str text);
bool kl__parse_regex(struct kl__parse *p, struct kl__str text);
bool kl__parse_schema(struct kl__parse *p, struct kl__str text);
/** A regular expression as the pattern of a JSON string: matches anywhere in it unless it says otherwise. */
struct kl__expr *kl__regex_in_json(struct kl__parse *p, struct kl__str text);

#endif
