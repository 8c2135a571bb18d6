/* Sums of rows. */
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/vec/vec.h"

void KL_VARIANT(add_row)(float *y, const float *x, int64_t n)
{
    int64_t i = 0;
    for (; i + KL_LANES <= n; i += KL_LANES)
        vstore(y + i, vload(y + i) + vload(x + i));
    for (; i < n; i++)
        y[i] += x[i];
}
