#include "cpu/kernels/kernels.h"

#include <math.h>

void kl__rope_angles_ref(float *cosine, float *sine, const double *frequency, double position, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        cosine[i] = (float)cos(position * frequency[i]);
        sine[i] = (float)sin(position * frequency[i]);
    }
}

static void turn(float *x, float *y, float cosine, float sine)
{
    float x0 = *x, y0 = *y;
    *x = x0 * cosine - y0 * sine;
    *y = x0 * sine + y0 * cosine;
}

void kl__rope_halves_ref(float *v, const float *cosine, const float *sine, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        turn(&v[i], &v[n + i], cosine[i], sine[i]);
}

void kl__rope_pairs_ref(float *v, const float *cosine, const float *sine, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        turn(&v[2 * i], &v[2 * i + 1], cosine[i], sine[i]);
}
