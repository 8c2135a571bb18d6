/* Forward: rows are independent.  Backward: a task is a block of tokens that depends on T only; it writes the rows of
 * d_x and d_z and its own partial sum of d_w, and the partial sums are added up in the order of the blocks. */
#include "base/pool.h"
#include "cpu/cpu_backend.h"
#include "cpu/rows.h"

#include <string.h>

struct job {
    const struct kl__kernels *k;
    const kl_rmsnorm_args *fwd;
    struct kl__rows s;
    float eps;
    const float *w;    /* as f32; NULL: ones */
    kl_workspace rows; /* of all threads */

    const kl_rmsnorm_bwd_args *bwd; /* backward only, as what follows */
    struct kl__blocks blocks;
    float *part; /* [blocks.n][D]; NULL: d_w is not wanted */
};

/* Rows of scratch.  FORWARD and BACKWARD: one for every tensor of rows that may be bf16; SUM: d_w of a few tokens. */
enum { FORWARD_ROWS = 3, BACKWARD_ROWS = 4, SUM = 3, ROWS_PER_SUM = 64 };

/* A workspace holds w as f32, the partial sums of d_w, and then the rows of each thread. */
static struct kl__carver lay_out(struct job *job, kl_workspace work, int64_t n_part)
{
    struct kl__carver c = kl__carver(work);
    kl_tensor w = job->fwd->w;
    size_t n = (size_t)job->s.n_dim;
    float *w_room = kl__carve(&c, n, kl__present(w) && w.dtype != KL_F32 ? sizeof(float) : 0);
    float *part = kl__carve(&c, n, (size_t)n_part * sizeof(float));
    if (!c.base)
        return c;
    job->part = n_part > 0 ? part : NULL;
    job->rows.data = c.base + c.bytes;
    job->w = kl__present(w) ? kl__read_row(job->k, w.dtype, w.data, w.dim[0], w_room) : NULL;
    return c;
}

static struct job job_of(const kl_backend *be, const kl_rmsnorm_args *a)
{
    return (struct job){.k = kl__cpu_kernels(be), .fwd = a, .s = kl__rows_of(a->x), .eps = a->eps > 0 ? a->eps : 1e-5f};
}

static size_t workspace(const kl_backend *be, const kl_rmsnorm_args *a, int64_t n_part, int n_row)
{
    struct job job = job_of(be, a);
    struct kl__carver c = lay_out(&job, (kl_workspace){0}, n_part);
    kl__carve_scratch(&c, be, n_row, job.s.n_dim);
    return kl__carver_need(&c);
}

static void forward_row(const void *arg, int64_t t, int64_t h, float *scratch)
{
    const struct job *job = arg;
    const struct kl__kernels *k = job->k;
    kl_tensor x = job->fwd->x, y = job->fwd->y, z = job->fwd->z;
    int64_t n = job->s.n_dim;
    void *to = kl__head(y, job->s, t, h);
    const float *in = kl__read_row(k, x.dtype, kl__head(x, job->s, t, h), n, scratch), *gate = NULL;
    if (kl__present(z))
        gate = kl__read_row(k, z.dtype, kl__head(z, job->s, t, h), n, scratch + n);
    float *out = kl__begin_row(y.dtype, to, scratch + 2 * n);
    k->rmsnorm_row(out, in, job->w, gate, n, job->eps, job->fwd->act);
    kl__end_row(k, y.dtype, to, n, out);
}

kl_status kl__cpu_rmsnorm(const kl_backend *be, const kl_rmsnorm_args *a, kl_error *err)
{
    (void)err;
    struct job job = job_of(be, a);
    lay_out(&job, a->work, 0);
    kl__for_rows(be, job.s, job.rows, FORWARD_ROWS, job.s.n_dim, forward_row, &job);
    return KL_OK;
}

size_t kl__cpu_rmsnorm_workspace(const kl_backend *be, const kl_rmsnorm_args *a)
{
    return workspace(be, a, 0, FORWARD_ROWS);
}

static void backward_row(const struct job *job, int64_t t, int64_t h, float *scratch, float *dw)
{
    const struct kl__kernels *k = job->k;
    kl_tensor x = job->fwd->x, z = job->fwd->z, d_y = job->bwd->d_y;
    int64_t n = job->s.n_dim;
    const float *in = kl__read_row(k, x.dtype, kl__head(x, job->s, t, h), n, scratch);
    const float *dy = kl__read_row(k, d_y.dtype, kl__head(d_y, job->s, t, h), n, scratch + n), *gate = NULL;
    if (kl__present(z))
        gate = kl__read_row(k, z.dtype, kl__head(z, job->s, t, h), n, scratch + 2 * n);
    float *dx = kl__present(job->bwd->d_x) ? kl__head(job->bwd->d_x, job->s, t, h) : NULL;
    float *dz = kl__present(job->bwd->d_z) ? kl__head(job->bwd->d_z, job->s, t, h) : NULL;
    k->rmsnorm_row_bwd(dx, dw, dz, dy, in, job->w, gate, n, job->eps, job->fwd->act);
}

/* d_w is summed over a few rows, then over a block, then over the blocks: long sums of f32 lose less that way. */
static void backward_block(void *arg, int64_t block, int thread)
{
    const struct job *job = arg;
    float *scratch = kl__scratch(job->rows, BACKWARD_ROWS, job->s.n_dim, thread);
    int64_t n = job->s.n_dim, n_head = job->s.n_head, first = block * job->blocks.n_token;
    int64_t end = first + job->blocks.n_token < job->s.n_token ? first + job->blocks.n_token : job->s.n_token;
    size_t row_bytes = (size_t)n * sizeof(float);
    float *part = job->part ? job->part + block * n : NULL, *sum = job->part ? scratch + SUM * n : NULL;
    if (part) {
        memset(part, 0, row_bytes);
        memset(sum, 0, row_bytes);
    }
    int64_t n_summed = 0;
    for (int64_t t = first; t < end; t++)
        for (int64_t h = 0; h < n_head; h++) {
            backward_row(job, t, h, scratch, sum);
            bool last = t == end - 1 && h == n_head - 1;
            if (part && (++n_summed == ROWS_PER_SUM || last)) {
                job->k->add_row(part, sum, n);
                memset(sum, 0, row_bytes);
                n_summed = 0;
            }
        }
}

static int64_t n_part(const kl_rmsnorm_bwd_args *a)
{
    return kl__present(a->d_w) ? kl__blocks_of(a->fwd.x.dim[0]).n : 0;
}

kl_status kl__cpu_rmsnorm_bwd(const kl_backend *be, const kl_rmsnorm_bwd_args *a, kl_error *err)
{
    (void)err;
    struct job job = job_of(be, &a->fwd);
    if (job.s.n_head == 0 || job.s.n_dim == 0)
        return KL_OK;
    job.bwd = a;
    job.blocks = kl__blocks_of(job.s.n_token);
    lay_out(&job, a->work, n_part(a));
    kl__pool_run(be->pool, job.blocks.n, backward_block, &job);
    if (job.part)
        kl__add_parts(be, a->d_w.data, job.part, job.blocks.n, job.s.n_dim);
    return KL_OK;
}

size_t kl__cpu_rmsnorm_bwd_workspace(const kl_backend *be, const kl_rmsnorm_bwd_args *a)
{
    return workspace(be, &a->fwd, n_part(a), BACKWARD_ROWS);
}
