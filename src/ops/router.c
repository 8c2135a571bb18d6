#include "ops/check.h"

#include <math.h>

/* Experts of a group; all of them without groups. */
static int64_t group_size(const kl_router_args *a)
{
    return a->n_group > 1 ? a->logits.dim[1] / a->n_group : a->logits.dim[1];
}

static kl_status check_groups(const char *op, const kl_router_args *a, kl_error *err)
{
    int64_t n_expert = a->logits.dim[1];
    if (a->n_group < 0)
        return kl__fail(err, KL_ERR_ARGUMENT, "%s: n_group is %d, expected at least 0", op, a->n_group);
    if (a->n_group > 1 && (n_expert % a->n_group != 0 || n_expert / a->n_group < 2))
        return kl__fail(err, KL_ERR_ARGUMENT,
                        "%s: n_group is %d, expected a divisor of the %lld experts with 2 a group", op, a->n_group,
                        (long long)n_expert);
    if (a->n_group > 1 && (a->topk_group < 1 || a->topk_group > a->n_group))
        return kl__fail(err, KL_ERR_ARGUMENT, "%s: topk_group is %d, expected 1 .. %d", op, a->topk_group, a->n_group);
    int64_t eligible = a->n_group > 1 ? a->topk_group * group_size(a) : n_expert;
    if (a->topk < 1 || a->topk > eligible)
        return kl__fail(err, KL_ERR_ARGUMENT, "%s: topk is %d, expected 1 .. %lld eligible experts", op, a->topk,
                        (long long)eligible);
    return KL_OK;
}

static kl_status check_inputs(const char *op, const kl_router_args *a, kl_error *err)
{
    KL_TRY(kl__check_tensor(op, "logits", a->logits, KL__F32, 2, (int64_t[]){-1, -1}, err));
    int64_t n_expert = a->logits.dim[1];
    if (n_expert > INT32_MAX)
        return kl__fail(err, KL_ERR_SHAPE, "%s: logits has %lld experts, expected at most %d", op, (long long)n_expert,
                        INT32_MAX);
    if ((unsigned)a->score > KL_SCORE_SOFTMAX)
        return kl__fail(err, KL_ERR_ARGUMENT, "%s: score is %d, expected sigmoid or softmax", op, (int)a->score);
    if (!isfinite(a->scale))
        return kl__fail(err, KL_ERR_ARGUMENT, "%s: scale is %g, expected a finite number", op, (double)a->scale);
    return check_groups(op, a, err);
}

static kl_status check(const kl_backend *be, const kl_router_args *a, kl_error *err)
{
    static const char op[] = "kl_router";
    KL_TRY(kl__check_call(op, be, a, err));
    KL_TRY(check_inputs(op, a, err));
    int64_t chosen[] = {a->logits.dim[0], a->topk};
    KL_TRY(kl__check_tensor(op, "id", a->id, KL__I32, 2, chosen, err));
    KL_TRY(kl__check_tensor(op, "weight", a->weight, KL__F32, 2, chosen, err));
    KL_TRY(kl__check_vector(op, "bias", a->bias, KL__F32, a->logits.dim[1], err));
    struct kl__operand operand[] = {{"id", a->id, true, NULL},
                                    {"weight", a->weight, true, NULL},
                                    {"logits", a->logits, false, NULL},
                                    {"bias", a->bias, false, NULL}};
    return kl__check_overlap(op, operand, 4, err);
}

size_t kl_router_workspace(const kl_backend *be, const kl_router_args *a)
{
    return check(be, a, NULL) == KL_OK ? be->type->ops.router_workspace(be, a) : 0;
}

kl_status kl_router(const kl_backend *be, const kl_router_args *a, kl_error *err)
{
    KL_TRY(check(be, a, err));
    KL_TRY(kl__check_work("kl_router", a->work, be->type->ops.router_workspace(be, a), err));
    return be->type->ops.router(be, a, err);
}

static kl_status check_bwd(const kl_backend *be, const kl_router_bwd_args *a, kl_error *err)
{
    static const char op[] = "kl_router_bwd";
    KL_TRY(kl__check_call(op, be, a, err));
    const kl_router_args *fwd = &a->fwd;
    KL_TRY(check_inputs(op, fwd, err));
    int64_t chosen[] = {fwd->logits.dim[0], fwd->topk};
    KL_TRY(kl__check_tensor(op, "id", fwd->id, KL__I32, 2, chosen, err));
    KL_TRY(kl__check_tensor(op, "d_weight", a->d_weight, KL__F32, 2, chosen, err));
    KL_TRY(kl__check_tensor(op, "d_logits", a->d_logits, KL__F32, 2, fwd->logits.dim, err));
    kl_tensor bias = fwd->weight_biased ? fwd->bias : (kl_tensor){0}; /* else it is not looked at */
    KL_TRY(kl__check_vector(op, "bias", bias, KL__F32, fwd->logits.dim[1], err));
    struct kl__operand operand[] = {{"d_logits", a->d_logits, true, NULL},
                                    {"d_weight", a->d_weight, false, NULL},
                                    {"logits", fwd->logits, false, NULL},
                                    {"id", fwd->id, false, NULL},
                                    {"bias", bias, false, NULL}};
    return kl__check_overlap(op, operand, 5, err);
}

size_t kl_router_bwd_workspace(const kl_backend *be, const kl_router_bwd_args *a)
{
    return check_bwd(be, a, NULL) == KL_OK ? be->type->ops.router_bwd_workspace(be, a) : 0;
}

kl_status kl_router_bwd(const kl_backend *be, const kl_router_bwd_args *a, kl_error *err)
{
    KL_TRY(check_bwd(be, a, err));
    KL_TRY(kl__check_ids("kl_router_bwd", "id", a->fwd.id, a->fwd.logits.dim[1], err));
    KL_TRY(kl__check_work("kl_router_bwd", a->work, be->type->ops.router_bwd_workspace(be, a), err));
    return be->type->ops.router_bwd(be, a, err);
}
