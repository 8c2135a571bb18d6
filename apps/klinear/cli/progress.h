/** A line on the terminal about work that takes long.  Nothing is shown in the first second, and nothing at all when
 *  standard error is no terminal. */
#ifndef KA_PROGRESS_H
#define KA_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct ka_progress {
    const char *what; /* "Reading the prompt"; not kept beyond ka_progress_end() */
    const char *unit; /* "tokens" */
    double started, drawn;
    bool allowed, shown;
};

void ka_progress_begin(struct ka_progress *p, const char *what, const char *unit);
/** `done` of `total` (0: not known). */
void ka_progress_set(struct ka_progress *p, int64_t done, int64_t total);
/** Removes the line. */
void ka_progress_end(struct ka_progress *p);

#endif
