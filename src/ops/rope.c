#include "ops/check.h"

#include <math.h>

/* Forward and backward differ in the sign of the angle only. */
static kl_status check(const char *op, const kl_backend *be, const kl_rope_args *a, kl_error *err)
{
    KL_TRY(kl__check_call(op, be, a, err));
    KL_TRY(kl__check_tensor(op, "x", a->x, KL__FLOAT, 3, (int64_t[]){-1, -1, -1}, err));
    int64_t n_rot = a->n_rot ? a->n_rot : a->x.dim[2];
    if (n_rot < 0 || n_rot > a->x.dim[2] || n_rot % 2)
        return kl__fail(err, KL_ERR_ARGUMENT, "%s: n_rot is %lld, expected an even number up to the %lld of a head", op,
                        (long long)n_rot, (long long)a->x.dim[2]);
    if (!(a->base >= 0) || !isfinite(a->base))
        return kl__fail(err, KL_ERR_ARGUMENT, "%s: base is %g, expected a number above 0, or 0 for 10000", op,
                        (double)a->base);
    if (!a->position && a->x.dim[0] > 0)
        return kl__fail(err, KL_ERR_ARGUMENT, "%s: position is NULL, expected one for each of the %lld tokens", op,
                        (long long)a->x.dim[0]);
    return KL_OK;
}

static kl_status check_positions(const char *op, const kl_rope_args *a, kl_error *err)
{
    for (int64_t t = 0; t < a->x.dim[0]; t++)
        if (a->position[t] < 0 || a->position[t] > INT32_MAX)
            return kl__fail(err, KL_ERR_ARGUMENT, "%s: position[%lld] is %lld, expected 0 .. %lld", op, (long long)t,
                            (long long)a->position[t], (long long)INT32_MAX);
    return KL_OK;
}

size_t kl_rope_workspace(const kl_backend *be, const kl_rope_args *a)
{
    return check("kl_rope", be, a, NULL) == KL_OK ? be->type->ops.rope_workspace(be, a) : 0;
}

kl_status kl_rope(const kl_backend *be, const kl_rope_args *a, kl_error *err)
{
    static const char op[] = "kl_rope";
    KL_TRY(check(op, be, a, err));
    KL_TRY(check_positions(op, a, err));
    KL_TRY(kl__check_work(op, a->work, be->type->ops.rope_workspace(be, a), err));
    return be->type->ops.rope(be, a, err);
}

size_t kl_rope_bwd_workspace(const kl_backend *be, const kl_rope_bwd_args *a)
{
    return check("kl_rope_bwd", be, a, NULL) == KL_OK ? be->type->ops.rope_bwd_workspace(be, a) : 0;
}

kl_status kl_rope_bwd(const kl_backend *be, const kl_rope_bwd_args *a, kl_error *err)
{
    static const char op[] = "kl_rope_bwd";
    KL_TRY(check(op, be, a, err));
    KL_TRY(check_positions(op, a, err));
    KL_TRY(kl__check_work(op, a->work, be->type->ops.rope_bwd_workspace(be, a), err));
    return be->type->ops.rope_bwd(be, a, err);
}
