/** A verb of the program.  To add one: cmd_<name>.c in its room, with a `const struct ka_verb ka_verb_<name>`, a row in
 *  verbs.def, a test in tests/apps/.  Help, man page and completions come from the same struct. */
#ifndef KA_VERB_H
#define KA_VERB_H

#include "options.h"

#include "klinear/kl.h"

/** What the program tells whoever called it. */
enum ka_exit {
    KA_FINE = 0,
    KA_FAILED = 1,
    KA_USAGE = 2,
};

struct ka_verb {
    const char *name;                /* as typed: "bench ops" */
    const char *summary;             /* half a line, for the list of verbs */
    const char *usage;               /* what follows the name: "[options]" */
    const char *text;                /* paragraphs of --help between usage and options; lines already broken */
    const struct ka_option *options; /* ends with a row without a name; NULL: none */
    const void *defaults;            /* [settings_bytes] what the settings are before options are read */
    size_t settings_bytes;
    int max_words; /* words that may follow the options */
    /** Does it.  `settings` is what the options made of the defaults; words[n_word] is what followed them. */
    enum ka_exit (*run)(const void *settings, int n_word, char **words);
};

#define VERB(name) extern const struct ka_verb ka_verb_##name;
#include "verbs.def"
#undef VERB

/** The verb that words[0], or words[0] and words[1], name; NULL: none.  *n_used: how many words the name took. */
const struct ka_verb *ka_find_verb(int n_word, char *const *words, int *n_used);
/** Verb `i` in the order of verbs.def; NULL past the end. */
const struct ka_verb *ka_verb_at(int i);

/** The exit of a verb whose work ended with `status`, after the sentence of `err` on stderr where there is one. */
enum ka_exit ka_conclude(const struct ka_verb *verb, kl_status status, const kl_error *err);

/** Prints help for one verb, or the list of verbs for NULL. */
void ka_print_help(FILE *out, const struct ka_verb *verb);

#endif
