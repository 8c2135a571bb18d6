#include "ops/recurrence.h"

/* Everything but the outputs. */
static kl_status check_inputs(const char *op, const kl_dplr_args *a, kl_error *err)
{
    KL_TRY(kl__check_tensor(op, "v", a->v, KL__FLOAT, 3, (int64_t[]){-1, -1, -1}, err));
    KL_TRY(kl__check_tensor(op, "k", a->k, KL__FLOAT, 3, (int64_t[]){a->v.dim[0], a->v.dim[1], -1}, err));
    KL_TRY(kl__check_tensor(op, "q", a->q, KL__FLOAT, 3, a->k.dim, err));
    KL_TRY(kl__check_tensor(op, "a", a->a, KL__FLOAT, 3, a->k.dim, err));
    KL_TRY(kl__check_tensor(op, "b", a->b, KL__FLOAT, 3, a->k.dim, err));
    KL_TRY(kl__check_optional(op, "g", a->g, KL__FLOAT, 3, a->k.dim, err));
    KL_TRY(kl__check_head(op, "k", a->k.dim[2], err));
    KL_TRY(kl__check_head(op, "v", a->v.dim[2], err));
    KL_TRY(kl__check_sequences(op, "cu_seqlens", a->cu_seqlens, a->n_seq, a->v.dim[0], err));
    KL_TRY(kl__check_chunk(op, a->chunk, a->path, err));
    return kl__check_states(op, "state_in", a->state_in, a->state_layout, kl__n_seq(a->cu_seqlens, a->n_seq),
                            a->v.dim[1], a->k.dim[2], a->v.dim[2], err);
}

static kl_status check(const kl_backend *be, const kl_dplr_args *a, kl_error *err)
{
    static const char op[] = "kl_dplr";
    KL_TRY(kl__check_call(op, be, a, err));
    KL_TRY(check_inputs(op, a, err));
    KL_TRY(kl__check_tensor(op, "o", a->o, KL__FLOAT, 3, a->v.dim, err));
    KL_TRY(kl__check_states(op, "state_out", a->state_out, a->state_layout, kl__n_seq(a->cu_seqlens, a->n_seq),
                            a->v.dim[1], a->k.dim[2], a->v.dim[2], err));
    struct kl__operand operand[] = {
        {"o", a->o, true, NULL},  {"state_out", a->state_out, true, "state_in"},
        {"q", a->q, false, NULL}, {"k", a->k, false, NULL},
        {"a", a->a, false, NULL}, {"b", a->b, false, NULL},
        {"v", a->v, false, NULL}, {"g", a->g, false, NULL},
        {"state_in", a->state_in, false, NULL},
    };
    return kl__check_overlap(op, operand, sizeof operand / sizeof *operand, err);
}

size_t kl_dplr_workspace(const kl_backend *be, const kl_dplr_args *a)
{
    return check(be, a, NULL) == KL_OK ? be->type->ops.dplr_workspace(be, a) : 0;
}

kl_status kl_dplr(const kl_backend *be, const kl_dplr_args *a, kl_error *err)
{
    KL_TRY(check(be, a, err));
    KL_TRY(kl__check_work("kl_dplr", a->work, be->type->ops.dplr_workspace(be, a), err));
    return be->type->ops.dplr(be, a, err);
}

static kl_status check_bwd(const kl_backend *be, const kl_dplr_bwd_args *a, kl_error *err)
{
    static const char op[] = "kl_dplr_bwd";
    KL_TRY(kl__check_call(op, be, a, err));
    const kl_dplr_args *f = &a->fwd;
    KL_TRY(check_inputs(op, f, err));
    int64_t n_seq = kl__n_seq(f->cu_seqlens, f->n_seq), H = f->v.dim[1], K = f->k.dim[2], V = f->v.dim[2];
    KL_TRY(kl__check_tensor(op, "d_o", a->d_o, KL__FLOAT, 3, f->v.dim, err));
    KL_TRY(kl__check_optional(op, "d_q", a->d_q, KL__F32, 3, f->k.dim, err));
    KL_TRY(kl__check_optional(op, "d_k", a->d_k, KL__F32, 3, f->k.dim, err));
    KL_TRY(kl__check_optional(op, "d_a", a->d_a, KL__F32, 3, f->k.dim, err));
    KL_TRY(kl__check_optional(op, "d_b", a->d_b, KL__F32, 3, f->k.dim, err));
    KL_TRY(kl__check_optional(op, "d_v", a->d_v, KL__F32, 3, f->v.dim, err));
    KL_TRY(kl__check_gradient_of(op, "d_g", a->d_g, "g", f->g, err));
    KL_TRY(kl__check_states(op, "d_state_out", a->d_state_out, f->state_layout, n_seq, H, K, V, err));
    KL_TRY(kl__check_states(op, "d_state_in", a->d_state_in, f->state_layout, n_seq, H, K, V, err));
    struct kl__operand operand[] = {
        {"d_q", a->d_q, true, NULL},
        {"d_k", a->d_k, true, NULL},
        {"d_a", a->d_a, true, NULL},
        {"d_b", a->d_b, true, NULL},
        {"d_v", a->d_v, true, NULL},
        {"d_g", a->d_g, true, NULL},
        {"d_state_in", a->d_state_in, true, "d_state_out"},
        {"d_state_out", a->d_state_out, false, NULL},
        {"d_o", a->d_o, false, NULL},
        {"q", f->q, false, NULL},
        {"k", f->k, false, NULL},
        {"a", f->a, false, NULL},
        {"b", f->b, false, NULL},
        {"v", f->v, false, NULL},
        {"g", f->g, false, NULL},
        {"state_in", f->state_in, false, NULL},
    };
    return kl__check_overlap(op, operand, sizeof operand / sizeof *operand, err);
}

size_t kl_dplr_bwd_workspace(const kl_backend *be, const kl_dplr_bwd_args *a)
{
    return check_bwd(be, a, NULL) == KL_OK ? be->type->ops.dplr_bwd_workspace(be, a) : 0;
}

kl_status kl_dplr_bwd(const kl_backend *be, const kl_dplr_bwd_args *a, kl_error *err)
{
    KL_TRY(check_bwd(be, a, err));
    KL_TRY(kl__check_work("kl_dplr_bwd", a->work, be->type->ops.dplr_bwd_workspace(be, a), err));
    return be->type->ops.dplr_bwd(be, a, err);
}
