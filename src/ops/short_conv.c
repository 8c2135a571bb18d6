#include "ops/check.h"

enum { MAX_TAPS = 16 };

static kl_status check_tail(const char *op, const char *name, kl_tensor tail, const kl_short_conv_args *a,
                            kl_error *err)
{
    int64_t dim[] = {kl__n_seq(a->cu_seqlens, a->n_seq), a->w.dim[1] - 1, a->x.dim[1]};
    return kl__check_optional(op, name, tail, KL__F32, 3, dim, err);
}

static kl_status check_inputs(const char *op, const kl_short_conv_args *a, kl_error *err)
{
    KL_TRY(kl__check_tensor(op, "x", a->x, KL__FLOAT, 2, (int64_t[]){-1, -1}, err));
    int64_t n_channel = a->x.dim[1];
    KL_TRY(kl__check_tensor(op, "w", a->w, KL__FLOAT, 2, (int64_t[]){n_channel, -1}, err));
    if (a->w.dim[1] < 1 || a->w.dim[1] > MAX_TAPS)
        return kl__fail(err, KL_ERR_SHAPE, "%s: w has %lld taps a channel, expected 1 .. %d", op,
                        (long long)a->w.dim[1], MAX_TAPS);
    KL_TRY(kl__check_vector(op, "bias", a->bias, KL__FLOAT, n_channel, err));
    if (a->act != KL_ACT_NONE && a->act != KL_ACT_SILU)
        return kl__fail(err, KL_ERR_ARGUMENT, "%s: act is %d, expected none or silu", op, (int)a->act);
    KL_TRY(kl__check_sequences(op, "cu_seqlens", a->cu_seqlens, a->n_seq, a->x.dim[0], err));
    return check_tail(op, "tail_in", a->tail_in, a, err);
}

static kl_status check(const kl_backend *be, const kl_short_conv_args *a, kl_error *err)
{
    static const char op[] = "kl_short_conv";
    KL_TRY(kl__check_call(op, be, a, err));
    KL_TRY(check_inputs(op, a, err));
    KL_TRY(kl__check_tensor(op, "y", a->y, KL__FLOAT, 2, a->x.dim, err));
    KL_TRY(check_tail(op, "tail_out", a->tail_out, a, err));
    struct kl__operand operand[] = {
        {"y", a->y, true, NULL},
        {"tail_out", a->tail_out, true, "tail_in"},
        {"tail_in", a->tail_in, false, NULL},
        {"x", a->x, false, NULL},
        {"w", a->w, false, NULL},
        {"bias", a->bias, false, NULL},
    };
    return kl__check_overlap(op, operand, 6, err);
}

size_t kl_short_conv_workspace(const kl_backend *be, const kl_short_conv_args *a)
{
    return check(be, a, NULL) == KL_OK ? be->type->ops.short_conv_workspace(be, a) : 0;
}

kl_status kl_short_conv(const kl_backend *be, const kl_short_conv_args *a, kl_error *err)
{
    KL_TRY(check(be, a, err));
    KL_TRY(kl__check_work("kl_short_conv", a->work, be->type->ops.short_conv_workspace(be, a), err));
    return be->type->ops.short_conv(be, a, err);
}

static kl_status check_bwd(const kl_backend *be, const kl_short_conv_bwd_args *a, kl_error *err)
{
    static const char op[] = "kl_short_conv_bwd";
    KL_TRY(kl__check_call(op, be, a, err));
    const kl_short_conv_args *f = &a->fwd;
    KL_TRY(check_inputs(op, f, err));
    KL_TRY(kl__check_tensor(op, "d_y", a->d_y, KL__FLOAT, 2, f->x.dim, err));
    KL_TRY(kl__check_optional(op, "d_x", a->d_x, KL__F32, 2, f->x.dim, err));
    KL_TRY(kl__check_optional(op, "d_w", a->d_w, KL__F32, 2, f->w.dim, err));
    KL_TRY(kl__check_vector(op, "d_bias", a->d_bias, KL__F32, f->x.dim[1], err));
    KL_TRY(check_tail(op, "d_tail_in", a->d_tail_in, f, err));
    struct kl__operand operand[] = {
        {"d_x", a->d_x, true, "d_y"},
        {"d_w", a->d_w, true, NULL},
        {"d_bias", a->d_bias, true, NULL},
        {"d_tail_in", a->d_tail_in, true, NULL},
        {"d_y", a->d_y, false, NULL},
        {"x", f->x, false, NULL},
        {"w", f->w, false, NULL},
        {"bias", f->bias, false, NULL},
        {"tail_in", f->tail_in, false, NULL},
    };
    return kl__check_overlap(op, operand, 9, err);
}

size_t kl_short_conv_bwd_workspace(const kl_backend *be, const kl_short_conv_bwd_args *a)
{
    return check_bwd(be, a, NULL) == KL_OK ? be->type->ops.short_conv_bwd_workspace(be, a) : 0;
}

kl_status kl_short_conv_bwd(const kl_backend *be, const kl_short_conv_bwd_args *a, kl_error *err)
{
    KL_TRY(check_bwd(be, a, err));
    KL_TRY(kl__check_work("kl_short_conv_bwd", a->work, be->type->ops.short_conv_bwd_workspace(be, a), err));
    return be->type->ops.short_conv_bwd(be, a, err);
}
