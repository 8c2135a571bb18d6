/* A variant takes sums of its own width; plain C gets them a few columns at a time. */
#include "kcheck.h"

enum { MAX_SUMS = 64 * 64 };

struct args {
    void *c;
    kl_dtype dtype;
    int64_t c_pitch;
    const float *sum, *bias; /* [m][columns]; [n] or NULL */
    bool add;
    int64_t m;
    int n, columns;
};

static void call_in_narrow_panels(const struct args *a)
{
    int width = kl__gemm_sizes_ref().columns;
    float sum[MAX_SUMS];
    for (int j = 0; j < a->n; j += width) {
        int n = a->n - j < width ? a->n - j : width;
        for (int64_t i = 0; i < a->m; i++)
            for (int q = 0; q < n; q++)
                sum[i * width + q] = a->sum[i * a->columns + j + q];
        char *c = (char *)a->c + (size_t)j * kl_dtype_bytes(a->dtype);
        kl__gemm_store_ref(c, a->dtype, a->c_pitch, sum, a->bias ? a->bias + j : NULL, a->add, a->m, n);
    }
}

static void call(kc_any_fn *fn, const void *args)
{
    const struct args *a = args;
    if (fn == (kc_any_fn *)kl__gemm_store_ref)
        call_in_narrow_panels(a);
    else
        ((kl__gemm_store_fn *)fn)(a->c, a->dtype, a->c_pitch, a->sum, a->bias, a->add, a->m, a->n);
}

/* Rows of C are inputs and outputs at once, so that what a pitch leaves between them is seen to stay. */
static struct args operands(kc *c, int64_t m, int n, int columns, kl_dtype dtype, bool bias, bool add,
                            enum kc_fill fill)
{
    struct args a = {.m = m, .n = n, .columns = columns, .dtype = dtype, .add = add, .c_pitch = n + 3};
    int64_t elements = m > 0 ? (m - 1) * a.c_pitch + n : 0;
    kc_align(c, 64);
    a.sum = kc_in(c, "sum", m * columns, fill);
    kc_align(c, 1);
    a.bias = bias ? kc_in(c, "bias", n, KC_NORMAL) : NULL;
    a.c = dtype == KL_F32 ? (void *)kc_inout(c, "c", elements, KC_NORMAL, 0)
                          : (void *)kc_inout_bf16(c, "c", elements, KC_NORMAL, 0);
    return a;
}

static void check_columns(kc *c, int n, int columns)
{
    for (int64_t m = 0; m <= 3; m++)
        for (enum kc_fill fill = KC_NORMAL; fill <= KC_NAN; fill += KC_NAN - KC_NORMAL) {
            struct args plain = operands(c, m, n, columns, KL_F32, false, false, fill);
            kc_run(c, call, &plain, "f32, m %lld, n %d", (long long)m, n);
            struct args add = operands(c, m, n, columns, KL_F32, false, true, fill);
            kc_run(c, call, &add, "f32 add, m %lld, n %d", (long long)m, n);
            struct args bias = operands(c, m, n, columns, KL_F32, true, false, fill);
            kc_run(c, call, &bias, "f32 bias, m %lld, n %d", (long long)m, n);
            struct args both = operands(c, m, n, columns, KL_F32, true, true, fill);
            kc_run(c, call, &both, "f32 bias add, m %lld, n %d", (long long)m, n);
            struct args half = operands(c, m, n, columns, KL_BF16, false, false, fill);
            kc_run(c, call, &half, "bf16, m %lld, n %d", (long long)m, n);
            struct args half_bias = operands(c, m, n, columns, KL_BF16, true, false, fill);
            kc_run(c, call, &half_bias, "bf16 bias, m %lld, n %d", (long long)m, n);
        }
}

void check_gemm_store(kc *c)
{
    struct kl__kernels k;
    kl__kernels_fill(&k, kc_needs(c));
    struct kl__gemm_sizes s = k.gemm_sizes();
    for (int n = 1; n <= s.columns; n++)
        check_columns(c, n, s.columns);
    struct args a = operands(c, s.rows, s.columns, s.columns, KL_F32, false, false, KC_NORMAL);
    kc_run_timed(c, call, &a, "%d x %d", s.rows, s.columns);
}
