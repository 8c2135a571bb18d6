/** Options from one table per verb: the table is what getopt_long reads, what --help shows, and what the man page and
 *  the completions of shells are made of. */
#ifndef KA_OPTIONS_H
#define KA_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum {
    KA_LIST = 32,        /* most entries of a list */
    KA_MAX_OPTIONS = 64, /* most options of a verb */
};

/** A list as typed: numbers, or indices into the words of its option. */
struct ka_list {
    int n;
    int64_t at[KA_LIST];
};

/** What an option was given each time it was given. */
struct ka_texts {
    int n;
    const char *at[KA_LIST];
};

/** What the value of an option is, and the type of its field in the settings. */
enum ka_kind {
    KA_FLAG,    /* no value              bool */
    KA_TEXT,    /* any                   const char * */
    KA_TEXTS,   /* any, every time       struct ka_texts */
    KA_NUMBER,  /* min .. max            int64_t */
    KA_REAL,    /* min .. max            double; a point before decimals, whatever the locale */
    KA_WORD,    /* one of `words`        int64_t, the index into `words` */
    KA_NUMBERS, /* comma-separated       struct ka_list */
    KA_WORDS,   /* some of `words`       struct ka_list of indices into `words` */
    KA_GROUP,   /* all options of the table `group`, whose fields are counted from `field` on; `name` is the heading */
};

struct ka_option {
    const char *name;  /* without the two dashes; NULL ends the table */
    char letter;       /* the same option with one dash; 0: none */
    const char *value; /* what help calls the value; NULL for a flag.  Shells complete FILE, DIR and MODEL */
    enum ka_kind kind;
    size_t field;             /* offsetof in the settings */
    int64_t min, max;         /* of each number; K, M and G may follow a whole one, for 2^10, 2^20 and 2^30 */
    const char *const *words; /* ends with NULL */
    const struct ka_option *group;
    const char *help; /* one line, or several broken by \n */
};

/** An option where a walk over a table and its groups meets it. */
struct ka_option_at {
    const struct ka_option *option;
    size_t base;         /* of its field */
    const char *heading; /* of its group; NULL: none */
};

/** All options of a table (NULL: none), those of groups in their place.  Returns how many. */
int ka_all_options(struct ka_option_at at[KA_MAX_OPTIONS], const struct ka_option *options);

struct ka_verb;

/** Reads argv[1 ..] into `settings`.  argv is reordered as getopt does; *first is where the words begin.
 *  Returns false after a sentence on stderr when something is wrong.  --help sets *help and ends the reading. */
bool ka_read_options(const struct ka_verb *verb, int argc, char **argv, void *settings, int *first, bool *help);

/** The lines of --help for a table (NULL: only --help itself). */
void ka_print_options(FILE *out, const struct ka_option *options);

/** A decimal number that is the whole of `text`; false when it is none.  The locale has no say. */
bool ka_read_real(const char *text, double *number);

/** "klinear VERB: ..." on stderr, one line; verb may be NULL. */
void ka_complain(const struct ka_verb *verb, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
