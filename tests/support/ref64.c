#include "support/ref64.h"

#include "base/half.h"
#include "tensor/tensor.h"

#include <math.h>

int64_t ref64_count(kl_tensor t)
{
    return t.n_dim ? t.dim[0] * kl__row_elements(t) : 0;
}

double ref64_get(kl_tensor t, int64_t i)
{
    int64_t row = kl__row_elements(t), at = i / row * kl__pitch(t) + i % row;
    return t.dtype == KL_BF16 ? (double)kl__f32_of_bf16(((const uint16_t *)t.data)[at])
                              : (double)((const float *)t.data)[at];
}

double ref64_ratio(kl_tensor t, const double *want)
{
    int64_t n = ref64_count(t);
    double difference = 0, reference = 0;
    for (int64_t i = 0; i < n; i++) {
        double got = ref64_get(t, i);
        if (isfinite(want[i]) ? !isfinite(got) : !(isnan(want[i]) ? isnan(got) : got == want[i]))
            return INFINITY;
        if (!isfinite(want[i]))
            continue;
        difference += (got - want[i]) * (got - want[i]);
        reference += want[i] * want[i];
    }
    /* Below the squares of f32's smallest normal numbers nothing is left to compare. */
    if (difference <= (double)n * 1e-74)
        return 0;
    return reference > 0 ? sqrt(difference / reference) : INFINITY;
}

void ref64_expect(const char *what, kl_tensor t, const double *want, double tolerance)
{
    if (t.n_dim == 0)
        return;
    double ratio = ref64_ratio(t, want), allowed = tolerance + (t.dtype == KL_BF16 ? 0x1p-8 : 0);
    if (!(ratio <= allowed))
        fail_msg("%s: relative error %.3g, expected at most %.3g", what, ratio, allowed);
}
