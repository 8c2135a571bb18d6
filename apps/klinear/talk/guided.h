/** Answers that have to follow a grammar, as a user says it. */
#ifndef KA_GUIDED_H
#define KA_GUIDED_H

#include "../cli/options.h"
#include "klinear/kl.h"

struct ka_guided_choice {
    const char *grammar, *schema, *regex; /* at most one */
};
extern const struct ka_option ka_guided_options[];

struct ka_guided {
    kl_grammar *grammar;
    kl_lexicon *lexicon;
    kl_guide *guide; /* NULL: nothing was chosen */
};

/** Errors: KL_ERR_IO (the file), those of kl_grammar_open().  On failure what there is has to be closed as well. */
kl_status ka_guided_open(struct ka_guided *g, const struct ka_guided_choice *choice, const kl_tokenizer *tokenizer,
                         kl_error *err);
void ka_guided_close(struct ka_guided *g);

#endif
