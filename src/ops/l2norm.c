#include "ops/check.h"

/* [T][D] or [T][H][D]: shape of x, shared by every other tensor of the call. */
static kl_status check_forward(const char *op, const kl_l2norm_args *a, bool with_output, kl_error *err)
{
    int n_dim = a->x.n_dim == 3 ? 3 : 2;
    KL_TRY(kl__check_tensor(op, "x", a->x, KL__FLOAT, n_dim, (int64_t[]){-1, -1, -1}, err));
    if (with_output)
        KL_TRY(kl__check_tensor(op, "y", a->y, KL__FLOAT, n_dim, a->x.dim, err));
    if (!(a->eps >= 0))
        return kl__fail(err, KL_ERR_ARGUMENT, "%s: eps is %g, expected at least 0", op, (double)a->eps);
    struct kl__operand operand[] = {{"y", a->y, true, "x"}, {"x", a->x, false, NULL}};
    return with_output ? kl__check_overlap(op, operand, 2, err) : KL_OK;
}

static kl_status check(const kl_backend *be, const kl_l2norm_args *a, kl_error *err)
{
    KL_TRY(kl__check_call("kl_l2norm", be, a, err));
    return check_forward("kl_l2norm", a, true, err);
}

size_t kl_l2norm_workspace(const kl_backend *be, const kl_l2norm_args *a)
{
    return check(be, a, NULL) == KL_OK ? be->type->ops.l2norm_workspace(be, a) : 0;
}

kl_status kl_l2norm(const kl_backend *be, const kl_l2norm_args *a, kl_error *err)
{
    KL_TRY(check(be, a, err));
    KL_TRY(kl__check_work("kl_l2norm", a->work, be->type->ops.l2norm_workspace(be, a), err));
    return be->type->ops.l2norm(be, a, err);
}

static kl_status check_bwd(const kl_backend *be, const kl_l2norm_bwd_args *a, kl_error *err)
{
    static const char op[] = "kl_l2norm_bwd";
    KL_TRY(kl__check_call(op, be, a, err));
    kl_tensor x = a->fwd.x;
    KL_TRY(check_forward(op, &a->fwd, false, err));
    KL_TRY(kl__check_tensor(op, "d_y", a->d_y, KL__FLOAT, x.n_dim, x.dim, err));
    KL_TRY(kl__check_optional(op, "d_x", a->d_x, KL__F32, x.n_dim, x.dim, err));
    struct kl__operand operand[] = {{"d_x", a->d_x, true, "d_y"}, {"d_y", a->d_y, false, NULL}, {"x", x, false, NULL}};
    return kl__check_overlap(op, operand, 3, err);
}

size_t kl_l2norm_bwd_workspace(const kl_backend *be, const kl_l2norm_bwd_args *a)
{
    return check_bwd(be, a, NULL) == KL_OK ? be->type->ops.l2norm_bwd_workspace(be, a) : 0;
}

kl_status kl_l2norm_bwd(const kl_backend *be, const kl_l2norm_bwd_args *a, kl_error *err)
{
    KL_TRY(check_bwd(be, a, err));
    KL_TRY(kl__check_work("kl_l2norm_bwd", a->work, be->type->ops.l2norm_bwd_workspace(be, a), err));
    return be->type->ops.l2norm_bwd(be, a, err);
}
