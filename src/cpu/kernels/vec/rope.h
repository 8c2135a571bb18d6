/* Rotary position embedding.  Angles grow with the position, so they are reduced in f64: a turn is taken off in two
 * parts of pi/2, fused, which leaves an error of 1e-10 at 2^32; the polynomials on [-pi/4, pi/4] are good to 2e-9. */
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/vec/activation.h"
#include "cpu/kernels/vec/shuffle.h"

enum { DOUBLES = KL_LANES / 2 };
typedef double vd __attribute__((vector_size(8 * DOUBLES)));
typedef double vd_at __attribute__((vector_size(8 * DOUBLES), aligned(8), may_alias));
typedef int64_t vl __attribute__((vector_size(8 * DOUBLES)));
typedef float vf_half __attribute__((vector_size(4 * DOUBLES)));

static inline vd select64(vl mask, vd yes, vd no)
{
    return (vd)((mask & (vl)yes) | (~mask & (vl)no));
}

static inline void sin_cos(vd angle, vf_half *sine, vf_half *cosine)
{
    vd shifted = angle * 0.63661977236758134 + 0x1.8p52; /* 2 / pi; the number of quarter turns in the low bits */
    vd turns = shifted - 0x1.8p52;
    vd r = angle - turns * 1.5707963267948966;
    r = r - turns * 6.123233995736766e-17;
    vd r2 = r * r;
    vd s = r2 * 2.7557319223985893e-6 - 1.984126984126984e-4;
    s = r2 * s + 8.333333333333333e-3;
    s = r2 * s - 1.6666666666666666e-1;
    s = r + r * r2 * s;
    vd c = 2.48015873015873e-5 - r2 * 2.755731922398589e-7;
    c = r2 * c - 1.388888888888889e-3;
    c = r2 * c + 4.1666666666666664e-2;
    c = r2 * c - 0.5;
    c = 1.0 + r2 * c;
    vl quarter = (vl)shifted, odd = -(quarter & 1);
    vl sine_sign = (quarter & 2) << 62, cosine_sign = ((quarter + 1) & 2) << 62;
    *sine = __builtin_convertvector((vd)((vl)select64(odd, c, s) ^ sine_sign), vf_half);
    *cosine = __builtin_convertvector((vd)((vl)select64(odd, s, c) ^ cosine_sign), vf_half);
}

void KL_VARIANT(rope_angles)(float *cosine, float *sine, const double *frequency, double position, int64_t n)
{
    for (int64_t i = 0; i < n; i += DOUBLES) {
        int64_t rest = n - i < DOUBLES ? n - i : DOUBLES;
        vd f = {0};
        if (rest == DOUBLES)
            f = *(const vd_at *)(frequency + i);
        else
            __builtin_memcpy(&f, frequency + i, 8 * (size_t)rest);
        vf_half s, c;
        sin_cos(f * position, &s, &c);
        __builtin_memcpy(cosine + i, &c, 4 * (size_t)rest);
        __builtin_memcpy(sine + i, &s, 4 * (size_t)rest);
    }
}

void KL_VARIANT(rope_halves)(float *v, const float *cosine, const float *sine, int64_t n)
{
    for (int64_t i = 0; i < n; i += KL_LANES) {
        vf x = vload_upto(v + i, n - i), y = vload_upto(v + n + i, n - i);
        vf c = vload_upto(cosine + i, n - i), s = vload_upto(sine + i, n - i);
        vstore_upto(v + i, x * c - y * s, n - i);
        vstore_upto(v + n + i, x * s + y * c, n - i);
    }
}

void KL_VARIANT(rope_pairs)(float *v, const float *cosine, const float *sine, int64_t n)
{
    int64_t i = 0;
    for (; i + KL_LANES <= n; i += KL_LANES) {
        vf low = vload(v + 2 * i), high = vload(v + 2 * i + KL_LANES);
        vf x = vevens(low, high), y = vodds(low, high), c = vload(cosine + i), s = vload(sine + i);
        vf x1 = x * c - y * s, y1 = x * s + y * c;
        vstore(v + 2 * i, vzip_low(x1, y1));
        vstore(v + 2 * i + KL_LANES, vzip_high(x1, y1));
    }
    for (; i < n; i++) {
        float x = v[2 * i], y = v[2 * i + 1];
        v[2 * i] = x * cosine[i] - y * sine[i];
        v[2 * i + 1] = x * sine[i] + y * cosine[i];
    }
}
