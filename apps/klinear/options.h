/** Options from one table per verb: the table is what getopt_long reads and what --help shows. */
#ifndef KA_OPTIONS_H
#define KA_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { KA_LIST = 32 }; /* most entries of a list */

/** A list as typed: numbers, or indices into the words of its option. */
struct ka_list {
    int n;
    int64_t at[KA_LIST];
};

/** What the value of an option is, and the type of its field in the settings. */
enum ka_kind {
    KA_FLAG,    /* no value              bool */
    KA_TEXT,    /* any                   const char * */
    KA_NUMBER,  /* min .. max            int64_t */
    KA_NUMBERS, /* comma-separated       struct ka_list */
    KA_WORDS,   /* some of `words`       struct ka_list of indices into `words` */
};

struct ka_option {
    const char *name;  /* without the two dashes; NULL ends the table */
    const char *value; /* what help calls the value; NULL for a flag */
    enum ka_kind kind;
    size_t field;             /* offsetof in the settings */
    int64_t min, max;         /* of each number; K and M may follow one, for 2^10 and 2^20 */
    const char *const *words; /* ends with NULL */
    const char *help;         /* one line, or several broken by \n */
};

struct ka_verb;

/** Reads argv[1 ..] into `settings`.  argv is reordered as getopt does; *first is where the words begin.
 *  Returns false after a sentence on stderr when something is wrong.  --help sets *help and ends the reading. */
bool ka_read_options(const struct ka_verb *verb, int argc, char **argv, void *settings, int *first, bool *help);

/** The lines of --help for a table (NULL: only --help itself). */
void ka_print_options(FILE *out, const struct ka_option *options);

/** "klinear VERB: ..." on stderr, one line; verb may be NULL. */
void ka_complain(const struct ka_verb *verb, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
