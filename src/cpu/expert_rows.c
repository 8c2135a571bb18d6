#include "cpu/expert_rows.h"

#include "base/pool.h"
#include "tensor/tensor.h"

#include <string.h>

enum { ROWS_PER_TASK = 16, COLUMNS = 256 };

struct kl__expert_rows kl__carve_expert_rows(struct kl__carver *c, kl_tensor id, int64_t n_expert)
{
    struct kl__expert_rows rows = {.n_token = id.dim[0], .topk = id.dim[1], .n_expert = n_expert};
    rows.n_pair = rows.n_token * rows.topk;
    rows.start = kl__carve(c, (size_t)n_expert + 1, sizeof *rows.start);
    rows.pair = kl__carve(c, (size_t)rows.n_pair, sizeof *rows.pair);
    rows.row = kl__carve(c, (size_t)rows.n_pair, sizeof *rows.row);
    return rows;
}

void kl__sort_expert_rows(const struct kl__expert_rows *rows, kl_tensor id)
{
    int64_t *start = rows->start;
    memset(start, 0, ((size_t)rows->n_expert + 1) * sizeof *start);
    for (int64_t t = 0; t < rows->n_token; t++)
        for (int64_t j = 0; j < rows->topk; j++)
            start[((const int32_t *)kl__row(id, t))[j] + 1]++;
    for (int64_t e = 0; e < rows->n_expert; e++)
        start[e + 1] += start[e];
    /* start[e] walks to the end of its expert, which is where the next one starts: then all move up by one. */
    for (int64_t p = 0; p < rows->n_pair; p++) {
        int64_t at = start[((const int32_t *)kl__row(id, p / rows->topk))[p % rows->topk]]++;
        rows->pair[at] = p;
        rows->row[p] = at;
    }
    memmove(start + 1, start, (size_t)rows->n_expert * sizeof *start);
    start[0] = 0;
}

/* -------------------------------------------------------------------------------------------------------- gather -- */

struct gather_job {
    const struct kl__expert_rows *rows;
    char *to;
    kl_tensor x;
};

static int64_t end_of_task(int64_t task, int64_t n)
{
    return (task + 1) * ROWS_PER_TASK < n ? (task + 1) * ROWS_PER_TASK : n;
}

static int64_t n_task(int64_t n)
{
    return n / ROWS_PER_TASK + (n % ROWS_PER_TASK != 0);
}

void kl__gather_some_rows(const struct kl__expert_rows *rows, void *to, kl_tensor x, int64_t first, int64_t n)
{
    size_t bytes = (size_t)x.dim[1] * kl_dtype_bytes(x.dtype);
    for (int64_t i = 0; i < n && bytes > 0; i++)
        memcpy((char *)to + (size_t)i * bytes, kl__row(x, rows->pair[first + i] / rows->topk), bytes);
}

static void gather_task(void *arg, int64_t task, int thread)
{
    (void)thread;
    const struct gather_job *job = arg;
    size_t bytes = (size_t)job->x.dim[1] * kl_dtype_bytes(job->x.dtype);
    int64_t first = task * ROWS_PER_TASK;
    kl__gather_some_rows(job->rows, job->to + (size_t)first * bytes, job->x, first,
                         end_of_task(task, job->rows->n_pair) - first);
}

void kl__gather_expert_rows(const kl_backend *be, const struct kl__expert_rows *rows, void *to, kl_tensor x)
{
    struct gather_job job = {.rows = rows, .to = to, .x = x};
    kl__pool_run(be->pool, x.dim[1] > 0 ? n_task(rows->n_pair) : 0, gather_task, &job);
}

/* ------------------------------------------------------------------------------------------------------- combine -- */

struct combine_job {
    const struct kl__expert_rows *rows;
    kl_tensor y, weight;
    const float *from;
    bool add;
};

/* A few columns of token t, whose sum stays in registers or the first-level cache. */
static void combine_columns(const struct combine_job *job, int64_t t, int64_t first, int64_t n)
{
    const struct kl__expert_rows *rows = job->rows;
    float sum[COLUMNS] = {0};
    for (int64_t j = 0; j < rows->topk; j++) {
        const float *x = job->from + rows->row[t * rows->topk + j] * job->y.dim[1] + first;
        float w = kl__present(job->weight) ? ((const float *)kl__row(job->weight, t))[j] : 1;
        for (int64_t i = 0; i < n; i++)
            sum[i] += w * x[i];
    }
    float *y = (float *)kl__row(job->y, t) + first;
    for (int64_t i = 0; i < n; i++)
        y[i] = job->add ? y[i] + sum[i] : sum[i];
}

static void combine_task(void *arg, int64_t task, int thread)
{
    (void)thread;
    const struct combine_job *job = arg;
    int64_t width = job->y.dim[1];
    for (int64_t t = task * ROWS_PER_TASK; t < end_of_task(task, job->rows->n_token); t++)
        for (int64_t first = 0; first < width; first += COLUMNS)
            combine_columns(job, t, first, width - first < COLUMNS ? width - first : COLUMNS);
}

void kl__combine_expert_rows(const kl_backend *be, const struct kl__expert_rows *rows, kl_tensor y, const float *from,
                             kl_tensor weight, bool add)
{
    struct combine_job job = {.rows = rows, .y = y, .weight = weight, .from = from, .add = add};
    kl__pool_run(be->pool, n_task(rows->n_token), combine_task, &job);
}
