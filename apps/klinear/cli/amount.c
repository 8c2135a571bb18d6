#include "amount.h"

#include <math.h>
#include <stdio.h>

struct ka_amount ka_bytes(double bytes)
{
    static const char *const unit[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    struct ka_amount a;
    int u = 0;
    for (; bytes >= 1024 && u < 4; u++)
        bytes /= 1024;
    snprintf(a.text, sizeof a.text, bytes == floor(bytes) ? "%.0f %s" : "%.1f %s", bytes, unit[u]);
    return a;
}

struct ka_amount ka_duration(double s)
{
    struct ka_amount a;
    if (s < 1e-3)
        snprintf(a.text, sizeof a.text, "%.0f us", 1e6 * s);
    else if (s < 0.1)
        snprintf(a.text, sizeof a.text, "%.0f ms", 1e3 * s);
    else if (s < 10)
        snprintf(a.text, sizeof a.text, "%.*f s", s < 1 ? 2 : 1, s);
    else if (s < 60)
        snprintf(a.text, sizeof a.text, "%.0f s", s);
    else if (s < 3600)
        snprintf(a.text, sizeof a.text, "%d min %02d s", (int)(s / 60), (int)fmod(s, 60));
    else
        snprintf(a.text, sizeof a.text, "%.0f h %02d min", floor(s / 3600), (int)fmod(s / 60, 60));
    return a;
}

struct ka_amount ka_rate(double x)
{
    struct ka_amount a;
    int before = x >= 1 ? (int)floor(log10(x)) + 1 : 0;
    int behind = x <= 0 ? 0 : before ? 3 - before : 2 - (int)floor(log10(x));
    snprintf(a.text, sizeof a.text, "%.*f", behind < 0 ? 0 : behind > 6 ? 6 : behind, x);
    return a;
}
