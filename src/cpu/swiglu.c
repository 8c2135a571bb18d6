/* Every element stands alone: long rows are cut into pieces. */
#include "cpu/cpu_backend.h"
#include "cpu/rows.h"

struct job {
    const struct kl__kernels *k;
    const kl_swiglu_args *fwd;
    const kl_swiglu_bwd_args *bwd; /* NULL: forward */
    struct kl__rows s;
};

enum { N_ARRAY = 3 }; /* scratch rows: one for every tensor that may be bf16 */

static void forward_piece(const void *arg, int64_t t, int64_t h, float *scratch)
{
    const struct job *job = arg;
    const struct kl__kernels *k = job->k;
    kl_tensor y = job->fwd->y, gate = job->fwd->gate, up = job->fwd->up;
    int64_t n = kl__piece_elements(job->s, y.dim[1], h);
    void *to = kl__head(y, job->s, t, h);
    const float *g = kl__read_row(k, gate.dtype, kl__head(gate, job->s, t, h), n, scratch);
    const float *u = kl__read_row(k, up.dtype, kl__head(up, job->s, t, h), n, scratch + job->s.n_dim);
    float *out = kl__begin_row(y.dtype, to, scratch + 2 * job->s.n_dim);
    k->swiglu_row(out, g, u, n);
    kl__end_row(k, y.dtype, to, n, out);
}

kl_status kl__cpu_swiglu(const kl_backend *be, const kl_swiglu_args *a, kl_error *err)
{
    (void)err;
    struct job job = {.k = kl__cpu_kernels(be), .fwd = a, .s = kl__pieces_of(a->y)};
    kl__for_rows(be, job.s, a->work, N_ARRAY, job.s.n_dim, forward_piece, &job);
    return KL_OK;
}

size_t kl__cpu_swiglu_workspace(const kl_backend *be, const kl_swiglu_args *a)
{
    return kl__scratch_workspace(be, N_ARRAY, kl__pieces_of(a->y).n_dim);
}

static float *piece_of(kl_tensor out, struct kl__rows s, int64_t t, int64_t h)
{
    return kl__present(out) ? kl__head(out, s, t, h) : NULL;
}

static void backward_piece(const void *arg, int64_t t, int64_t h, float *scratch)
{
    const struct job *job = arg;
    const struct kl__kernels *k = job->k;
    kl_tensor gate = job->fwd->gate, up = job->fwd->up, d_y = job->bwd->d_y;
    int64_t n = kl__piece_elements(job->s, gate.dim[1], h);
    const float *g = kl__read_row(k, gate.dtype, kl__head(gate, job->s, t, h), n, scratch);
    const float *u = kl__read_row(k, up.dtype, kl__head(up, job->s, t, h), n, scratch + job->s.n_dim);
    const float *dy = kl__read_row(k, d_y.dtype, kl__head(d_y, job->s, t, h), n, scratch + 2 * job->s.n_dim);
    k->swiglu_row_bwd(piece_of(job->bwd->d_gate, job->s, t, h), piece_of(job->bwd->d_up, job->s, t, h), dy, g, u, n);
}

kl_status kl__cpu_swiglu_bwd(const kl_backend *be, const kl_swiglu_bwd_args *a, kl_error *err)
{
    (void)err;
    struct job job = {.k = kl__cpu_kernels(be), .fwd = &a->fwd, .bwd = a, .s = kl__pieces_of(a->fwd.gate)};
    kl__for_rows(be, job.s, a->work, N_ARRAY, job.s.n_dim, backward_piece, &job);
    return KL_OK;
}

size_t kl__cpu_swiglu_bwd_workspace(const kl_backend *be, const kl_swiglu_bwd_args *a)
{
    return kl__scratch_workspace(be, N_ARRAY, kl__pieces_of(a->fwd.gate).n_dim);
}
