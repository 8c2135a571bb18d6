#include "ops/check.h"

static kl_status check_inputs(const char *op, const kl_experts_args *a, kl_error *err)
{
    KL_TRY(kl__check_tensor(op, "x", a->x, KL__FLOAT, 2, (int64_t[]){-1, -1}, err));
    int64_t n_token = a->x.dim[0], width = a->x.dim[1];
    KL_TRY(kl__check_tensor(op, "id", a->id, KL__I32, 2, (int64_t[]){n_token, -1}, err));
    KL_TRY(kl__check_tensor(op, "weight", a->weight, KL__F32, 2, a->id.dim, err));
    KL_TRY(kl__check_tensor(op, "w_gate", a->w_gate, KL__FLOAT, 3, (int64_t[]){-1, -1, width}, err));
    int64_t n_expert = a->w_gate.dim[0], hidden = a->w_gate.dim[1];
    KL_TRY(kl__check_tensor(op, "w_up", a->w_up, KL__FLOAT, 3, a->w_gate.dim, err));
    return kl__check_tensor(op, "w_down", a->w_down, KL__FLOAT, 3, (int64_t[]){n_expert, width, hidden}, err);
}

static kl_status check(const kl_backend *be, const kl_experts_args *a, kl_error *err)
{
    static const char op[] = "kl_experts";
    KL_TRY(kl__check_call(op, be, a, err));
    KL_TRY(check_inputs(op, a, err));
    KL_TRY(kl__check_tensor(op, "y", a->y, KL__F32, 2, a->x.dim, err));
    struct kl__operand operand[] = {{"y", a->y, true, NULL},
                                    {"x", a->x, false, NULL},
                                    {"id", a->id, false, NULL},
                                    {"weight", a->weight, false, NULL},
                                    {"w_gate", a->w_gate, false, NULL},
                                    {"w_up", a->w_up, false, NULL},
                                    {"w_down", a->w_down, false, NULL}};
    return kl__check_overlap(op, operand, 7, err);
}

size_t kl_experts_workspace(const kl_backend *be, const kl_experts_args *a)
{
    return check(be, a, NULL) == KL_OK ? be->type->ops.experts_workspace(be, a) : 0;
}

kl_status kl_experts(const kl_backend *be, const kl_experts_args *a, kl_error *err)
{
    KL_TRY(check(be, a, err));
    KL_TRY(kl__check_ids("kl_experts", "id", a->id, a->w_gate.dim[0], err));
    KL_TRY(kl__check_work("kl_experts", a->work, be->type->ops.experts_workspace(be, a), err));
    return be->type->ops.experts(be, a, err);
}

static kl_status check_bwd(const kl_backend *be, const kl_experts_bwd_args *a, kl_error *err)
{
    static const char op[] = "kl_experts_bwd";
    KL_TRY(kl__check_call(op, be, a, err));
    const kl_experts_args *fwd = &a->fwd;
    KL_TRY(check_inputs(op, fwd, err));
    KL_TRY(kl__check_tensor(op, "d_y", a->d_y, KL__F32, 2, fwd->x.dim, err));
    KL_TRY(kl__check_optional(op, "d_x", a->d_x, KL__F32, 2, fwd->x.dim, err));
    KL_TRY(kl__check_optional(op, "d_weight", a->d_weight, KL__F32, 2, fwd->weight.dim, err));
    KL_TRY(kl__check_optional(op, "d_w_gate", a->d_w_gate, KL__F32, 3, fwd->w_gate.dim, err));
    KL_TRY(kl__check_optional(op, "d_w_up", a->d_w_up, KL__F32, 3, fwd->w_up.dim, err));
    KL_TRY(kl__check_optional(op, "d_w_down", a->d_w_down, KL__F32, 3, fwd->w_down.dim, err));
    struct kl__operand operand[] = {{"d_x", a->d_x, true, NULL},
                                    {"d_weight", a->d_weight, true, NULL},
                                    {"d_w_gate", a->d_w_gate, true, NULL},
                                    {"d_w_up", a->d_w_up, true, NULL},
                                    {"d_w_down", a->d_w_down, true, NULL},
                                    {"d_y", a->d_y, false, NULL},
                                    {"x", fwd->x, false, NULL},
                                    {"id", fwd->id, false, NULL},
                                    {"weight", fwd->weight, false, NULL},
                                    {"w_gate", fwd->w_gate, false, NULL},
                                    {"w_up", fwd->w_up, false, NULL},
                                    {"w_down", fwd->w_down, false, NULL}};
    return kl__check_overlap(op, operand, 12, err);
}

size_t kl_experts_bwd_workspace(const kl_backend *be, const kl_experts_bwd_args *a)
{
    return check_bwd(be, a, NULL) == KL_OK ? be->type->ops.experts_bwd_workspace(be, a) : 0;
}

kl_status kl_experts_bwd(const kl_backend *be, const kl_experts_bwd_args *a, kl_error *err)
{
    KL_TRY(check_bwd(be, a, err));
    KL_TRY(kl__check_ids("kl_experts_bwd", "id", a->fwd.id, a->fwd.w_gate.dim[0], err));
    KL_TRY(kl__check_work("kl_experts_bwd", a->work, be->type->ops.experts_bwd_workspace(be, a), err));
    return be->type->ops.experts_bwd(be, a, err);
}
