/* Each sub-block of 32 is fitted alone; then all eight must share d and dmin, with 6 bits each to say how much of
 * them.  Rounding scale and minimum apart from each other wastes precision, so the neighbours of both are tried. */
#include "tensor/quant/k_scales.h"
#include "tensor/quant/fit.h"

enum { SUB = 8, N = 32 };

static float largest(const float *x, int n)
{
    float m = 0;
    for (int i = 0; i < n; i++)
        m = x[i] > m ? x[i] : m;
    return m;
}

/* The best pair among (scale, minimum), its eight neighbours, and nothing at all, which is what is left of numbers too
 * small for an f16 scale. */
static void refine(int *scale, int *minimum, const float *x, const float *w, float d, float dmin, int high)
{
    int from_scale = *scale, from_minimum = *minimum;
    *scale = *minimum = 0;
    float best = kl__fit_error(x, w, N, 0, 0, 0, high);
    for (int s = from_scale - 1; s <= from_scale + 1; s++)
        for (int m = from_minimum - 1; m <= from_minimum + 1; m++) {
            if (s < 0 || s > 63 || m < 0 || m > 63)
                continue;
            float error = kl__fit_error(x, w, N, d * (float)s, -dmin * (float)m, 0, high);
            if (error < best) {
                best = error;
                *scale = s;
                *minimum = m;
            }
        }
}

void kl__k_scales_fit(uint8_t *block, uint8_t *q, const float *x, int high)
{
    float w[SUB][N], a[SUB], b[SUB];
    int scale[SUB], minimum[SUB];
    for (int i = 0; i < SUB; i++) {
        kl__fit_weights(w[i], x + i * N, N);
        kl__fit_affine(&a[i], &b[i], x + i * N, w[i], N, high, true);
        b[i] = -b[i];
    }
    float d = kl__put_scale(block, largest(a, SUB) / 63), dmin = kl__put_scale(block + 2, largest(b, SUB) / 63);
    for (int i = 0; i < SUB; i++) {
        scale[i] = d > 0 ? kl__nearest(a[i] / d, 0, 63) : 0;
        minimum[i] = dmin > 0 ? kl__nearest(b[i] / dmin, 0, 63) : 0;
        refine(&scale[i], &minimum[i], x + i * N, w[i], d, dmin, high);
        float step = d * (float)scale[i], low = dmin * (float)minimum[i], inverse = step > 0 ? 1 / step : 0;
        for (int j = 0; j < N; j++)
            q[i * N + j] = (uint8_t)kl__nearest((x[i * N + j] + low) * inverse, 0, high);
    }
    kl__k_scales_put(block + 4, scale, minimum);
}
