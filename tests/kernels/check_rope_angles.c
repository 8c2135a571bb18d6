#include "kcheck.h"

#include <math.h>

struct args {
    float *cosine, *sine;
    const double *frequency;
    double position;
    int64_t n;
};

static void call(kc_any_fn *fn, const void *args)
{
    const struct args *a = args;
    ((kl__rope_angles_fn *)fn)(a->cosine, a->sine, a->frequency, a->position, a->n);
}

static struct args operands(kc *c, int64_t n, double position)
{
    kc_align(c, 8);
    double *frequency = kc_in_bytes(c, "frequency", n * 8);
    for (int64_t i = 0; i < n; i++)
        frequency[i] = pow(10000, -(double)i / (double)n);
    return (struct args){.cosine = kc_out(c, "cosine", n, 2e-7),
                         .sine = kc_out(c, "sine", n, 2e-7),
                         .frequency = frequency,
                         .position = position,
                         .n = n};
}

void check_rope_angles(kc *c)
{
    static const double positions[] = {0, 1, 2, 3, 5, 22, 355, 4095, 131072, 1000003, 2147483647};
    for (int i = 0; kc_length(i) >= 0; i++)
        for (size_t p = 0; p < sizeof positions / sizeof *positions; p++)
            for (int sign = -1; sign <= 1; sign += 2) {
                struct args a = operands(c, kc_length(i), sign * positions[p]);
                kc_run(c, call, &a, "n %lld, position %.0f", (long long)a.n, a.position);
            }
    struct args a = operands(c, 64, 12345);
    kc_run_timed(c, call, &a, "n %lld", (long long)a.n);
}
