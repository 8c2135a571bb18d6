/* Sizes differ between variants on purpose; what is compared is whether the caller's blocking can work with them. */
#include "kcheck.h"

struct args {
    int32_t *ok;
};

static void call(kc_any_fn *fn, const void *args)
{
    struct kl__gemm_sizes s = ((kl__gemm_sizes_fn *)fn)();
    int32_t *ok = ((const struct args *)args)->ok;
    ok[0] = s.rows > 0 && s.rows <= 64 && s.columns > 0 && s.columns <= 64;
    ok[1] = s.block_rows >= s.rows && s.block_rows % s.rows == 0;
    ok[2] = s.block_columns >= s.columns && s.block_columns % s.columns == 0;
}

void check_gemm_sizes(kc *c)
{
    struct args a = {.ok = kc_out_i32(c, "ok", 3)};
    kc_run(c, call, &a, "rows, block_rows, block_columns");
}
