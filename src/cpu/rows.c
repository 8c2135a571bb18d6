#include "cpu/rows.h"

#include "base/pool.h"
#include "cpu/cpu_backend.h"

/* Elements of a task: a few microseconds of work, far above the price of handing a task out. */
enum { TASK_ELEMENTS = 8192, PIECE_ELEMENTS = 1024, SUM_COLUMNS = 256 };

static int64_t at_most(int64_t limit, int64_t n)
{
    return n < limit ? n : limit;
}

static int64_t divide_up(int64_t n, int64_t by)
{
    return n / by + (n % by != 0);
}

struct kl__rows kl__rows_of(kl_tensor x)
{
    return x.n_dim == 3 ? (struct kl__rows){x.dim[0], x.dim[1], x.dim[2]} : (struct kl__rows){x.dim[0], 1, x.dim[1]};
}

struct kl__rows kl__pieces_of(kl_tensor x)
{
    return (struct kl__rows){x.dim[0], divide_up(x.dim[1], PIECE_ELEMENTS), PIECE_ELEMENTS};
}

struct row_job {
    struct kl__rows s;
    int64_t rows_per_task;
    kl_workspace work;
    int n_array;
    int64_t n_float;
    kl__row_fn *fn;
    const void *job;
};

static void run_rows(void *arg, int64_t task, int thread)
{
    const struct row_job *r = arg;
    float *scratch = kl__scratch(r->work, r->n_array, r->n_float, thread);
    int64_t first = task * r->rows_per_task;
    int64_t n = at_most(r->rows_per_task, r->s.n_token * r->s.n_head - first);
    int64_t t = first / r->s.n_head, h = first % r->s.n_head;
    for (int64_t i = 0; i < n; i++) {
        r->fn(r->job, t, h, scratch);
        if (++h == r->s.n_head) {
            h = 0;
            t++;
        }
    }
}

void kl__for_rows(const kl_backend *be, struct kl__rows s, kl_workspace work, int n_array, int64_t n_float,
                  kl__row_fn *fn, const void *job)
{
    if (s.n_dim == 0)
        return;
    int64_t rows_per_task = s.n_dim < TASK_ELEMENTS ? TASK_ELEMENTS / s.n_dim : 1;
    struct row_job r = {s, rows_per_task, work, n_array, n_float, fn, job};
    kl__pool_run(be->pool, divide_up(s.n_token * s.n_head, rows_per_task), run_rows, &r);
}

static size_t scratch_stride(int n_array, int64_t n_float)
{
    struct kl__carver one = {0};
    kl__carve(&one, (size_t)n_float, (size_t)n_array * sizeof(float));
    return one.bytes;
}

float *kl__scratch(kl_workspace work, int n_array, int64_t n_float, int thread)
{
    char *base = kl__carver(work).base;
    return base ? (float *)(void *)(base + (size_t)thread * scratch_stride(n_array, n_float)) : NULL;
}

void kl__carve_scratch(struct kl__carver *c, const kl_backend *be, int n_array, int64_t n_float)
{
    kl__carve(c, (size_t)kl_pool_threads(be->pool), scratch_stride(n_array, n_float));
}

size_t kl__scratch_workspace(const kl_backend *be, int n_array, int64_t n_float)
{
    struct kl__carver c = {0};
    kl__carve_scratch(&c, be, n_array, n_float);
    return kl__carver_need(&c);
}

struct kl__blocks kl__blocks_of(int64_t n_token)
{
    int64_t each = divide_up(n_token, KL__MAX_BLOCKS);
    each = each < KL__BLOCK_TOKENS ? KL__BLOCK_TOKENS : each;
    return (struct kl__blocks){divide_up(n_token, each), each};
}

struct sum_job {
    const struct kl__kernels *k;
    float *sum, *part;
    int64_t n_part, n;
};

static void add_columns(void *arg, int64_t task, int thread)
{
    (void)thread;
    const struct sum_job *j = arg;
    int64_t first = task * SUM_COLUMNS, n = at_most(SUM_COLUMNS, j->n - first);
    for (int64_t p = 1; p < j->n_part; p++)
        j->k->add_row(j->part + first, j->part + p * j->n + first, n);
    j->k->add_row(j->sum + first, j->part + first, n);
}

void kl__add_parts(const kl_backend *be, float *sum, float *part, int64_t n_part, int64_t n)
{
    if (n_part == 0)
        return;
    struct sum_job job = {kl__cpu_kernels(be), sum, part, n_part, n};
    kl__pool_run(be->pool, divide_up(n, SUM_COLUMNS), add_columns, &job);
}
