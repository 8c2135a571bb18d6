#include "train/run.h"

#include "base/error.h"
#include "base/pool.h"
#include "ops/backend.h"
#include "tensor/tensor.h"

#include <string.h>
#include <time.h>

_Static_assert((int)KL__N_TIMED == (int)KL_N_TIMED, "the public count");

const char *kl_timed_name(int i)
{
    static const char *const name[] = {
#define OP(x) [KL__TIMED_##x] = #x, [KL__TIMED_##x##_bwd] = #x "_bwd",
#include "ops/ops.def"
#undef OP
        [KL__TIMED_ROWS] = "rows",
        [KL__TIMED_MUON] = "muon",
        [KL__TIMED_ADAMW] = "adamw",
    };
    return i >= 0 && i < KL_N_TIMED ? name[i] : NULL;
}

double kl__run_clock(const struct kl__run *r)
{
    struct timespec now;
    if (!r->seconds || clock_gettime(CLOCK_MONOTONIC, &now))
        return 0;
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void kl__run_took(const struct kl__run *r, enum kl__timed what, double from)
{
    if (r->seconds)
        r->seconds[what] += kl__run_clock(r) - from;
}

static kl_status measured(const struct kl__run *r, size_t bytes)
{
    *r->measure = bytes > *r->measure ? bytes : *r->measure;
    return KL_OK;
}

static kl_status done(const struct kl__run *r, enum kl__timed what, double from, kl_status status)
{
    kl__run_took(r, what, from);
    return status;
}

/* What a macro lists for each operator: measure it, or run it and take the time. */
#define RUN(x, args)                                                                                                   \
    kl_status kl__run_##x(const struct kl__run *r, args a)                                                             \
    {                                                                                                                  \
        a.work = r->work;                                                                                              \
        double from = kl__run_clock(r);                                                                                \
        return r->measure ? measured(r, kl_##x##_workspace(r->be, &a))                                                 \
                          : done(r, KL__TIMED_##x, from, kl_##x(r->be, &a, r->err));                                   \
    }
#define OP(x) RUN(x, kl_##x##_args) RUN(x##_bwd, kl_##x##_bwd_args)
#include "ops/ops.def"
#undef OP
#undef RUN

/* ---------------------------------------------------------------------------------------------------------- rows -- */

enum { ROWS_PER_TASK = 32 };

struct rows_job {
    kl_tensor to, from;
    bool add;
};

static void add_row(float *restrict to, const float *restrict from, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        to[i] += from[i];
}

static void rows_task(void *arg, int64_t task, int thread)
{
    (void)thread;
    const struct rows_job *job = arg;
    int64_t end = (task + 1) * ROWS_PER_TASK < job->to.dim[0] ? (task + 1) * ROWS_PER_TASK : job->to.dim[0];
    for (int64_t t = task * ROWS_PER_TASK; t < end; t++)
        if (job->add)
            add_row(kl__row(job->to, t), kl__row(job->from, t), job->to.dim[1]);
        else
            memcpy(kl__row(job->to, t), kl__row(job->from, t), (size_t)job->to.dim[1] * sizeof(float));
}

void kl__run_rows(const struct kl__run *r, kl_tensor to, kl_tensor from, bool add)
{
    if (r->measure)
        return;
    double start = kl__run_clock(r);
    struct rows_job job = {to, from, add};
    kl__pool_run(r->be->pool, (to.dim[0] + ROWS_PER_TASK - 1) / ROWS_PER_TASK, rows_task, &job);
    kl__run_took(r, KL__TIMED_ROWS, start);
}
