#include "ops/check.h"

static kl_status check_inputs(const char *op, const kl_linear_args *a, kl_error *err)
{
    KL_TRY(kl__check_tensor(op, "x", a->x, KL__FLOAT, 2, (int64_t[]){-1, -1}, err));
    return kl__check_tensor(op, "w", a->w, KL__FLOAT, 2, (int64_t[]){-1, a->x.dim[1]}, err);
}

static kl_status check(const kl_backend *be, const kl_linear_args *a, kl_error *err)
{
    static const char op[] = "kl_linear";
    KL_TRY(kl__check_call(op, be, a, err));
    KL_TRY(check_inputs(op, a, err));
    int64_t n_token = a->x.dim[0], n_out = a->w.dim[0];
    KL_TRY(kl__check_tensor(op, "y", a->y, a->add ? KL__F32 : KL__FLOAT, 2, (int64_t[]){n_token, n_out}, err));
    KL_TRY(kl__check_vector(op, "b", a->b, KL__FLOAT, n_out, err));
    struct kl__operand operand[] = {
        {"y", a->y, true, NULL}, {"x", a->x, false, NULL}, {"w", a->w, false, NULL}, {"b", a->b, false, NULL}};
    return kl__check_overlap(op, operand, 4, err);
}

size_t kl_linear_workspace(const kl_backend *be, const kl_linear_args *a)
{
    return check(be, a, NULL) == KL_OK ? be->type->ops.linear_workspace(be, a) : 0;
}

kl_status kl_linear(const kl_backend *be, const kl_linear_args *a, kl_error *err)
{
    KL_TRY(check(be, a, err));
    KL_TRY(kl__check_work("kl_linear", a->work, be->type->ops.linear_workspace(be, a), err));
    return be->type->ops.linear(be, a, err);
}

static kl_status check_bwd(const kl_backend *be, const kl_linear_bwd_args *a, kl_error *err)
{
    static const char op[] = "kl_linear_bwd";
    KL_TRY(kl__check_call(op, be, a, err));
    kl_tensor x = a->fwd.x, w = a->fwd.w;
    KL_TRY(check_inputs(op, &a->fwd, err));
    KL_TRY(kl__check_tensor(op, "d_y", a->d_y, KL__FLOAT, 2, (int64_t[]){x.dim[0], w.dim[0]}, err));
    KL_TRY(kl__check_optional(op, "d_x", a->d_x, KL__F32, 2, x.dim, err));
    KL_TRY(kl__check_optional(op, "d_w", a->d_w, KL__F32, 2, w.dim, err));
    KL_TRY(kl__check_vector(op, "d_b", a->d_b, KL__F32, w.dim[0], err));
    struct kl__operand operand[] = {{"d_x", a->d_x, true, NULL}, {"d_w", a->d_w, true, NULL},
                                    {"d_b", a->d_b, true, NULL}, {"d_y", a->d_y, false, NULL},
                                    {"x", x, false, NULL},       {"w", w, false, NULL}};
    return kl__check_overlap(op, operand, 6, err);
}

size_t kl_linear_bwd_workspace(const kl_backend *be, const kl_linear_bwd_args *a)
{
    return check_bwd(be, a, NULL) == KL_OK ? be->type->ops.linear_bwd_workspace(be, a) : 0;
}

kl_status kl_linear_bwd(const kl_backend *be, const kl_linear_bwd_args *a, kl_error *err)
{
    KL_TRY(check_bwd(be, a, err));
    KL_TRY(kl__check_work("kl_linear_bwd", a->work, be->type->ops.linear_bwd_workspace(be, a), err));
    return be->type->ops.linear_bwd(be, a, err);
}
