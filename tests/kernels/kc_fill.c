/* Numbers as a model makes them, and numbers that hurt. */
#include "kc_internal.h"

#include <math.h>

static uint64_t next(kc *c)
{
    /* splitmix64 */
    uint64_t x = c->rng += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

double kc_uniform(kc *c)
{
    return (double)(next(c) >> 11) * 0x1p-53;
}

double kc_normal(kc *c)
{
    double radius = sqrt(-2 * log(1 - kc_uniform(c)));
    return radius * cos(6.283185307179586 * kc_uniform(c));
}

int64_t kc_below(kc *c, int64_t n)
{
    return (int64_t)(next(c) % (uint64_t)n);
}

const char *kc_fill_name(enum kc_fill fill)
{
    static const char *const names[] = {
        [KC_NORMAL] = "normal", [KC_WIDE] = "wide",
        [KC_LARGE] = "large",   [KC_SMALL] = "small",
        [KC_ZERO] = "zero",     [KC_NAN] = "NaN",
        [KC_ONE] = "one",       [KC_UNIT] = "unit",
        [KC_DECAY] = "decay",   [KC_DECAY_MIXED] = "mixed decay",
    };
    return names[fill];
}

/* One odd number of each kind among the normal ones. */
static double not_a_number_here_and_there(kc *c)
{
    int64_t kind = kc_below(c, 16);
    return kind == 0 ? (double)NAN : kind == 1 ? (double)INFINITY : kind == 2 ? -(double)INFINITY : kc_normal(c);
}

static double decay(kc *c)
{
    return exp(-exp(log(1e-4) + kc_uniform(c) * (log(8) - log(1e-4))));
}

static double mixed_decay(kc *c)
{
    int64_t kind = kc_below(c, 6);
    return kind == 0 ? 1 : kind == 1 ? 0 : kind == 2 ? exp(-50) : decay(c);
}

static double draw(kc *c, enum kc_fill fill)
{
    switch (fill) {
    case KC_WIDE:
        return kc_normal(c) * exp2((double)(kc_below(c, 41) - 20));
    case KC_LARGE:
        return kc_normal(c) * 1e15;
    case KC_SMALL:
        return kc_normal(c) * 1e-15;
    case KC_ZERO:
        return kc_below(c, 4) ? 0.0 : -0.0;
    case KC_NAN:
        return not_a_number_here_and_there(c);
    case KC_ONE:
        return 1;
    case KC_UNIT:
        return kc_uniform(c);
    case KC_DECAY:
        return decay(c);
    case KC_DECAY_MIXED:
        return mixed_decay(c);
    default:
        return kc_normal(c);
    }
}

void kc_refill(kc *c, float *x, int64_t n, enum kc_fill fill)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)draw(c, fill);
}

void kc_unit_rows(float *x, int64_t rows, int64_t n)
{
    for (int64_t r = 0; r < rows; r++) {
        double square = 0;
        for (int64_t i = 0; i < n; i++)
            square += (double)x[r * n + i] * x[r * n + i];
        for (int64_t i = 0; i < n && square > 0; i++)
            x[r * n + i] = (float)(x[r * n + i] / sqrt(square));
    }
}

int64_t kc_length(int i)
{
    static const int64_t lengths[] = {0,  1,  2,  3,  5,  7,  8,  9,  15, 16,  17,  23,  24,
                                      25, 31, 32, 33, 37, 47, 48, 49, 64, 127, 128, 131, 1152};
    return i < (int)(sizeof lengths / sizeof *lengths) ? lengths[i] : -1;
}
