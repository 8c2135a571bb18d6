#include "ops/check_cache.h"

/* Elements of a row of `n` numbers in the cache. */
static kl_status row_elements(int64_t *elements, const char *op, kl_dtype dtype, int64_t n, kl_error *err)
{
    *elements = dtype == KL_Q8_0 ? n / 32 * 34 : n;
    if (dtype != KL_Q8_0 || n % 32 == 0)
        return KL_OK;
    return kl__fail(err, KL_ERR_SHAPE, "%s: a row of the cache has %lld numbers, expected a multiple of 32 for q8_0",
                    op, (long long)n);
}

/* Shapes of q, cache and weights; the weights say which columns are which. */
static kl_status check_inputs(const char *op, const kl_mla_args *a, unsigned cache_dtypes, kl_error *err)
{
    KL_TRY(kl__check_tensor(op, "q", a->q, KL__FLOAT, 3, (int64_t[]){-1, -1, -1}, err));
    int64_t n_head = a->q.dim[1], n_k = a->q.dim[2];
    KL_TRY(kl__check_columns(op, "heads", n_head, false, err));
    KL_TRY(kl__check_columns(op, "columns of q", n_k, false, err));
    KL_TRY(kl__check_tensor(op, "w_uk", a->w_uk, KL__FLOAT, 3, (int64_t[]){n_head, -1, -1}, err));
    int64_t n_nope = a->w_uk.dim[1], n_latent = a->w_uk.dim[2];
    KL_TRY(kl__check_columns(op, "columns of a latent", n_latent, false, err));
    if (n_nope > n_k)
        return kl__fail(err, KL_ERR_SHAPE, "%s: w_uk makes %lld columns of a key, expected at most the %lld of q", op,
                        (long long)n_nope, (long long)n_k);
    KL_TRY(kl__check_tensor(op, "w_uv", a->w_uv, KL__FLOAT, 3, (int64_t[]){n_head, -1, n_latent}, err));
    KL_TRY(kl__check_columns(op, "columns of v", a->w_uv.dim[1], true, err));
    bool paged = a->paging.table != NULL;
    int64_t row;
    KL_TRY(row_elements(&row, op, a->cache.dtype, n_latent + n_k - n_nope, err));
    int64_t paged_dim[] = {-1, -1, row}, dim[] = {-1, row};
    KL_TRY(kl__check_tensor(op, "cache", a->cache, cache_dtypes, paged ? 3 : 2, paged ? paged_dim : dim, err));
    if (a->form != KL_MLA_AUTO && a->form != KL_MLA_ABSORBED && a->form != KL_MLA_EXPANDED)
        return kl__fail(err, KL_ERR_ARGUMENT, "%s: form is %d, expected a kl_mla_form", op, (int)a->form);
    struct kl__cache_call cache = {.op = op,
                                   .cache_name = "cache",
                                   .cache = a->cache,
                                   .n_token = a->q.dim[0],
                                   .cu_q = a->cu_q,
                                   .cu_k = a->cu_k,
                                   .n_seq = a->n_seq,
                                   .paging = a->paging,
                                   .scale = a->scale};
    return kl__check_cache(&cache, err);
}

static kl_status check(const kl_backend *be, const kl_mla_args *a, kl_error *err)
{
    static const char op[] = "kl_mla";
    KL_TRY(kl__check_call(op, be, a, err));
    KL_TRY(check_inputs(op, a, KL__FLOAT | KL__Q8_0, err));
    int64_t o_dim[] = {a->q.dim[0], a->q.dim[1], a->w_uv.dim[1]};
    KL_TRY(kl__check_tensor(op, "o", a->o, KL__FLOAT, 3, o_dim, err));
    KL_TRY(kl__check_optional(op, "lse", a->lse, KL__F32, 2, a->q.dim, err));
    if ((uintptr_t)a->packed % 64 != 0)
        return kl__fail(err, KL_ERR_ARGUMENT, "%s: packed is at %p, expected a multiple of 64", op, a->packed);
    struct kl__operand operand[] = {{"o", a->o, true, NULL},        {"lse", a->lse, true, NULL},
                                    {"q", a->q, false, NULL},       {"cache", a->cache, false, NULL},
                                    {"w_uk", a->w_uk, false, NULL}, {"w_uv", a->w_uv, false, NULL}};
    return kl__check_overlap(op, operand, 6, err);
}

size_t kl_mla_workspace(const kl_backend *be, const kl_mla_args *a)
{
    return check(be, a, NULL) == KL_OK ? be->type->ops.mla_workspace(be, a) : 0;
}

kl_status kl_mla(const kl_backend *be, const kl_mla_args *a, kl_error *err)
{
    KL_TRY(check(be, a, err));
    KL_TRY(kl__check_work("kl_mla", a->work, be->type->ops.mla_workspace(be, a), err));
    return be->type->ops.mla(be, a, err);
}

static kl_status check_pack(const kl_backend *be, kl_tensor w_uk, kl_tensor w_uv, kl_error *err)
{
    static const char op[] = "kl_mla_pack";
    KL_TRY(kl__check_call(op, be, &w_uk, err));
    KL_TRY(kl__check_tensor(op, "w_uk", w_uk, KL__FLOAT, 3, (int64_t[]){-1, -1, -1}, err));
    KL_TRY(kl__check_columns(op, "heads", w_uk.dim[0], false, err));
    KL_TRY(kl__check_columns(op, "rows of w_uk", w_uk.dim[1], true, err));
    KL_TRY(kl__check_columns(op, "columns of a latent", w_uk.dim[2], false, err));
    KL_TRY(kl__check_tensor(op, "w_uv", w_uv, KL__FLOAT, 3, (int64_t[]){w_uk.dim[0], -1, w_uk.dim[2]}, err));
    return kl__check_columns(op, "columns of v", w_uv.dim[1], true, err);
}

size_t kl_mla_packed_bytes(const kl_backend *be, kl_tensor w_uk, kl_tensor w_uv)
{
    return check_pack(be, w_uk, w_uv, NULL) == KL_OK ? be->type->ops.mla_packed_bytes(be, w_uk, w_uv) : 0;
}

size_t kl_mla_pack_workspace(const kl_backend *be, kl_tensor w_uk, kl_tensor w_uv)
{
    return check_pack(be, w_uk, w_uv, NULL) == KL_OK ? be->type->ops.mla_pack_workspace(be, w_uk, w_uv) : 0;
}

kl_status kl_mla_pack(const kl_backend *be, void *packed, kl_tensor w_uk, kl_tensor w_uv, kl_workspace work,
                      kl_error *err)
{
    KL_TRY(check_pack(be, w_uk, w_uv, err));
    if (!packed || (uintptr_t)packed % 64 != 0)
        return kl__fail(err, KL_ERR_ARGUMENT, "kl_mla_pack: packed is at %p, expected memory at a multiple of 64",
                        packed);
    KL_TRY(kl__check_work("kl_mla_pack", work, be->type->ops.mla_pack_workspace(be, w_uk, w_uv), err));
    return be->type->ops.mla_pack(be, packed, w_uk, w_uv, work, err);
}

static kl_status check_bwd(const kl_backend *be, const kl_mla_bwd_args *a, kl_error *err)
{
    static const char op[] = "kl_mla_bwd";
    KL_TRY(kl__check_call(op, be, a, err));
    const kl_mla_args *f = &a->fwd;
    if (f->paging.table)
        return kl__fail(err, KL_ERR_UNSUPPORTED, "%s: fwd.paging is given, expected a contiguous cache", op);
    KL_TRY(check_inputs(op, f, KL__FLOAT, err));
    int64_t o_dim[] = {f->q.dim[0], f->q.dim[1], f->w_uv.dim[1]};
    KL_TRY(kl__check_tensor(op, "o", f->o, KL__FLOAT, 3, o_dim, err));
    KL_TRY(kl__check_tensor(op, "lse", f->lse, KL__F32, 2, f->q.dim, err));
    KL_TRY(kl__check_tensor(op, "d_o", a->d_o, KL__FLOAT, 3, o_dim, err));
    KL_TRY(kl__check_optional(op, "d_q", a->d_q, KL__F32, 3, f->q.dim, err));
    KL_TRY(kl__check_optional(op, "d_cache", a->d_cache, KL__F32, 2, f->cache.dim, err));
    KL_TRY(kl__check_optional(op, "d_w_uk", a->d_w_uk, KL__F32, 3, f->w_uk.dim, err));
    KL_TRY(kl__check_optional(op, "d_w_uv", a->d_w_uv, KL__F32, 3, f->w_uv.dim, err));
    struct kl__operand operand[] = {{"d_q", a->d_q, true, NULL},       {"d_cache", a->d_cache, true, NULL},
                                    {"d_w_uk", a->d_w_uk, true, NULL}, {"d_w_uv", a->d_w_uv, true, NULL},
                                    {"q", f->q, false, NULL},          {"cache", f->cache, false, NULL},
                                    {"w_uk", f->w_uk, false, NULL},    {"w_uv", f->w_uv, false, NULL},
                                    {"o", f->o, false, NULL},          {"lse", f->lse, false, NULL},
                                    {"d_o", a->d_o, false, NULL}};
    return kl__check_overlap(op, operand, 11, err);
}

size_t kl_mla_bwd_workspace(const kl_backend *be, const kl_mla_bwd_args *a)
{
    return check_bwd(be, a, NULL) == KL_OK ? be->type->ops.mla_bwd_workspace(be, a) : 0;
}

kl_status kl_mla_bwd(const kl_backend *be, const kl_mla_bwd_args *a, kl_error *err)
{
    KL_TRY(check_bwd(be, a, err));
    KL_TRY(kl__check_work("kl_mla_bwd", a->work, be->type->ops.mla_bwd_workspace(be, a), err));
    return be->type->ops.mla_bwd(be, a, err);
}
