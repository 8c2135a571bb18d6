#include "progress.h"

#include "amount.h"
#include "machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { BAR = 24, LINE_BYTES = 256 };
static const double first_after = 1, again_after = 0.1; /* seconds */

void ka_progress_begin(struct ka_progress *p, const char *what, const char *unit)
{
    const char *term = getenv("TERM");
    *p = (struct ka_progress){.what = what, .unit = unit, .started = ka_seconds()};
    p->allowed = isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0;
}

static void line_of_total(char line[LINE_BYTES], const struct ka_progress *p, int64_t done, int64_t total,
                          double seconds)
{
    char bar[BAR + 1], left[48] = "";
    double part = done < total ? (double)done / (double)total : 1;
    for (int i = 0; i < BAR; i++)
        bar[i] = i < (int)(part * BAR) ? '#' : '.';
    bar[BAR] = 0;
    if (part > 0.01)
        snprintf(left, sizeof left, ", %s left", ka_duration(seconds / part - seconds).text);
    snprintf(line, LINE_BYTES, "%s [%s] %3d %%  %lld of %lld %s%s", p->what, bar, (int)(100 * part), (long long)done,
             (long long)total, p->unit, left);
}

/* Columns that a line may have: one that goes on below cannot be drawn again. */
static int columns_of_terminal(void)
{
    struct winsize size;
    bool known = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1;
    return known ? size.ws_col - 1 : 79;
}

void ka_progress_set(struct ka_progress *p, int64_t done, int64_t total)
{
    double now = ka_seconds();
    if (!p->allowed || now - p->started < first_after || now - p->drawn < again_after)
        return;
    p->drawn = now;
    p->shown = true;
    char line[LINE_BYTES];
    if (total > 0)
        line_of_total(line, p, done, total, now - p->started);
    else
        snprintf(line, sizeof line, "%s  %lld %s", p->what, (long long)done, p->unit);
    fprintf(stderr, "\r%.*s\033[K", columns_of_terminal(), line); /* \033[K: what a longer line left behind */
    fflush(stderr);
}

void ka_progress_end(struct ka_progress *p)
{
    if (p->shown)
        fputs("\r\033[K", stderr);
    p->shown = false;
}
