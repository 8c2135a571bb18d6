/* Forward: a row of logits is read once, tile by tile; each tile is looked at twice while it is in the first cache, for
 * its maximum and for its sum of exponentials.  Backward: every element stands alone, so rows are cut into pieces. */
#include "cpu/cpu_backend.h"
#include "cpu/rows.h"

#include "base/half.h"

#include <math.h>
#include <string.h>

enum { TILE = 2048 };

struct job {
    const struct kl__kernels *k;
    const kl_cross_entropy_args *fwd;
    const kl_cross_entropy_bwd_args *bwd; /* NULL: forward */
    struct kl__rows s;
};

static int32_t label_of(const kl_cross_entropy_args *a, int64_t t)
{
    return *(const int32_t *)kl__row(a->label, t);
}

static double element(kl_tensor x, int64_t t, int64_t i)
{
    const void *row = kl__row(x, t);
    return x.dtype == KL_F32 ? ((const float *)row)[i] : kl__f32_of_bf16(((const uint16_t *)row)[i]);
}

static void forward_row(const void *arg, int64_t t, int64_t h, float *scratch)
{
    (void)h;
    const struct job *job = arg;
    const kl_cross_entropy_args *a = job->fwd;
    int64_t n_column = a->logits.dim[1];
    size_t width = kl_dtype_bytes(a->logits.dtype);
    float max = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n_column; i += TILE) {
        int64_t n = n_column - i < TILE ? n_column - i : TILE;
        const char *tile = (const char *)kl__row(a->logits, t) + (size_t)i * width;
        job->k->lse_row(&max, &sum, kl__read_row(job->k, a->logits.dtype, tile, n, scratch), n);
    }
    /* log sum exp x = shift + log(sum); the loss takes the label's logit off the shift first, as both are large. */
    double shift = isfinite(max) ? max : 0, rest = log((double)sum);
    int32_t label = label_of(a, t);
    *(float *)kl__row(a->loss, t) = label < 0 ? 0 : (float)(shift - element(a->logits, t, label) + rest);
    if (kl__present(a->lse))
        *(float *)kl__row(a->lse, t) = (float)(shift + rest);
}

kl_status kl__cpu_cross_entropy(const kl_backend *be, const kl_cross_entropy_args *a, kl_error *err)
{
    (void)err;
    int64_t n_column = a->logits.dim[1];
    /* A row without columns still has a loss: it counts as one element. */
    struct job job = {.k = kl__cpu_kernels(be), .fwd = a, .s = {a->logits.dim[0], 1, n_column > 0 ? n_column : 1}};
    kl__for_rows(be, job.s, a->work, 1, TILE, forward_row, &job);
    return KL_OK;
}

size_t kl__cpu_cross_entropy_workspace(const kl_backend *be, const kl_cross_entropy_args *a)
{
    (void)a;
    return kl__scratch_workspace(be, 1, TILE);
}

static void backward_piece(const void *arg, int64_t t, int64_t h, float *scratch)
{
    const struct job *job = arg;
    const kl_cross_entropy_args *a = job->fwd;
    kl_tensor logits = a->logits, d_loss = job->bwd->d_loss;
    int64_t first = h * job->s.n_dim, n = kl__piece_elements(job->s, logits.dim[1], h);
    float *to = kl__head(job->bwd->d_logits, job->s, t, h);
    int32_t label = label_of(a, t);
    if (label < 0) {
        memset(to, 0, (size_t)n * sizeof *to);
        return;
    }
    float d = kl__present(d_loss) ? *(const float *)kl__row(d_loss, t) : 1;
    const float *x = kl__read_row(job->k, logits.dtype, kl__head(logits, job->s, t, h), n, scratch);
    job->k->softmax_row(to, x, n, *(const float *)kl__row(a->lse, t), d);
    if (label >= first && label < first + n)
        to[label - first] -= d;
}

kl_status kl__cpu_cross_entropy_bwd(const kl_backend *be, const kl_cross_entropy_bwd_args *a, kl_error *err)
{
    (void)err;
    if (!kl__present(a->d_logits))
        return KL_OK;
    struct job job = {.k = kl__cpu_kernels(be), .fwd = &a->fwd, .bwd = a, .s = kl__pieces_of(a->fwd.logits)};
    kl__for_rows(be, job.s, a->work, 1, job.s.n_dim, backward_piece, &job);
    return KL_OK;
}

size_t kl__cpu_cross_entropy_bwd_workspace(const kl_backend *be, const kl_cross_entropy_bwd_args *a)
{
    return kl__scratch_workspace(be, 1, kl__pieces_of(a->fwd.logits).n_dim);
}
