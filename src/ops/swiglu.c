#include "ops/check.h"

static kl_status check_inputs(const char *op, const kl_swiglu_args *a, kl_error *err)
{
    KL_TRY(kl__check_tensor(op, "gate", a->gate, KL__FLOAT, 2, (int64_t[]){-1, -1}, err));
    return kl__check_tensor(op, "up", a->up, KL__FLOAT, 2, a->gate.dim, err);
}

static kl_status check(const kl_backend *be, const kl_swiglu_args *a, kl_error *err)
{
    static const char op[] = "kl_swiglu";
    KL_TRY(kl__check_call(op, be, a, err));
    KL_TRY(check_inputs(op, a, err));
    KL_TRY(kl__check_tensor(op, "y", a->y, KL__FLOAT, 2, a->gate.dim, err));
    /* y may be either of its inputs, and an operand names only one that it may equal: two checks. */
    struct kl__operand with_gate[] = {{"y", a->y, true, "gate"}, {"gate", a->gate, false, NULL}};
    struct kl__operand with_up[] = {{"y", a->y, true, "up"}, {"up", a->up, false, NULL}};
    KL_TRY(kl__check_overlap(op, with_gate, 2, err));
    return kl__check_overlap(op, with_up, 2, err);
}

size_t kl_swiglu_workspace(const kl_backend *be, const kl_swiglu_args *a)
{
    return check(be, a, NULL) == KL_OK ? be->type->ops.swiglu_workspace(be, a) : 0;
}

kl_status kl_swiglu(const kl_backend *be, const kl_swiglu_args *a, kl_error *err)
{
    KL_TRY(check(be, a, err));
    KL_TRY(kl__check_work("kl_swiglu", a->work, be->type->ops.swiglu_workspace(be, a), err));
    return be->type->ops.swiglu(be, a, err);
}

static kl_status check_bwd(const kl_backend *be, const kl_swiglu_bwd_args *a, kl_error *err)
{
    static const char op[] = "kl_swiglu_bwd";
    KL_TRY(kl__check_call(op, be, a, err));
    KL_TRY(check_inputs(op, &a->fwd, err));
    const int64_t *dim = a->fwd.gate.dim;
    KL_TRY(kl__check_tensor(op, "d_y", a->d_y, KL__FLOAT, 2, dim, err));
    KL_TRY(kl__check_optional(op, "d_gate", a->d_gate, KL__F32, 2, dim, err));
    KL_TRY(kl__check_optional(op, "d_up", a->d_up, KL__F32, 2, dim, err));
    struct kl__operand operand[] = {{"d_gate", a->d_gate, true, "d_y"},
                                    {"d_up", a->d_up, true, "d_y"},
                                    {"d_y", a->d_y, false, NULL},
                                    {"gate", a->fwd.gate, false, NULL},
                                    {"up", a->fwd.up, false, NULL}};
    return kl__check_overlap(op, operand, 5, err);
}

size_t kl_swiglu_bwd_workspace(const kl_backend *be, const kl_swiglu_bwd_args *a)
{
    return check_bwd(be, a, NULL) == KL_OK ? be->type->ops.swiglu_bwd_workspace(be, a) : 0;
}

kl_status kl_swiglu_bwd(const kl_backend *be, const kl_swiglu_bwd_args *a, kl_error *err)
{
    KL_TRY(check_bwd(be, a, err));
    KL_TRY(kl__check_work("kl_swiglu_bwd", a->work, be->type->ops.swiglu_bwd_workspace(be, a), err));
    return be->type->ops.swiglu_bwd(be, a, err);
}
