#include "ops/check_cache.h"

/* Shapes of q, k and v, and of what they ask for. */
static kl_status check_inputs(const char *op, const kl_attention_args *a, kl_error *err)
{
    bool paged = a->paging.table != NULL;
    int n_dim = paged ? 4 : 3, heads = n_dim - 2;
    KL_TRY(kl__check_tensor(op, "q", a->q, KL__FLOAT, 3, (int64_t[]){-1, -1, -1}, err));
    int64_t n_head = a->q.dim[1], n_k = a->q.dim[2];
    KL_TRY(kl__check_columns(op, "query heads", n_head, false, err));
    KL_TRY(kl__check_columns(op, "columns of q", n_k, false, err));
    int64_t k_dim[] = {-1, -1, -1, -1};
    k_dim[n_dim - 1] = n_k;
    KL_TRY(kl__check_tensor(op, "k", a->k, KL__FLOAT, n_dim, k_dim, err));
    int64_t v_dim[] = {a->k.dim[0], a->k.dim[1], a->k.dim[2], a->k.dim[3]};
    v_dim[n_dim - 1] = -1;
    KL_TRY(kl__check_tensor(op, "v", a->v, 1u << a->k.dtype, n_dim, v_dim, err));
    KL_TRY(kl__check_columns(op, "columns of v", a->v.dim[n_dim - 1], true, err));
    if (a->k.dim[heads] < 1 || n_head % a->k.dim[heads] != 0)
        return kl__fail(err, KL_ERR_SHAPE, "%s: k has %lld heads, expected a divisor of the %lld of q", op,
                        (long long)a->k.dim[heads], (long long)n_head);
    struct kl__cache_call cache = {.op = op,
                                   .cache_name = "k",
                                   .cache = a->k,
                                   .n_token = a->q.dim[0],
                                   .cu_q = a->cu_q,
                                   .cu_k = a->cu_k,
                                   .n_seq = a->n_seq,
                                   .paging = a->paging,
                                   .scale = a->scale};
    return kl__check_cache(&cache, err);
}

static int64_t value_columns(const kl_attention_args *a)
{
    return a->v.dim[a->v.n_dim - 1];
}

static kl_status check(const kl_backend *be, const kl_attention_args *a, kl_error *err)
{
    static const char op[] = "kl_attention";
    KL_TRY(kl__check_call(op, be, a, err));
    KL_TRY(check_inputs(op, a, err));
    KL_TRY(kl__check_tensor(op, "o", a->o, KL__FLOAT, 3, (int64_t[]){a->q.dim[0], a->q.dim[1], value_columns(a)}, err));
    KL_TRY(kl__check_optional(op, "lse", a->lse, KL__F32, 2, a->q.dim, err));
    struct kl__operand operand[] = {{"o", a->o, true, NULL},
                                    {"lse", a->lse, true, NULL},
                                    {"q", a->q, false, NULL},
                                    {"k", a->k, false, NULL},
                                    {"v", a->v, false, NULL}};
    return kl__check_overlap(op, operand, 5, err);
}

size_t kl_attention_workspace(const kl_backend *be, const kl_attention_args *a)
{
    return check(be, a, NULL) == KL_OK ? be->type->ops.attention_workspace(be, a) : 0;
}

kl_status kl_attention(const kl_backend *be, const kl_attention_args *a, kl_error *err)
{
    KL_TRY(check(be, a, err));
    KL_TRY(kl__check_work("kl_attention", a->work, be->type->ops.attention_workspace(be, a), err));
    return be->type->ops.attention(be, a, err);
}

static kl_status check_bwd(const kl_backend *be, const kl_attention_bwd_args *a, kl_error *err)
{
    static const char op[] = "kl_attention_bwd";
    KL_TRY(kl__check_call(op, be, a, err));
    const kl_attention_args *f = &a->fwd;
    if (f->paging.table)
        return kl__fail(err, KL_ERR_UNSUPPORTED, "%s: fwd.paging is given, expected a contiguous cache", op);
    KL_TRY(check_inputs(op, f, err));
    int64_t o_dim[] = {f->q.dim[0], f->q.dim[1], value_columns(f)};
    KL_TRY(kl__check_tensor(op, "o", f->o, KL__FLOAT, 3, o_dim, err));
    KL_TRY(kl__check_tensor(op, "lse", f->lse, KL__F32, 2, f->q.dim, err));
    KL_TRY(kl__check_tensor(op, "d_o", a->d_o, KL__FLOAT, 3, o_dim, err));
    KL_TRY(kl__check_optional(op, "d_q", a->d_q, KL__F32, 3, f->q.dim, err));
    KL_TRY(kl__check_optional(op, "d_k", a->d_k, KL__F32, 3, f->k.dim, err));
    KL_TRY(kl__check_optional(op, "d_v", a->d_v, KL__F32, 3, f->v.dim, err));
    struct kl__operand operand[] = {
        {"d_q", a->d_q, true, NULL}, {"d_k", a->d_k, true, NULL},  {"d_v", a->d_v, true, NULL},
        {"q", f->q, false, NULL},    {"k", f->k, false, NULL},     {"v", f->v, false, NULL},
        {"o", f->o, false, NULL},    {"lse", f->lse, false, NULL}, {"d_o", a->d_o, false, NULL}};
    return kl__check_overlap(op, operand, 9, err);
}

size_t kl_attention_bwd_workspace(const kl_backend *be, const kl_attention_bwd_args *a)
{
    return check_bwd(be, a, NULL) == KL_OK ? be->type->ops.attention_bwd_workspace(be, a) : 0;
}

kl_status kl_attention_bwd(const kl_backend *be, const kl_attention_bwd_args *a, kl_error *err)
{
    KL_TRY(check_bwd(be, a, err));
    KL_TRY(kl__check_work("kl_attention_bwd", a->work, be->type->ops.attention_bwd_workspace(be, a), err));
    return be->type->ops.attention_bwd(be, a, err);
}
