#include "ops/check.h"

#include "ops/recurrence.h"

/* Decay: per channel [T][HV][K] or per head [T][HV]; A_log and dt_bias only where a gate uses them. */
static kl_status check_decay(const char *op, const kl_kda_args *a, int64_t T, int64_t HV, int64_t K, kl_error *err)
{
    bool per_head = a->g.n_dim == 2;
    KL_TRY(kl__check_optional(op, "g", a->g, KL__FLOAT, per_head ? 2 : 3, (int64_t[]){T, HV, K}, err));
    if ((unsigned)a->gate > KL_GATE_BOUNDED)
        return kl__fail(err, KL_ERR_ARGUMENT, "%s: gate is %d, expected 0 .. %d", op, (int)a->gate, KL_GATE_BOUNDED);
    if (a->gate == KL_GATE_BOUNDED && !(a->lower_bound < 0))
        return kl__fail(err, KL_ERR_ARGUMENT, "%s: lower_bound is %g, expected below 0", op, (double)a->lower_bound);
    if (a->gate == KL_GATE_LOG && (kl__present(a->A_log) || kl__present(a->dt_bias)))
        return kl__fail(err, KL_ERR_ARGUMENT, "%s: %s is given, but the gate is a log decay and has none", op,
                        kl__present(a->A_log) ? "A_log" : "dt_bias");
    if (a->gate != KL_GATE_LOG && !kl__present(a->g))
        return kl__fail(err, KL_ERR_ARGUMENT, "%s: g is absent, expected the input of the gate", op);
    KL_TRY(kl__check_optional(op, "A_log", a->A_log, KL__F32, 1, (int64_t[]){HV}, err));
    return kl__check_optional(op, "dt_bias", a->dt_bias, KL__F32, per_head ? 1 : 2, (int64_t[]){HV, K}, err);
}

/* Everything but the outputs. */
static kl_status check_inputs(const char *op, const kl_kda_args *a, kl_error *err)
{
    KL_TRY(kl__check_tensor(op, "v", a->v, KL__FLOAT, 3, (int64_t[]){-1, -1, -1}, err));
    KL_TRY(kl__check_tensor(op, "k", a->k, KL__FLOAT, 3, (int64_t[]){a->v.dim[0], -1, -1}, err));
    int64_t T = a->v.dim[0], HV = a->v.dim[1], H = a->k.dim[1], K = a->k.dim[2];
    KL_TRY(kl__check_tensor(op, "q", a->q, KL__FLOAT, 3, (int64_t[]){T, H, K}, err));
    if (H == 0 ? HV != 0 : HV % H != 0)
        return kl__fail(err, KL_ERR_SHAPE, "%s: v has %lld heads, expected a multiple of the %lld heads of k", op,
                        (long long)HV, (long long)H);
    KL_TRY(kl__check_head(op, "k", K, err));
    KL_TRY(kl__check_head(op, "v", a->v.dim[2], err));
    KL_TRY(check_decay(op, a, T, HV, K, err));
    KL_TRY(kl__check_optional(op, "beta", a->beta, KL__FLOAT, 2, (int64_t[]){T, HV}, err));
    if ((a->beta_sigmoid) && !kl__present(a->beta))
        return kl__fail(err, KL_ERR_ARGUMENT, "%s: beta is absent, expected the input of the sigmoid", op);
    if ((unsigned)a->rule > KL_RULE_ADD)
        return kl__fail(err, KL_ERR_ARGUMENT, "%s: rule is %d, expected 0 or 1", op, (int)a->rule);
    KL_TRY(kl__check_sequences(op, "cu_seqlens", a->cu_seqlens, a->n_seq, T, err));
    KL_TRY(kl__check_chunk(op, a->chunk, a->path, err));
    return kl__check_states(op, "state_in", a->state_in, a->state_layout, kl__n_seq(a->cu_seqlens, a->n_seq), HV, K,
                            a->v.dim[2], err);
}

static kl_status check_snapshots(const char *op, const kl_kda_args *a, kl_error *err)
{
    if (!kl__present(a->snapshots))
        return KL_OK;
    int chunk = kl__chunk_of(a->chunk);
    if (a->snapshot_every <= 0 || a->snapshot_every % chunk)
        return kl__fail(err, KL_ERR_ARGUMENT, "%s: snapshot_every is %lld, expected a positive multiple of chunk %d",
                        op, (long long)a->snapshot_every, chunk);
    if (a->path == KL_PATH_RECURRENT)
        return kl__fail(err, KL_ERR_ARGUMENT, "%s: snapshots are asked for, but path is recurrent", op);
    int64_t n = 0;
    for (int64_t s = 0; s < kl__n_seq(a->cu_seqlens, a->n_seq); s++)
        n += kl__seq_tokens(a->cu_seqlens, s, a->v.dim[0]) / a->snapshot_every;
    return kl__check_states(op, "snapshots", a->snapshots, a->state_layout, n, a->v.dim[1], a->k.dim[2], a->v.dim[2],
                            err);
}

static kl_status check_errors(const char *op, const kl_kda_args *a, kl_error *err)
{
    KL_TRY(kl__check_optional(op, "e", a->e, KL__F32, 3, a->v.dim, err));
    if (kl__present(a->e) && a->path == KL_PATH_RECURRENT)
        return kl__fail(err, KL_ERR_ARGUMENT, "%s: e is asked for, but path is recurrent", op);
    return KL_OK;
}

static kl_status check(const kl_backend *be, const kl_kda_args *a, kl_error *err)
{
    static const char op[] = "kl_kda";
    KL_TRY(kl__check_call(op, be, a, err));
    KL_TRY(check_inputs(op, a, err));
    int64_t HV = a->v.dim[1], K = a->k.dim[2], V = a->v.dim[2];
    KL_TRY(kl__check_tensor(op, "o", a->o, KL__FLOAT, 3, a->v.dim, err));
    KL_TRY(kl__check_states(op, "state_out", a->state_out, a->state_layout, kl__n_seq(a->cu_seqlens, a->n_seq), HV, K,
                            V, err));
    KL_TRY(check_snapshots(op, a, err));
    KL_TRY(check_errors(op, a, err));
    if ((unsigned)a->operands > KL_OPERANDS_BF16)
        return kl__fail(err, KL_ERR_ARGUMENT, "%s: operands is %d, expected 0 or 1", op, (int)a->operands);
    struct kl__operand operand[] = {
        {"o", a->o, true, NULL},
        {"state_out", a->state_out, true, "state_in"},
        {"snapshots", a->snapshots, true, NULL},
        {"e", a->e, true, NULL},
        {"q", a->q, false, NULL},
        {"k", a->k, false, NULL},
        {"v", a->v, false, NULL},
        {"g", a->g, false, NULL},
        {"beta", a->beta, false, NULL},
        {"A_log", a->A_log, false, NULL},
        {"dt_bias", a->dt_bias, false, NULL},
        {"state_in", a->state_in, false, NULL},
    };
    return kl__check_overlap(op, operand, sizeof operand / sizeof *operand, err);
}

size_t kl_kda_workspace(const kl_backend *be, const kl_kda_args *a)
{
    return check(be, a, NULL) == KL_OK ? be->type->ops.kda_workspace(be, a) : 0;
}

kl_status kl_kda(const kl_backend *be, const kl_kda_args *a, kl_error *err)
{
    KL_TRY(check(be, a, err));
    KL_TRY(kl__check_work("kl_kda", a->work, be->type->ops.kda_workspace(be, a), err));
    return be->type->ops.kda(be, a, err);
}

static kl_status check_bwd(const kl_backend *be, const kl_kda_bwd_args *a, kl_error *err)
{
    static const char op[] = "kl_kda_bwd";
    KL_TRY(kl__check_call(op, be, a, err));
    const kl_kda_args *f = &a->fwd;
    KL_TRY(check_inputs(op, f, err));
    KL_TRY(check_snapshots(op, f, err));
    KL_TRY(check_errors(op, f, err));
    int64_t T = f->v.dim[0], HV = f->v.dim[1], K = f->k.dim[2], V = f->v.dim[2];
    int64_t n_seq = kl__n_seq(f->cu_seqlens, f->n_seq);
    KL_TRY(kl__check_tensor(op, "d_o", a->d_o, KL__FLOAT, 3, f->v.dim, err));
    KL_TRY(kl__check_optional(op, "d_q", a->d_q, KL__F32, 3, f->q.dim, err));
    KL_TRY(kl__check_optional(op, "d_k", a->d_k, KL__F32, 3, f->k.dim, err));
    KL_TRY(kl__check_optional(op, "d_v", a->d_v, KL__F32, 3, f->v.dim, err));
    KL_TRY(kl__check_gradient_of(op, "d_g", a->d_g, "g", f->g, err));
    KL_TRY(kl__check_gradient_of(op, "d_A_log", a->d_A_log, "A_log", f->A_log, err));
    KL_TRY(kl__check_gradient_of(op, "d_dt_bias", a->d_dt_bias, "dt_bias", f->dt_bias, err));
    KL_TRY(kl__check_optional(op, "d_beta", a->d_beta, KL__F32, 2, (int64_t[]){T, HV}, err));
    KL_TRY(kl__check_states(op, "d_state_out", a->d_state_out, f->state_layout, n_seq, HV, K, V, err));
    KL_TRY(kl__check_states(op, "d_state_in", a->d_state_in, f->state_layout, n_seq, HV, K, V, err));
    struct kl__operand operand[] = {
        {"d_q", a->d_q, true, NULL},
        {"d_k", a->d_k, true, NULL},
        {"d_v", a->d_v, true, NULL},
        {"d_g", a->d_g, true, NULL},
        {"d_beta", a->d_beta, true, NULL},
        {"d_A_log", a->d_A_log, true, NULL},
        {"d_dt_bias", a->d_dt_bias, true, NULL},
        {"d_state_in", a->d_state_in, true, "d_state_out"},
        {"d_state_out", a->d_state_out, false, NULL},
        {"d_o", a->d_o, false, NULL},
        {"q", f->q, false, NULL},
        {"k", f->k, false, NULL},
        {"v", f->v, false, NULL},
        {"g", f->g, false, NULL},
        {"beta", f->beta, false, NULL},
        {"A_log", f->A_log, false, NULL},
        {"dt_bias", f->dt_bias, false, NULL},
        {"state_in", f->state_in, false, NULL},
        {"snapshots", f->snapshots, false, NULL},
        {"e", f->e, false, NULL},
    };
    return kl__check_overlap(op, operand, sizeof operand / sizeof *operand, err);
}

size_t kl_kda_bwd_workspace(const kl_backend *be, const kl_kda_bwd_args *a)
{
    return check_bwd(be, a, NULL) == KL_OK ? be->type->ops.kda_bwd_workspace(be, a) : 0;
}

kl_status kl_kda_bwd(const kl_backend *be, const kl_kda_bwd_args *a, kl_error *err)
{
    KL_TRY(check_bwd(be, a, err));
    KL_TRY(kl__check_work("kl_kda_bwd", a->work, be->type->ops.kda_bwd_workspace(be, a), err));
    return be->type->ops.kda_bwd(be, a, err);
}
