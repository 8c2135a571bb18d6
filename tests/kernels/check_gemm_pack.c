#include "kcheck.h"

struct args {
    float *to;
    const void *from;
    kl_dtype dtype;
    int64_t pitch;
    bool transposed;
    int64_t n;
    int width;
    int64_t n_k;
};

static void call(kc_any_fn *fn, const void *args)
{
    const struct args *a = args;
    ((kl__gemm_pack_fn *)fn)(a->to, a->from, a->dtype, a->pitch, a->transposed, a->n, a->width, a->n_k);
}

/* The operand ends with its last element, not with its last pitch: what lies behind must not be read. */
static struct args operands(kc *c, kl_dtype dtype, bool transposed, int64_t n, int width, int64_t n_k, int64_t gap)
{
    int64_t rows = transposed ? n_k : n, row = transposed ? n : n_k;
    struct args a = {.dtype = dtype, .transposed = transposed, .n = n, .width = width, .n_k = n_k, .pitch = row + gap};
    int64_t elements = rows > 0 ? (rows - 1) * a.pitch + row : 0;
    a.from = dtype == KL_F32 ? (const void *)kc_in(c, "from", elements, KC_NAN)
                             : (const void *)kc_in_bf16(c, "from", elements, KC_NAN);
    a.to = kc_out(c, "to", n_k * width, 0);
    return a;
}

static void check_width(kc *c, kl_dtype dtype, bool transposed, int64_t n, int width)
{
    static const int64_t lengths[] = {0, 1, 3, 7, 8, 9, 15, 16, 17, 33, 40};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        for (int64_t gap = 0; gap <= 5; gap += 5) {
            struct args a = operands(c, dtype, transposed, n, width, lengths[i], gap);
            kc_run(c, call, &a, "%s%s, n %lld, width %d, n_k %lld, pitch %lld", kl_dtype_name(dtype),
                   transposed ? " transposed" : "", (long long)n, width, (long long)lengths[i], (long long)a.pitch);
        }
}

static struct kl__gemm_sizes sizes_of_row(const kc *c)
{
    struct kl__kernels k;
    kl__kernels_fill(&k, kc_needs(c));
    return k.gemm_sizes();
}

void check_gemm_pack(kc *c)
{
    struct kl__gemm_sizes s = sizes_of_row(c);
    for (int dtype = KL_F32; dtype <= KL_BF16; dtype++)
        for (int transposed = 0; transposed <= 1; transposed++) {
            for (int width = 0; width <= s.rows; width++)
                for (int more = 0; more <= 17; more += 17)
                    check_width(c, (kl_dtype)dtype, transposed, width + more, width);
            for (int n = 0; n <= s.columns + 1; n++)
                check_width(c, (kl_dtype)dtype, transposed, n, s.columns);
            struct args a = operands(c, (kl_dtype)dtype, transposed, s.columns, s.columns, KL__GEMM_K, 2304);
            kc_run_timed(c, call, &a, "%s%s, width %d, n_k %d", kl_dtype_name((kl_dtype)dtype),
                         transposed ? " transposed" : "", s.columns, KL__GEMM_K);
        }
}
