#include "progress.h"

#include "amount.h"
#include "machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BAR = 24 };
static const double first_after = 1, again_after = 0.1; /* seconds */

void ka_progress_begin(struct ka_progress *p, const char *what, const char *unit)
{
    const char *term = getenv("TERM");
    *p = (struct ka_progress){.what = what, .unit = unit, .started = ka_seconds()};
    p->allowed = isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0;
}

static void draw_total(const struct ka_progress *p, int64_t done, int64_t total, double seconds)
{
    char bar[BAR + 1];
    double part = done < total ? (double)done / (double)total : 1;
    for (int i = 0; i < BAR; i++)
        bar[i] = i < (int)(part * BAR) ? '#' : '.';
    bar[BAR] = 0;
    fprintf(stderr, "\r%s [%s] %3d %%  %lld of %lld %s", p->what, bar, (int)(100 * part), (long long)done,
            (long long)total, p->unit);
    if (part > 0.01)
        fprintf(stderr, ", %s left", ka_duration(seconds / part - seconds).text);
}

void ka_progress_set(struct ka_progress *p, int64_t done, int64_t total)
{
    double now = ka_seconds();
    if (!p->allowed || now - p->started < first_after || now - p->drawn < again_after)
        return;
    p->drawn = now;
    p->shown = true;
    if (total > 0)
        draw_total(p, done, total, now - p->started);
    else
        fprintf(stderr, "\r%s  %lld %s", p->what, (long long)done, p->unit);
    fputs("\033[K", stderr); /* what a longer line left behind */
    fflush(stderr);
}

void ka_progress_end(struct ka_progress *p)
{
    if (p->shown)
        fputs("\r\033[K", stderr);
    p->shown = false;
}
