/* Forward: rows are copied, in pieces.  Backward: tokens may share a row of the table, so a task is some columns of it
 * and walks the tokens in their order. */
#include "base/pool.h"
#include "cpu/cpu_backend.h"
#include "cpu/rows.h"

#include <string.h>

enum { COLUMNS = 128 };

struct job {
    const struct kl__kernels *k;
    const kl_embedding_args *fwd;
    const kl_embedding_bwd_args *bwd; /* NULL: forward */
    struct kl__rows s;
};

static int32_t id_of(const kl_embedding_args *a, int64_t t)
{
    return *(const int32_t *)kl__row(a->id, t);
}

static void copy_piece(const void *arg, int64_t t, int64_t h, float *scratch)
{
    (void)scratch;
    const struct job *job = arg;
    kl_tensor y = job->fwd->y, table = job->fwd->table;
    int64_t n = kl__piece_elements(job->s, y.dim[1], h);
    void *to = kl__head(y, job->s, t, h);
    const void *from = kl__head(table, job->s, id_of(job->fwd, t), h);
    if (y.dtype == table.dtype)
        memcpy(to, from, (size_t)n * kl_dtype_bytes(y.dtype));
    else if (y.dtype == KL_F32)
        job->k->f32_of_bf16(to, from, n);
    else
        job->k->bf16_of_f32(to, from, n);
}

kl_status kl__cpu_embedding(const kl_backend *be, const kl_embedding_args *a, kl_error *err)
{
    (void)err;
    struct job job = {.k = kl__cpu_kernels(be), .fwd = a, .s = kl__pieces_of(a->y)};
    kl__for_rows(be, job.s, a->work, 0, 0, copy_piece, &job);
    return KL_OK;
}

size_t kl__cpu_embedding_workspace(const kl_backend *be, const kl_embedding_args *a)
{
    (void)be;
    (void)a;
    return 0;
}

static void add_columns(void *arg, int64_t task, int thread)
{
    (void)thread;
    const struct job *job = arg;
    kl_tensor d_y = job->bwd->d_y, d_table = job->bwd->d_table;
    int64_t first = task * COLUMNS, rest = d_y.dim[1] - first, n = rest < COLUMNS ? rest : COLUMNS;
    float room[COLUMNS];
    for (int64_t t = 0; t < d_y.dim[0]; t++) {
        const char *from = (const char *)kl__row(d_y, t) + (size_t)first * kl_dtype_bytes(d_y.dtype);
        float *to = (float *)kl__row(d_table, id_of(job->fwd, t)) + first;
        job->k->add_row(to, kl__read_row(job->k, d_y.dtype, from, n, room), n);
    }
}

kl_status kl__cpu_embedding_bwd(const kl_backend *be, const kl_embedding_bwd_args *a, kl_error *err)
{
    (void)err;
    if (!kl__present(a->d_table))
        return KL_OK;
    struct job job = {.k = kl__cpu_kernels(be), .fwd = &a->fwd, .bwd = a};
    kl__pool_run(be->pool, (a->d_y.dim[1] + COLUMNS - 1) / COLUMNS, add_columns, &job);
    return KL_OK;
}

size_t kl__cpu_embedding_bwd_workspace(const kl_backend *be, const kl_embedding_bwd_args *a)
{
    (void)be;
    (void)a;
    return 0;
}
