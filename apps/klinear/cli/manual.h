/** What is made of the tables of options besides --help: the man page, and completions for shells. */
#ifndef KA_MANUAL_H
#define KA_MANUAL_H

#include <stdio.h>

/** klinear(1) in the man macros, all verbs. */
void ka_print_man_page(FILE *out);

/** The shells that completions exist for, in the order of their numbers; ends with NULL. */
extern const char *const ka_shells[];
/** A script that the shell loads. */
void ka_print_completion(FILE *out, int shell);

#endif
