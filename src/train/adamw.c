/* Elementwise: a task is a block of parameters, so that the bits do not depend on the number of threads. */
#include "klinear/kl_train.h"

#include "base/error.h"
#include "base/pool.h"
#include "ops/backend.h"

#include <math.h>

enum { BLOCK = 1 << 14 };

struct job {
    const kl_adamw_args *a;
    float correction1, correction2, grad_scale;
};

static void update_block(void *arg, int64_t task, int thread)
{
    (void)thread;
    const struct job *job = arg;
    const kl_adamw_args *a = job->a;
    int64_t end = (task + 1) * BLOCK < a->n ? (task + 1) * BLOCK : a->n;
    for (int64_t i = task * BLOCK; i < end; i++) {
        float d = a->gradient[i] * job->grad_scale;
        a->m[i] += (1 - a->beta1) * (d - a->m[i]);
        a->v[i] += (1 - a->beta2) * (d * d - a->v[i]);
        float change = a->m[i] * job->correction1 / (sqrtf(a->v[i] * job->correction2) + a->eps);
        a->p[i] -= a->lr * (change + a->weight_decay * a->p[i]);
    }
}

static kl_status check(const kl_backend *be, const kl_adamw_args *a, kl_error *err)
{
    if (!be || !a)
        return kl__fail(err, KL_ERR_ARGUMENT, "kl_adamw: %s is NULL", be ? "args" : "backend");
    if (a->n < 0)
        return kl__fail(err, KL_ERR_ARGUMENT, "kl_adamw: n is %lld, expected at least 0", (long long)a->n);
    if (a->n > 0 && (!a->p || !a->m || !a->v || !a->gradient))
        return kl__fail(err, KL_ERR_ARGUMENT, "kl_adamw: p, m, v or gradient is NULL, expected arrays of %lld",
                        (long long)a->n);
    if (a->step < 1)
        return kl__fail(err, KL_ERR_ARGUMENT, "kl_adamw: step is %lld, expected at least 1", (long long)a->step);
    if (!(a->beta1 >= 0 && a->beta1 < 1 && a->beta2 >= 0 && a->beta2 < 1))
        return kl__fail(err, KL_ERR_ARGUMENT, "kl_adamw: beta1 is %g and beta2 is %g, expected both in [0, 1)",
                        (double)a->beta1, (double)a->beta2);
    if (!(a->eps > 0))
        return kl__fail(err, KL_ERR_ARGUMENT, "kl_adamw: eps is %g, expected above 0", (double)a->eps);
    return KL_OK;
}

kl_status kl_adamw(const kl_backend *be, const kl_adamw_args *a, kl_error *err)
{
    KL_TRY(check(be, a, err));
    struct job job = {
        .a = a,
        .correction1 = (float)(1 / (1 - pow((double)a->beta1, (double)a->step))),
        .correction2 = (float)(1 / (1 - pow((double)a->beta2, (double)a->step))),
        .grad_scale = a->grad_scale != 0 ? a->grad_scale : 1,
    };
    kl__pool_run(be->pool, (a->n + BLOCK - 1) / BLOCK, update_block, &job);
    return KL_OK;
}

double kl_sum_squares(const kl_backend *be, const float *x, int64_t n)
{
    /* Read from memory once: one thread reaches most of the bandwidth, and the order is the array's. */
    (void)be;
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)x[i] * x[i];
    return sum;
}
