/* What stands around the mixers.  Per token and head, so that a layer can be added up: the width is heads times dim.
 * None of them has a step: one token is T = 1. */
#include "timed.h"

static void head(int64_t dim, int64_t *K, int64_t *V)
{
    *K = *V = dim;
}

/* Operations per element, tensors of the dtype read and written, gradients in f32. */
static struct ka_cost per_element(const struct ka_stage *s, const struct ka_case *c, double flops, double tensors,
                                  double gradients)
{
    double elements = (double)c->T * (double)s->heads * (double)s->dim;
    return (struct ka_cost){.tokens = c->T,
                            .flops = flops * elements,
                            .bytes = elements * (tensors * (double)kl_dtype_bytes(c->dtype) + 4 * gradients)};
}

/* ---- L2 norm: a square and a sum, a product; backward two sums and four operations on each element */

static struct ka_cost l2norm_cost(const struct ka_stage *s, const struct ka_case *c)
{
    return c->pass == KA_BACKWARD ? per_element(s, c, 7, 2, 1) : per_element(s, c, 3, 2, 0);
}

static size_t l2norm_prepare(struct ka_stage *s, const struct ka_case *c, const kl_backend *be, union ka_call *call)
{
    kl_l2norm_args a = {.x = ka_stage_heads(s, KA_VALUE, 0, c->dtype, c->rows, c->T, s->dim)};
    if (c->pass == KA_FORWARD) {
        a.y = ka_stage_heads(s, KA_ZERO, 0, c->dtype, c->rows, c->T, s->dim);
        call->l2norm = a;
        return s->failed ? 0 : kl_l2norm_workspace(be, &call->l2norm);
    }
    call->l2norm_bwd = (kl_l2norm_bwd_args){
        .fwd = a,
        .d_y = ka_stage_heads(s, KA_NORMAL, 0, c->dtype, c->rows, c->T, s->dim),
        .d_x = ka_stage_heads(s, KA_ZERO, 2, KL_F32, c->rows, c->T, s->dim),
    };
    return s->failed ? 0 : kl_l2norm_bwd_workspace(be, &call->l2norm_bwd);
}

static kl_status l2norm_run(const struct ka_case *c, const kl_backend *be, union ka_call *call, kl_workspace work,
                            kl_error *err)
{
    if (c->pass == KA_BACKWARD) {
        call->l2norm_bwd.work = work;
        return kl_l2norm_bwd(be, &call->l2norm_bwd, err);
    }
    call->l2norm.work = work;
    return kl_l2norm(be, &call->l2norm, err);
}

const struct ka_timed ka_timed_l2norm = {
    .name = "l2norm",
    .passes = 1 << KA_FORWARD | 1 << KA_BACKWARD,
    .head = head,
    .cost = l2norm_cost,
    .prepare = l2norm_prepare,
    .run = l2norm_run,
};
