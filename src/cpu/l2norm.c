/* Rows are independent: a task is a block of tokens. */
#include "base/memory.h"
#include "base/pool.h"
#include "cpu/cpu_backend.h"
#include "cpu/rows.h"
#include "ops/check.h"

enum { TOKENS_PER_TASK = 64 };

struct shape {
    int64_t n_token, n_head, n_dim;
};

static struct shape shape_of(kl_tensor x)
{
    return x.n_dim == 3 ? (struct shape){x.dim[0], x.dim[1], x.dim[2]} : (struct shape){x.dim[0], 1, x.dim[1]};
}

static int64_t n_task(struct shape s)
{
    return (s.n_token + TOKENS_PER_TASK - 1) / TOKENS_PER_TASK;
}

/* Per thread: one row of every tensor that may be bf16. */
static float *scratch_of(kl_workspace work, size_t n_row, struct shape s, int thread)
{
    struct kl__carver c = kl__carver(work);
    float *rows = NULL;
    for (int i = 0; i <= thread; i++)
        rows = kl__carve(&c, n_row * (size_t)s.n_dim, sizeof *rows);
    return rows;
}

static size_t scratch_bytes(const kl_backend *be, size_t n_row, struct shape s)
{
    struct kl__carver c = {0};
    for (int i = 0; i < kl_pool_threads(be->pool); i++)
        kl__carve(&c, n_row * (size_t)s.n_dim, sizeof(float));
    return kl__carver_need(&c);
}

struct job {
    const struct kl__kernels *k;
    const kl_l2norm_args *fwd;
    const kl_l2norm_bwd_args *bwd; /* NULL: forward */
    struct shape s;
    float eps;
};

static void forward_head(const struct job *job, int64_t t, int64_t h, float *scratch)
{
    kl_tensor x = job->fwd->x, y = job->fwd->y;
    int64_t n = job->s.n_dim;
    const char *from = (const char *)kl__row(x, t) + (size_t)(h * n) * kl_dtype_bytes(x.dtype);
    char *to = (char *)kl__row(y, t) + (size_t)(h * n) * kl_dtype_bytes(y.dtype);
    const float *in = kl__read_row(job->k, x.dtype, from, n, scratch);
    float *out = kl__begin_row(y.dtype, to, scratch + n);
    job->k->l2norm_row(out, in, n, job->eps);
    kl__end_row(job->k, y.dtype, to, n, out);
}

static void forward_task(void *arg, int64_t task, int thread)
{
    const struct job *job = arg;
    float *scratch = scratch_of(job->fwd->work, 2, job->s, thread);
    int64_t end = (task + 1) * TOKENS_PER_TASK < job->s.n_token ? (task + 1) * TOKENS_PER_TASK : job->s.n_token;
    for (int64_t t = task * TOKENS_PER_TASK; t < end; t++)
        for (int64_t h = 0; h < job->s.n_head; h++)
            forward_head(job, t, h, scratch);
}

static float eps_of(const kl_l2norm_args *a)
{
    return a->eps > 0 ? a->eps : 1e-6f;
}

kl_status kl__cpu_l2norm(const kl_backend *be, const kl_l2norm_args *a, kl_error *err)
{
    (void)err;
    struct job job = {.k = kl__cpu_kernels(be), .fwd = a, .s = shape_of(a->x), .eps = eps_of(a)};
    kl__pool_run(be->pool, n_task(job.s), forward_task, &job);
    return KL_OK;
}

size_t kl__cpu_l2norm_workspace(const kl_backend *be, const kl_l2norm_args *a)
{
    return scratch_bytes(be, 2, shape_of(a->x));
}

static void backward_task(void *arg, int64_t task, int thread)
{
    const struct job *job = arg;
    kl_tensor x = job->fwd->x, d_y = job->bwd->d_y, d_x = job->bwd->d_x;
    int64_t n = job->s.n_dim;
    float *scratch = scratch_of(job->bwd->work, 2, job->s, thread);
    int64_t end = (task + 1) * TOKENS_PER_TASK < job->s.n_token ? (task + 1) * TOKENS_PER_TASK : job->s.n_token;
    for (int64_t t = task * TOKENS_PER_TASK; t < end; t++)
        for (int64_t h = 0; h < job->s.n_head; h++) {
            size_t at = (size_t)(h * n);
            const float *in = kl__read_row(
                job->k, x.dtype, (const char *)kl__row(x, t) + at * kl_dtype_bytes(x.dtype), n, scratch);
            const float *dy = kl__read_row(
                job->k, d_y.dtype, (const char *)kl__row(d_y, t) + at * kl_dtype_bytes(d_y.dtype), n, scratch + n);
            job->k->l2norm_row_bwd((float *)kl__row(d_x, t) + at, dy, in, n, job->eps);
        }
}

kl_status kl__cpu_l2norm_bwd(const kl_backend *be, const kl_l2norm_bwd_args *a, kl_error *err)
{
    (void)err;
    if (!kl__present(a->d_x))
        return KL_OK;
    struct job job = {
        .k = kl__cpu_kernels(be), .fwd = &a->fwd, .bwd = a, .s = shape_of(a->fwd.x), .eps = eps_of(&a->fwd)};
    kl__pool_run(be->pool, n_task(job.s), backward_task, &job);
    return KL_OK;
}

size_t kl__cpu_l2norm_bwd_workspace(const kl_backend *be, const kl_l2norm_bwd_args *a)
{
    return scratch_bytes(be, 2, shape_of(a->fwd.x));
}
