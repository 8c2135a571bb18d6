/* Products with weights that lie in a file: those in panels (cpu/panels.h) and others (cpu/gemm.h).  Embeddings. */
#include "base/pool.h"
#include "cpu/cpu_backend.h"
#include "cpu/gemm.h"
#include "cpu/number_products.h"
#include "cpu/panel_products.h"
#include "cpu/panels.h"
#include "tensor/tensor.h"

/* ------------------------------------------------------------------------------------------------------ products -- */

static bool any(const kl_backend *be, const struct kl__weight_product *p, int n, bool in_panels)
{
    for (int i = 0; i < n; i++)
        if (kl__in_panels(be, p[i].w) == in_panels)
            return true;
    return false;
}

void kl__cpu_weight_linears(const kl_backend *be, const struct kl__weight_product *p, int n, kl_tensor x,
                            kl_workspace work)
{
    if (any(be, p, n, true))
        kl__panel_linears(be, p, n, x, work);
    if (any(be, p, n, false))
        kl__number_linears(be, p, n, x, work);
}

size_t kl__cpu_weight_linears_workspace(const kl_backend *be, const struct kl__weight_product *p, int n,
                                        int64_t n_token)
{
    size_t panels = any(be, p, n, true) ? kl__panel_linears_workspace(be, p, n, n_token) : 0;
    size_t numbers = any(be, p, n, false) ? kl__gemm_workspace(be) : 0;
    return panels > numbers ? panels : numbers;
}

static bool all_in_panels(const kl_backend *be, const struct kl__weight_experts_call *call)
{
    return kl__in_panels(be, call->gate) && kl__in_panels(be, call->up) && kl__in_panels(be, call->down);
}

void kl__cpu_weight_experts(const kl_backend *be, const struct kl__weight_experts_call *call)
{
    if (all_in_panels(be, call))
        kl__panel_experts(be, call);
    else
        kl__number_experts(be, call);
}

size_t kl__cpu_weight_experts_workspace(const kl_backend *be, const struct kl__weight_experts_call *call)
{
    return all_in_panels(be, call) ? kl__panel_experts_workspace(be, call) : kl__number_experts_workspace(be, call);
}

/* ---------------------------------------------------------------------------------------------------------- rows -- */

struct rows_job {
    kl_tensor y, id;
    const struct kl__weight *table;
};

static void rows_task(void *arg, int64_t token, int thread)
{
    (void)thread;
    const struct rows_job *job = arg;
    int32_t id = *(const int32_t *)kl__row(job->id, token);
    kl__decode(job->table->type, kl__row(job->y, token), kl__weight_row(job->table, 0, id), job->table->n_in);
}

void kl__cpu_weight_rows(const kl_backend *be, kl_tensor y, kl_tensor id, const struct kl__weight *table)
{
    struct rows_job job = {y, id, table};
    kl__pool_run(be->pool, id.dim[0], rows_task, &job);
}
