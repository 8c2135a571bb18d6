#include "klinear/kl_train.h"

#include <math.h>

/* From 1 to `floor` along half a cosine; part 0 .. 1. */
static double down(double part, double floor)
{
    return floor + (1 - floor) * 0.5 * (1 + cos(3.141592653589793 * (part < 1 ? part : 1)));
}

double kl_schedule_rate(const kl_schedule *s, int64_t step)
{
    if (step < s->warmup)
        return s->peak * (double)(step + 1) / (double)s->warmup;
    if (s->kind == KL_SCHEDULE_CONSTANT)
        return s->peak;
    int64_t begin = s->kind == KL_SCHEDULE_COSINE ? s->warmup : s->total - s->decay;
    begin = begin > s->warmup ? begin : s->warmup;
    if (step < begin || begin >= s->total)
        return s->peak;
    return s->peak * down((double)(step - begin) / (double)(s->total - begin), s->floor);
}
