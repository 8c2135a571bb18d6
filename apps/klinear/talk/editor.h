/** Lines that somebody types: edited and remembered where libedit was built in and a terminal is there, read as they
 *  come otherwise. */
#ifndef KA_EDITOR_H
#define KA_EDITOR_H

#include "../cli/input.h"

struct ka_editor;

/** Words that the tab key completes at the beginning of a line; ends with NULL. */
typedef const char *const *ka_words;

/** `history`: file of lines typed earlier, kept for the user alone; NULL: none.  Returns NULL when memory is out. */
struct ka_editor *ka_editor_open(const char *history, ka_words words);
void ka_editor_close(struct ka_editor *e);

/** Reads one line into `line`, showing `prompt` when somebody types.  1: a line; 0: the end; -1: Ctrl-C, or `err` has a
 *  status. */
int ka_editor_line(struct ka_editor *e, struct ka_input *line, const char *prompt, kl_error *err);
/** Remembers a whole input, which may be several lines. */
void ka_editor_remember(struct ka_editor *e, const char *text);

/** "libedit", or NULL when lines are read as they come. */
const char *ka_editor_library(void);

enum { KA_LINE_LIMIT = 1 << 24 }; /* bytes of a line */

#endif
