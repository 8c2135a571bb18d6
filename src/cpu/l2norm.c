/* Rows are independent. */
#include "cpu/cpu_backend.h"
#include "cpu/rows.h"

struct job {
    const struct kl__kernels *k;
    const kl_l2norm_args *fwd;
    const kl_l2norm_bwd_args *bwd; /* NULL: forward */
    struct kl__rows s;
    float eps;
};

enum { N_ARRAY = 2 }; /* scratch rows: one for every tensor that may be bf16 */

static float eps_of(const kl_l2norm_args *a)
{
    return a->eps > 0 ? a->eps : 1e-6f;
}

static void forward_row(const void *arg, int64_t t, int64_t h, float *scratch)
{
    const struct job *job = arg;
    kl_tensor x = job->fwd->x, y = job->fwd->y;
    int64_t n = job->s.n_dim;
    void *to = kl__head(y, job->s, t, h);
    const float *in = kl__read_row(job->k, x.dtype, kl__head(x, job->s, t, h), n, scratch);
    float *out = kl__begin_row(y.dtype, to, scratch + n);
    job->k->l2norm_row(out, in, n, job->eps);
    kl__end_row(job->k, y.dtype, to, n, out);
}

kl_status kl__cpu_l2norm(const kl_backend *be, const kl_l2norm_args *a, kl_error *err)
{
    (void)err;
    struct job job = {.k = kl__cpu_kernels(be), .fwd = a, .s = kl__rows_of(a->x), .eps = eps_of(a)};
    kl__for_rows(be, job.s, a->work, N_ARRAY, job.s.n_dim, forward_row, &job);
    return KL_OK;
}

size_t kl__cpu_l2norm_workspace(const kl_backend *be, const kl_l2norm_args *a)
{
    return kl__scratch_workspace(be, N_ARRAY, kl__rows_of(a->x).n_dim);
}

static void backward_row(const void *arg, int64_t t, int64_t h, float *scratch)
{
    const struct job *job = arg;
    kl_tensor x = job->fwd->x, d_y = job->bwd->d_y;
    int64_t n = job->s.n_dim;
    const float *in = kl__read_row(job->k, x.dtype, kl__head(x, job->s, t, h), n, scratch);
    const float *dy = kl__read_row(job->k, d_y.dtype, kl__head(d_y, job->s, t, h), n, scratch + n);
    job->k->l2norm_row_bwd(kl__head(job->bwd->d_x, job->s, t, h), dy, in, n, job->eps);
}

kl_status kl__cpu_l2norm_bwd(const kl_backend *be, const kl_l2norm_bwd_args *a, kl_error *err)
{
    (void)err;
    if (!kl__present(a->d_x))
        return KL_OK;
    struct job job = {
        .k = kl__cpu_kernels(be), .fwd = &a->fwd, .bwd = a, .s = kl__rows_of(a->fwd.x), .eps = eps_of(&a->fwd)};
    kl__for_rows(be, job.s, a->work, N_ARRAY, job.s.n_dim, backward_row, &job);
    return KL_OK;
}

size_t kl__cpu_l2norm_bwd_workspace(const kl_backend *be, const kl_l2norm_bwd_args *a)
{
    return kl__scratch_workspace(be, N_ARRAY, kl__rows_of(a->fwd.x).n_dim);
}
