#include "ops/check.h"

static kl_status check_inputs(const char *op, const kl_cross_entropy_args *a, kl_error *err)
{
    KL_TRY(kl__check_tensor(op, "logits", a->logits, KL__FLOAT, 2, (int64_t[]){-1, -1}, err));
    return kl__check_tensor(op, "label", a->label, KL__I32, 1, a->logits.dim, err);
}

static kl_status check_labels(const char *op, const kl_cross_entropy_args *a, kl_error *err)
{
    for (int64_t t = 0; t < a->label.dim[0]; t++) {
        int32_t label = *(const int32_t *)kl__row(a->label, t);
        if (label >= a->logits.dim[1])
            return kl__fail(err, KL_ERR_ARGUMENT, "%s: label[%lld] is %d, expected less than %lld, or negative", op,
                            (long long)t, (int)label, (long long)a->logits.dim[1]);
    }
    return KL_OK;
}

static kl_status check(const kl_backend *be, const kl_cross_entropy_args *a, kl_error *err)
{
    static const char op[] = "kl_cross_entropy";
    KL_TRY(kl__check_call(op, be, a, err));
    KL_TRY(check_inputs(op, a, err));
    KL_TRY(kl__check_tensor(op, "loss", a->loss, KL__F32, 1, a->logits.dim, err));
    KL_TRY(kl__check_optional(op, "lse", a->lse, KL__F32, 1, a->logits.dim, err));
    struct kl__operand operand[] = {{"loss", a->loss, true, NULL},
                                    {"lse", a->lse, true, NULL},
                                    {"logits", a->logits, false, NULL},
                                    {"label", a->label, false, NULL}};
    return kl__check_overlap(op, operand, 4, err);
}

size_t kl_cross_entropy_workspace(const kl_backend *be, const kl_cross_entropy_args *a)
{
    return check(be, a, NULL) == KL_OK ? be->type->ops.cross_entropy_workspace(be, a) : 0;
}

kl_status kl_cross_entropy(const kl_backend *be, const kl_cross_entropy_args *a, kl_error *err)
{
    KL_TRY(check(be, a, err));
    KL_TRY(check_labels("kl_cross_entropy", a, err));
    KL_TRY(kl__check_work("kl_cross_entropy", a->work, be->type->ops.cross_entropy_workspace(be, a), err));
    return be->type->ops.cross_entropy(be, a, err);
}

static kl_status check_bwd(const kl_backend *be, const kl_cross_entropy_bwd_args *a, kl_error *err)
{
    static const char op[] = "kl_cross_entropy_bwd";
    KL_TRY(kl__check_call(op, be, a, err));
    kl_tensor logits = a->fwd.logits;
    KL_TRY(check_inputs(op, &a->fwd, err));
    KL_TRY(kl__check_tensor(op, "lse", a->fwd.lse, KL__F32, 1, logits.dim, err));
    KL_TRY(kl__check_optional(op, "d_loss", a->d_loss, KL__F32, 1, logits.dim, err));
    KL_TRY(kl__check_optional(op, "d_logits", a->d_logits, KL__F32, 2, logits.dim, err));
    struct kl__operand operand[] = {{"d_logits", a->d_logits, true, "logits"},
                                    {"logits", logits, false, NULL},
                                    {"label", a->fwd.label, false, NULL},
                                    {"lse", a->fwd.lse, false, NULL},
                                    {"d_loss", a->d_loss, false, NULL}};
    return kl__check_overlap(op, operand, 5, err);
}

size_t kl_cross_entropy_bwd_workspace(const kl_backend *be, const kl_cross_entropy_bwd_args *a)
{
    return check_bwd(be, a, NULL) == KL_OK ? be->type->ops.cross_entropy_bwd_workspace(be, a) : 0;
}

kl_status kl_cross_entropy_bwd(const kl_backend *be, const kl_cross_entropy_bwd_args *a, kl_error *err)
{
    KL_TRY(check_bwd(be, a, err));
    KL_TRY(check_labels("kl_cross_entropy_bwd", &a->fwd, err));
    KL_TRY(kl__check_work("kl_cross_entropy_bwd", a->work, be->type->ops.cross_entropy_bwd_workspace(be, a), err));
    return be->type->ops.cross_entropy_bwd(be, a, err);
}
