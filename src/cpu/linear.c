/* Three products, and a sum over tokens for the bias. */
#include "base/pool.h"
#include "cpu/cpu_backend.h"
#include "cpu/gemm.h"
#include "cpu/rows.h"

kl_status kl__cpu_linear(const kl_backend *be, const kl_linear_args *a, kl_error *err)
{
    (void)err;
    struct kl__gemm g = {.m = a->x.dim[0],
                         .n = a->w.dim[0],
                         .k = a->x.dim[1],
                         .a = kl__matrix_of(a->x),
                         .b = kl__matrix_of(a->w),
                         .c = a->y.data,
                         .c_pitch = kl__pitch(a->y),
                         .c_dtype = a->y.dtype,
                         .add = a->add,
                         .bias = kl__present(a->b) ? a->b.data : NULL,
                         .bias_dtype = a->b.dtype};
    kl__gemm_run(be, &g, 1, a->work);
    return KL_OK;
}

size_t kl__cpu_linear_workspace(const kl_backend *be, const kl_linear_args *a)
{
    (void)a;
    return kl__gemm_workspace(be);
}

/* ------------------------------------------------------------------------------------------------------ backward -- */

enum { BIAS_COLUMNS = 128 }; /* of one task */

struct bias_job {
    const struct kl__kernels *k;
    kl_tensor d_y;
    float *d_b;
};

/* The tokens of a few columns, one after the other. */
static void bias_task(void *arg, int64_t task, int thread)
{
    (void)thread;
    const struct bias_job *job = arg;
    int64_t first = task * BIAS_COLUMNS, rest = job->d_y.dim[1] - first, n = rest < BIAS_COLUMNS ? rest : BIAS_COLUMNS;
    float sum[BIAS_COLUMNS] = {0}, wide[BIAS_COLUMNS];
    for (int64_t t = 0; t < job->d_y.dim[0]; t++) {
        const char *row = (const char *)kl__row(job->d_y, t) + first * (int64_t)kl_dtype_bytes(job->d_y.dtype);
        job->k->add_row(sum, kl__read_row(job->k, job->d_y.dtype, row, n, wide), n);
    }
    job->k->add_row(job->d_b + first, sum, n);
}

static struct kl__gemm d_x_of(const kl_linear_bwd_args *a)
{
    return (struct kl__gemm){.m = a->d_x.dim[0],
                             .n = a->d_x.dim[1],
                             .k = a->d_y.dim[1],
                             .a = kl__matrix_of(a->d_y),
                             .b = kl__transpose_of(a->fwd.w),
                             .c = a->d_x.data,
                             .c_pitch = kl__pitch(a->d_x),
                             .add = a->add_dx};
}

static struct kl__gemm d_w_of(const kl_linear_bwd_args *a)
{
    return (struct kl__gemm){.m = a->d_w.dim[0],
                             .n = a->d_w.dim[1],
                             .k = a->d_y.dim[0],
                             .a = kl__transpose_of(a->d_y),
                             .b = kl__transpose_of(a->fwd.x),
                             .c = a->d_w.data,
                             .c_pitch = kl__pitch(a->d_w),
                             .add = true};
}

kl_status kl__cpu_linear_bwd(const kl_backend *be, const kl_linear_bwd_args *a, kl_error *err)
{
    (void)err;
    struct kl__gemm g[2];
    int n = 0;
    if (kl__present(a->d_w))
        g[n++] = d_w_of(a); /* in large pieces: the small ones of d_x, behind them, keep all threads busy to the end */
    if (kl__present(a->d_x))
        g[n++] = d_x_of(a);
    kl__gemm_run(be, g, n, a->work);
    if (kl__present(a->d_b)) {
        struct bias_job job = {.k = kl__cpu_kernels(be), .d_y = a->d_y, .d_b = a->d_b.data};
        kl__pool_run(be->pool, (a->d_y.dim[1] + BIAS_COLUMNS - 1) / BIAS_COLUMNS, bias_task, &job);
    }
    return KL_OK;
}

size_t kl__cpu_linear_bwd_workspace(const kl_backend *be, const kl_linear_bwd_args *a)
{
    (void)a;
    return kl__gemm_workspace(be);
}
