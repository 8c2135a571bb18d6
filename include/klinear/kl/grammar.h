/** Grammars: which texts may be written, and which tokens may come next. */
#ifndef KLINEAR_KL_GRAMMAR_H
#define KLINEAR_KL_GRAMMAR_H

#include "klinear/kl/text.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A set of texts, compiled.  Read-only: any number of guides may follow it, on any thread. */
typedef struct kl_grammar kl_grammar;

/** In what a grammar is written.
 *
 *  GBNF, as llama.cpp reads it: rules `name ::= ...`, the first to be matched is `root`; "texts" and [classes] with
 *  \n \r \t \\ \" \[ \] \xHH \uHHHH \UHHHHHHHH; `.` for any character; groups ( ); | ; * + ? {m} {m,} {m,n}; #
 *  comments.  A rule may call itself, but not as its first part.
 *
 *  A regular expression that the whole text has to match: characters, ., classes, \d \w \s and their opposites (ASCII),
 *  groups, |, * + ? {m,n}, ^ and $ at the ends.  There are no references back, no looking around, no \b and no \p.
 *
 *  A JSON schema: type, enum, const, properties, required, additionalProperties, items, prefixItems, minItems,
 *  maxItems, minLength, maxLength, pattern, format (date, time, date-time, uuid), minimum, maximum and their exclusive
 *  forms for integers, anyOf, oneOf (as anyOf), allOf with one entry, $ref within the schema, $defs, definitions.
 *  Titles, descriptions, defaults and examples change nothing; every other keyword is refused by its name.  Objects
 *  have their properties in the order of the schema; additional ones, which come last, only where the schema has
 *  additionalProperties or no properties.  White space is at most a blank, or a line break and 20 blanks or tabs.
 *  `{}` is any JSON value, {"type": "object"} any object. */
typedef enum kl_grammar_kind {
    KL_GRAMMAR_GBNF = 0,
    KL_GRAMMAR_REGEX,
    KL_GRAMMAR_JSON_SCHEMA,
} kl_grammar_kind;

enum {
    KL_GRAMMAR_BYTES = 1 << 18, /* longest text of a grammar */
    KL_GRAMMAR_NODES = 1 << 18, /* most nodes of a compiled one */
    KL_GRAMMAR_DEPTH = 256,     /* most rules inside each other, in what is written; deeper is not allowed */
};

/** Compiles.  Time and memory are bounded: at most 12 MB, which is that of KL_GRAMMAR_NODES.
 *  Errors: KL_ERR_FORMAT (where, what was found, what was expected), KL_ERR_UNSUPPORTED (a construct, by name; too
 *  large; a rule that calls itself first), KL_ERR_MEMORY.   [T: unit/grammar] */
KL_API kl_status kl_grammar_open(kl_grammar **grammar, kl_grammar_kind kind, kl_text text, const kl_allocator *alloc,
                                 kl_error *err);
/** After its guides.  NULL is allowed. */
KL_API void kl_grammar_close(kl_grammar *grammar);
/** Is `text` one of the grammar's?  Errors: KL_ERR_UNSUPPORTED (the grammar is too ambiguous), KL_ERR_MEMORY. */
KL_API kl_status kl_grammar_accepts(bool *accepts, const kl_grammar *grammar, kl_text text, kl_error *err);

/** The ordinary tokens of a tokenizer in the order of their bytes.  Read-only: any thread.  Takes 16 bytes a token. */
typedef struct kl_lexicon kl_lexicon;
/** The tokenizer must outlive it.  Takes about 60 ms for 160,000 tokens.  Errors: KL_ERR_MEMORY. */
KL_API kl_status kl_lexicon_open(kl_lexicon **lexicon, const kl_tokenizer *tokenizer, const kl_allocator *alloc,
                                 kl_error *err);
KL_API void kl_lexicon_close(kl_lexicon *lexicon);

/** An answer on its way through a grammar.  One thread at a time. */
typedef struct kl_guide kl_guide;

typedef struct kl_guide_options {
    const int32_t *tail; /* [n_tail] tokens that come behind the grammar's text, at most KL_GUIDE_TAIL; copied */
    int n_tail;
    bool free_after; /* behind the tail anything may come; else that is the end */
} kl_guide_options;
enum { KL_GUIDE_TAIL = 8 };

/** Errors: KL_ERR_ARGUMENT, KL_ERR_MEMORY.   [T: unit/grammar] */
KL_API kl_status kl_guide_open(kl_guide **guide, const kl_grammar *grammar, const kl_lexicon *lexicon,
                               const kl_guide_options *options, const kl_allocator *alloc, kl_error *err);
/** NULL is allowed. */
KL_API void kl_guide_close(kl_guide *guide);
/** Sets the logits [n_vocab] of all tokens that may not come next to -INFINITY.  Where the grammar's text may end here,
 *  the tokens `stop` [n_stop] may come, unless there is a tail.
 *  Cost: where the guide was before, or at a place like it, a pass over the logits; else a walk over the vocabulary,
 *  1 to 5 ms for 160,000 tokens.  Memory: at most 12 MB for each guide.
 *  Errors: KL_ERR_UNSUPPORTED (no token may come; the grammar is too ambiguous to be followed within bounds),
 *  KL_ERR_MEMORY.  The logits may then have changed. */
KL_API kl_status kl_guide_mask(kl_guide *guide, float *logits, int32_t n_vocab, const int32_t *stop, int n_stop,
                               kl_error *err);
/** The token that came.  Errors: KL_ERR_ARGUMENT (it could not: kl_guide_mask() had forbidden it), and those above. */
KL_API kl_status kl_guide_take(kl_guide *guide, int32_t token, kl_error *err);
/** Nothing can come any more but a stop token: text and tail are whole. */
KL_API bool kl_guide_ended(const kl_guide *guide);

#ifdef __cplusplus
}
#endif
#endif
