/* Least squares and rounding by turns: from a start value, round to integers, then solve for the scale that suits
 * these integers best.  One turn from each of a few start values finds what many turns from one do not, since the
 * error has many local minima.
 *
 * Sums run in f32, in four lanes that are added in a fixed order: fast, and the same bits on every machine.  Numbers
 * are brought to largest magnitude 1 first, so that no square overflows or vanishes. */
#include "tensor/quant/fit.h"

#include <math.h>
#include <string.h>

enum { LANES = 4, MAX_FIT = 32 };

typedef float floats __attribute__((vector_size(LANES * sizeof(float))));
typedef int32_t masks __attribute__((vector_size(LANES * sizeof(float))));

static inline floats load(const float *x)
{
    floats v;
    memcpy(&v, x, sizeof v);
    return v;
}

static inline floats all(float x)
{
    return x - (floats){0};
}

static inline floats choose(masks which, floats yes, floats no)
{
    return (floats)((which & (masks)yes) | (~which & (masks)no));
}

static inline float sum(floats v)
{
    return (v[0] + v[2]) + (v[1] + v[3]);
}

/* kl__nearest(), as numbers. */
static inline floats nearest(floats v, float low, float high)
{
    v = choose(v < low, all(low), v);
    v = choose(v > high, all(high), v);
    return v + 0x1.8p23f - 0x1.8p23f;
}

/* Below this, numbers count as zero: far under what an f16 scale can say, and 1 / amax stays finite. */
static const float nothing = 0x1p-100f;

/* y <- x / largest |x|, which is returned; 0 when there is nothing to fit. */
static float normalise(float *y, const float *x, int n)
{
    float m = 0;
    for (int i = 0; i < n; i++)
        m = fabsf(x[i]) > m ? fabsf(x[i]) : m;
    if (m < nothing)
        return 0;
    float inverse = 1 / m;
    for (int i = 0; i < n; i++)
        y[i] = x[i] * inverse;
    return m;
}

void kl__fit_weights(float *w, const float *x, int n)
{
    float y[MAX_FIT];
    floats squares = {0};
    if (normalise(y, x, n) == 0) {
        memset(w, 0, (size_t)n * sizeof *w);
        return;
    }
    for (int i = 0; i < n; i += LANES)
        squares += load(y + i) * load(y + i);
    float mean = sum(squares) / (float)n, unit = 1 / (mean + 1);
    for (int i = 0; i < n; i++)
        w[i] = (mean + y[i] * y[i]) * unit;
}

float kl__fit_error(const float *x, const float *w, int n, float a, float c, int low, int high)
{
    float inverse = a != 0 ? 1 / a : 0;
    floats errors = {0};
    for (int i = 0; i < n; i += LANES) {
        floats y = load(x + i) - c, e = y - a * nearest(y * inverse, (float)low, (float)high);
        errors += load(w + i) * e * e;
    }
    return sum(errors);
}

/* A scale, and how much it takes off the error of calling everything zero. */
struct turn {
    float scale, gain;
};

/* With integers q fixed, the best scale is P / Q, P = sum w x q, Q = sum w q^2, and its gain P^2 / Q. */
static struct turn scale_turn(const float *x, const float *w, int n, float inverse, int low, int high)
{
    floats p = {0}, q2 = {0};
    for (int i = 0; i < n; i += LANES) {
        floats q = nearest(load(x + i) * inverse, (float)low, (float)high), wq = load(w + i) * q;
        p += wq * load(x + i);
        q2 += wq * q;
    }
    float P = sum(p), Q = sum(q2);
    return Q > 0 ? (struct turn){P / Q, P * P / Q} : (struct turn){0, -1};
}

float kl__fit_scale(const float *x, const float *w, int n, int low, int high)
{
    float y[MAX_FIT], amax = normalise(y, x, n);
    if (amax == 0)
        return 0;
    struct turn best = {0, -1};
    for (int sign = -1; sign <= 1; sign += 2)
        for (int step = -6; step <= 6; step++) {
            /* The largest number goes to `low`, give or take a level. */
            float inverse = (float)sign * ((float)-low + 0.15f * (float)step);
            struct turn t = scale_turn(y, w, n, inverse, low, high);
            best = t.gain > best.gain ? t : best;
        }
    return best.scale * amax;
}

/* With integers q fixed, a and c solve two linear equations; c stays at 0 where `below` forbids what they ask. */
static void affine_turn(float *a, float *c, const float *x, const float *w, int n, float inverse, float low, int high,
                        bool below)
{
    floats vw = {0}, vq = {0}, vqq = {0}, vx = {0}, vxq = {0};
    for (int i = 0; i < n; i += LANES) {
        floats q = nearest((load(x + i) - low) * inverse, 0, (float)high), wi = load(w + i);
        vw += wi;
        vq += wi * q;
        vqq += wi * q * q;
        vx += wi * load(x + i);
        vxq += wi * load(x + i) * q;
    }
    float sw = sum(vw), sq = sum(vq), sqq = sum(vqq), sx = sum(vx), sxq = sum(vxq), det = sw * sqq - sq * sq;
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
        float try_a, try_c;
        affine_turn(&try_a, &try_c, y, w, n, ((float)high + 0.2f * (float)step) / (top - low), low, high, below);
        float error = kl__fit_error(y, w, n, try_a, try_c, 0, high);
        if (error < best) {
            best = error;
            *a = try_a * amax;
            *c = try_c * amax;
        }
    }
}
