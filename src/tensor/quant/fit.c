/* Least squares and rounding by turns: from a start value, round to integers, then solve for the scale that suits
 * these integers best.  One turn from each of a few start values finds what many turns from one do not, since the
 * error has many local minima.  Sums run in f32 over at most 32 numbers that were brought to largest magnitude 1. */
#include "tensor/quant/fit.h"

#include <math.h>

enum { MAX_FIT = 32 };

/* Below this, numbers count as zero: far under what an f16 scale can say, and 1 / amax stays finite. */
static const float nothing = 0x1p-100f;

static float largest(const float *x, int n)
{
    float m = 0;
    for (int i = 0; i < n; i++)
        m = fabsf(x[i]) > m ? fabsf(x[i]) : m;
    return m;
}

/* y <- x / largest |x|, which is returned; 0 when there is nothing to fit. */
static float normalise(float *y, const float *x, int n)
{
    float m = largest(x, n);
    if (m < nothing)
        return 0;
    float inverse = 1 / m;
    for (int i = 0; i < n; i++)
        y[i] = x[i] * inverse;
    return m;
}

void kl__fit_weights(float *w, const float *x, int n)
{
    float y[MAX_FIT], sum = 0;
    if (normalise(y, x, n) == 0) {
        for (int i = 0; i < n; i++)
            w[i] = 0;
        return;
    }
    for (int i = 0; i < n; i++)
        sum += y[i] * y[i];
    float mean = sum / (float)n, unit = 1 / (mean + 1);
    for (int i = 0; i < n; i++)
        w[i] = (mean + y[i] * y[i]) * unit;
}

float kl__fit_error(const float *x, const float *w, int n, float a, float c, int low, int high)
{
    float inverse = a != 0 ? 1 / a : 0, sum = 0;
    for (int i = 0; i < n; i++) {
        float e = x[i] - c - a * (float)kl__nearest((x[i] - c) * inverse, low, high);
        sum += w[i] * e * e;
    }
    return sum;
}

/* With integers q fixed, the best s is P / Q, P = sum w x q, Q = sum w q^2, and it takes P^2 / Q off the error. */
struct turn {
    float scale, gain;
};

static struct turn scale_turn(const float *x, const float *w, int n, float start, int low, int high)
{
    float p = 0, q2 = 0, inverse = 1 / start;
    for (int i = 0; i < n; i++) {
        float q = (float)kl__nearest(x[i] * inverse, low, high);
        p += w[i] * x[i] * q;
        q2 += w[i] * q * q;
    }
    return q2 > 0 ? (struct turn){p / q2, p * p / q2} : (struct turn){0, -1};
}

float kl__fit_scale(const float *x, const float *w, int n, int low, int high)
{
    float y[MAX_FIT], amax = normalise(y, x, n);
    if (amax == 0)
        return 0;
    struct turn best = {0, -1};
    for (int sign = -1; sign <= 1; sign += 2)
        for (int step = -6; step <= 6; step++) {
            /* The largest number goes to `low`, give or take half a level. */
            float start = (float)sign / ((float)-low + 0.15f * (float)step);
            struct turn t = scale_turn(y, w, n, start, low, high);
            best = t.gain > best.gain ? t : best;
        }
    return best.scale * amax;
}

/* With integers q fixed, a and c solve two linear equations; c stays at 0 where `below` forbids what they ask. */
static void affine_turn(float *a, float *c, const float *x, const float *w, int n, float scale, float low, int high,
                        bool below)
{
    float sw = 0, sq = 0, sqq = 0, sx = 0, sxq = 0, inverse = 1 / scale;
    for (int i = 0; i < n; i++) {
        float q = (float)kl__nearest((x[i] - low) * inverse, 0, high);
        sw += w[i];
        sq += w[i] * q;
        sqq += w[i] * q * q;
        sx += w[i] * x[i];
        sxq += w[i] * x[i] * q;
    }
    float det = sw * sqq - sq * sq;
    *a = det > 0 ? (sw * sxq - sq * sx) / det : 0;
    *c = det > 0 ? (sqq * sx - sq * sxq) / det : low;
    if (below && *c > 0) {
        *c = 0;
        *a = sqq > 0 ? sxq / sqq : 0;
    }
    *a = *a > 0 ? *a : 0;
}

void kl__fit_affine(float *a, float *c, const float *x, const float *w, int n, int high, bool below)
{
    float y[MAX_FIT], amax = normalise(y, x, n), low = below ? 0 : INFINITY, top = -INFINITY, best = INFINITY;
    *a = *c = 0;
    if (amax == 0)
        return;
    for (int i = 0; i < n; i++) {
        low = y[i] < low ? y[i] : low;
        top = y[i] > top ? y[i] : top;
    }
    *c = low * amax;
    if (top <= low)
        return;
    for (int step = -1; step <= 12; step++) {
        /* The plain range, then ranges that shrink: what the ends lose, the middle gains. */
        float scale = (top - low) / ((float)high + 0.2f * (float)step), try_a, try_c;
        affine_turn(&try_a, &try_c, y, w, n, scale, low, high, below);
        float error = kl__fit_error(y, w, n, try_a, try_c, 0, high);
        if (error < best) {
            best = error;
            *a = try_a * amax;
            *c = try_c * amax;
        }
    }
}
