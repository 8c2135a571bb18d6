#include "ops/check.h"

static kl_status check_inputs(const char *op, const kl_embedding_args *a, kl_error *err)
{
    KL_TRY(kl__check_tensor(op, "table", a->table, KL__FLOAT, 2, (int64_t[]){-1, -1}, err));
    return kl__check_tensor(op, "id", a->id, KL__I32, 1, (int64_t[]){-1}, err);
}

static kl_status check_ids(const char *op, const kl_embedding_args *a, kl_error *err)
{
    for (int64_t t = 0; t < a->id.dim[0]; t++) {
        int32_t id = *(const int32_t *)kl__row(a->id, t);
        if (id < 0 || id >= a->table.dim[0])
            return kl__fail(err, KL_ERR_ARGUMENT, "%s: id[%lld] is %d, expected one of the %lld rows of the table", op,
                            (long long)t, (int)id, (long long)a->table.dim[0]);
    }
    return KL_OK;
}

static kl_status check(const kl_backend *be, const kl_embedding_args *a, kl_error *err)
{
    static const char op[] = "kl_embedding";
    KL_TRY(kl__check_call(op, be, a, err));
    KL_TRY(check_inputs(op, a, err));
    KL_TRY(kl__check_tensor(op, "y", a->y, KL__FLOAT, 2, (int64_t[]){a->id.dim[0], a->table.dim[1]}, err));
    struct kl__operand operand[] = {
        {"y", a->y, true, NULL}, {"table", a->table, false, NULL}, {"id", a->id, false, NULL}};
    return kl__check_overlap(op, operand, 3, err);
}

size_t kl_embedding_workspace(const kl_backend *be, const kl_embedding_args *a)
{
    return check(be, a, NULL) == KL_OK ? be->type->ops.embedding_workspace(be, a) : 0;
}

kl_status kl_embedding(const kl_backend *be, const kl_embedding_args *a, kl_error *err)
{
    KL_TRY(check(be, a, err));
    KL_TRY(check_ids("kl_embedding", a, err));
    KL_TRY(kl__check_work("kl_embedding", a->work, be->type->ops.embedding_workspace(be, a), err));
    return be->type->ops.embedding(be, a, err);
}

/* The gradient does not depend on the table's numbers: of the table only the shape is looked at. */
static kl_status check_bwd(const kl_backend *be, const kl_embedding_bwd_args *a, kl_error *err)
{
    static const char op[] = "kl_embedding_bwd";
    KL_TRY(kl__check_call(op, be, a, err));
    KL_TRY(check_inputs(op, &a->fwd, err));
    kl_tensor id = a->fwd.id, table = a->fwd.table;
    KL_TRY(kl__check_tensor(op, "d_y", a->d_y, KL__FLOAT, 2, (int64_t[]){id.dim[0], table.dim[1]}, err));
    KL_TRY(kl__check_optional(op, "d_table", a->d_table, KL__F32, 2, table.dim, err));
    struct kl__operand operand[] = {{"d_table", a->d_table, true, NULL},
                                    {"d_y", a->d_y, false, NULL},
                                    {"id", id, false, NULL},
                                    {"table", table, false, NULL}};
    return kl__check_overlap(op, operand, 4, err);
}

size_t kl_embedding_bwd_workspace(const kl_backend *be, const kl_embedding_bwd_args *a)
{
    return check_bwd(be, a, NULL) == KL_OK ? be->type->ops.embedding_bwd_workspace(be, a) : 0;
}

kl_status kl_embedding_bwd(const kl_backend *be, const kl_embedding_bwd_args *a, kl_error *err)
{
    KL_TRY(check_bwd(be, a, err));
    KL_TRY(check_ids("kl_embedding_bwd", &a->fwd, err));
    KL_TRY(kl__check_work("kl_embedding_bwd", a->work, be->type->ops.embedding_bwd_workspace(be, a), err));
    return be->type->ops.embedding_bwd(be, a, err);
}
