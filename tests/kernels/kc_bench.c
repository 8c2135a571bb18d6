/* Times of one call: the median of several samples, each long enough for the clock.  Plain C and the variant take
 * turns, so that a change of the clock rate meets both; in-place buffers start every sample as the checked call did. */
#define _POSIX_C_SOURCE 200809L
#include "kc_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { SAMPLES = 11, SAMPLE_NS = 200000, MAX_REPEAT = 1 << 20 };

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static double sample(kc *c, kc_call_fn *call, kc_any_fn *fn, const void *args, int repeat)
{
    kc_restore(c);
    double start = now_ns();
    for (int i = 0; i < repeat; i++)
        call(fn, args);
    return (now_ns() - start) / repeat;
}

static int repeats(kc *c, kc_call_fn *call, kc_any_fn *fn, const void *args)
{
    int repeat = 1;
    while (repeat < MAX_REPEAT && sample(c, call, fn, args, repeat) * repeat < SAMPLE_NS)
        repeat *= 2;
    return repeat;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void kc_bench(kc *c, kc_call_fn *call, const void *args)
{
    int repeat_ref = repeats(c, call, c->row->ref, args), repeat = repeats(c, call, c->row->variant, args);
    double ref[SAMPLES], variant[SAMPLES];
    for (int i = 0; i < SAMPLES; i++) {
        ref[i] = sample(c, call, c->row->ref, args, repeat_ref);
        variant[i] = sample(c, call, c->row->variant, args, repeat);
    }
    qsort(ref, SAMPLES, sizeof *ref, ascending);
    qsort(variant, SAMPLES, sizeof *variant, ascending);
    printf("time    %-24s %-12s %12.1f ns  %7.2f x plain C  (%s)\n", c->row->slot, c->row->isa, variant[SAMPLES / 2],
           ref[SAMPLES / 2] / variant[SAMPLES / 2], c->label);
    fflush(stdout);
}
