#include "ops/check.h"

/* [T][D] or [T][H][D]: shape of x, shared by every other tensor of the call but w [D]. */
static kl_status check_inputs(const char *op, const kl_rmsnorm_args *a, kl_error *err)
{
    int n_dim = a->x.n_dim == 3 ? 3 : 2;
    KL_TRY(kl__check_tensor(op, "x", a->x, KL__FLOAT, n_dim, (int64_t[]){-1, -1, -1}, err));
    KL_TRY(kl__check_vector(op, "w", a->w, KL__FLOAT, a->x.dim[n_dim - 1], err));
    KL_TRY(kl__check_optional(op, "z", a->z, KL__FLOAT, n_dim, a->x.dim, err));
    if ((unsigned)a->act > KL_ACT_SILU)
        return kl__fail(err, KL_ERR_ARGUMENT, "%s: act is %d, expected none, sigmoid or silu", op, (int)a->act);
    if (a->act != KL_ACT_NONE && !kl__present(a->z))
        return kl__fail(err, KL_ERR_ARGUMENT, "%s: act is given but z is absent, expected a gate to activate", op);
    if (!(a->eps >= 0))
        return kl__fail(err, KL_ERR_ARGUMENT, "%s: eps is %g, expected at least 0", op, (double)a->eps);
    return KL_OK;
}

static kl_status check(const kl_backend *be, const kl_rmsnorm_args *a, kl_error *err)
{
    static const char op[] = "kl_rmsnorm";
    KL_TRY(kl__check_call(op, be, a, err));
    KL_TRY(check_inputs(op, a, err));
    KL_TRY(kl__check_tensor(op, "y", a->y, KL__FLOAT, a->x.n_dim, a->x.dim, err));
    struct kl__operand operand[] = {
        {"y", a->y, true, "x"}, {"x", a->x, false, NULL}, {"w", a->w, false, NULL}, {"z", a->z, false, NULL}};
    return kl__check_overlap(op, operand, 4, err);
}

size_t kl_rmsnorm_workspace(const kl_backend *be, const kl_rmsnorm_args *a)
{
    return check(be, a, NULL) == KL_OK ? be->type->ops.rmsnorm_workspace(be, a) : 0;
}

kl_status kl_rmsnorm(const kl_backend *be, const kl_rmsnorm_args *a, kl_error *err)
{
    KL_TRY(check(be, a, err));
    KL_TRY(kl__check_work("kl_rmsnorm", a->work, be->type->ops.rmsnorm_workspace(be, a), err));
    return be->type->ops.rmsnorm(be, a, err);
}

static kl_status check_bwd(const kl_backend *be, const kl_rmsnorm_bwd_args *a, kl_error *err)
{
    static const char op[] = "kl_rmsnorm_bwd";
    KL_TRY(kl__check_call(op, be, a, err));
    kl_tensor x = a->fwd.x;
    KL_TRY(check_inputs(op, &a->fwd, err));
    KL_TRY(kl__check_tensor(op, "d_y", a->d_y, KL__FLOAT, x.n_dim, x.dim, err));
    KL_TRY(kl__check_optional(op, "d_x", a->d_x, KL__F32, x.n_dim, x.dim, err));
    KL_TRY(kl__check_vector(op, "d_w", a->d_w, KL__F32, x.dim[x.n_dim - 1], err));
    KL_TRY(kl__check_optional(op, "d_z", a->d_z, KL__F32, x.n_dim, x.dim, err));
    if (kl__present(a->d_z) && !kl__present(a->fwd.z))
        return kl__fail(err, KL_ERR_ARGUMENT, "%s: d_z is given but z is absent, expected the forward's gate", op);
    struct kl__operand operand[] = {{"d_x", a->d_x, true, "d_y"}, {"d_w", a->d_w, true, NULL},
                                    {"d_z", a->d_z, true, NULL},  {"d_y", a->d_y, false, NULL},
                                    {"x", x, false, NULL},        {"w", a->fwd.w, false, NULL},
                                    {"z", a->fwd.z, false, NULL}};
    return kl__check_overlap(op, operand, 7, err);
}

size_t kl_rmsnorm_bwd_workspace(const kl_backend *be, const kl_rmsnorm_bwd_args *a)
{
    return check_bwd(be, a, NULL) == KL_OK ? be->type->ops.rmsnorm_bwd_workspace(be, a) : 0;
}

kl_status kl_rmsnorm_bwd(const kl_backend *be, const kl_rmsnorm_bwd_args *a, kl_error *err)
{
    KL_TRY(check_bwd(be, a, err));
    KL_TRY(kl__check_work("kl_rmsnorm_bwd", a->work, be->type->ops.rmsnorm_bwd_workspace(be, a), err));
    return be->type->ops.rmsnorm_bwd(be, a, err);
}
