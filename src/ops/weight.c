#include "ops/weight.h"

#include "ops/check.h"

/* -------------------------------------------------------------------------------------------------------- checks -- */

/* Decodes, whole blocks in a row, bytes that can be counted, data. */
static kl_status check_weight(const char *op, const char *name, const struct kl__weight *w, kl_error *err)
{
    if (!w)
        return kl__fail(err, KL_ERR_ARGUMENT, "%s: %s is NULL, expected weights", op, name);
    if ((unsigned)w->type >= KL__N_TYPE || !kl__type_info(w->type)->decode)
        return kl__fail(err, KL_ERR_DTYPE, "%s: %s is %s, expected a type that decodes to numbers", op, name,
                        (unsigned)w->type < KL__N_TYPE ? kl__type_info(w->type)->name : "of no type");
    int64_t block = kl__type_info(w->type)->elements, n;
    size_t bytes;
    if (w->n_matrix < 0 || w->n_out < 0 || w->n_in < 0 || w->n_in % block != 0)
        return kl__fail(err, KL_ERR_SHAPE, "%s: %s is [%lld][%lld][%lld], expected rows of whole blocks of %lld", op,
                        name, (long long)w->n_matrix, (long long)w->n_out, (long long)w->n_in, (long long)block);
    if (__builtin_mul_overflow(w->n_matrix, w->n_out, &n) || __builtin_mul_overflow(n, w->n_in, &n) ||
        n >= (int64_t)1 << 58 || !kl__type_bytes(w->type, n, &bytes))
        return kl__fail(err, KL_ERR_SHAPE, "%s: %s has more bytes than an address can count", op, name);
    if (!w->data && !w->each && n > 0)
        return kl__fail(err, KL_ERR_ARGUMENT, "%s: %s has no data, expected a pointer", op, name);
    return KL_OK;
}

static kl_status check_shape(const char *op, const char *name, const struct kl__weight *w, int64_t n_matrix,
                             int64_t n_out, int64_t n_in, kl_error *err)
{
    if (w->n_matrix == n_matrix && w->n_out == n_out && w->n_in == n_in)
        return KL_OK;
    return kl__fail(err, KL_ERR_SHAPE, "%s: %s is [%lld][%lld][%lld], expected [%lld][%lld][%lld]", op, name,
                    (long long)w->n_matrix, (long long)w->n_out, (long long)w->n_in, (long long)n_matrix,
                    (long long)n_out, (long long)n_in);
}

/* ------------------------------------------------------------------------------------------------------- packing -- */

size_t kl__weight_packed_bytes(const kl_backend *be, const struct kl__weight *w)
{
    return check_weight("kl__weight_pack", "w", w, NULL) == KL_OK ? be->type->ops.weight_packed_bytes(be, w) : 0;
}

void kl__weight_pack(const kl_backend *be, void *to, const struct kl__weight *w)
{
    if (kl__weight_packed_bytes(be, w) > 0)
        be->type->ops.weight_pack(be, to, w);
}

/* -------------------------------------------------------------------------------------------------------- linear -- */

static const char linear_op[] = "kl__weight_linear";

static kl_status check_products(const kl_backend *be, const struct kl__weight_product *p, int n, kl_error *err)
{
    KL_TRY(kl__check_call(linear_op, be, p, err));
    for (int i = 0; i < n; i++) {
        KL_TRY(check_weight(linear_op, "w", p[i].w, err));
        KL_TRY(check_shape(linear_op, "w", p[i].w, 1, p[i].w->n_out, p[0].w->n_in, err));
    }
    return KL_OK;
}

static kl_status check_linears(const struct kl__weight_product *p, int n, kl_tensor x, kl_error *err)
{
    for (int i = 0; i < n; i++) {
        KL_TRY(kl__check_tensor(linear_op, "x", x, KL__F32, 2, (int64_t[]){-1, p[i].w->n_in}, err));
        KL_TRY(kl__check_tensor(linear_op, "y", p[i].y, KL__F32, 2, (int64_t[]){x.dim[0], p[i].w->n_out}, err));
        struct kl__operand operand[] = {{"y", p[i].y, true, NULL}, {"x", x, false, NULL}};
        KL_TRY(kl__check_overlap(linear_op, operand, 2, err));
    }
    return KL_OK;
}

size_t kl__weight_linears_workspace(const kl_backend *be, const struct kl__weight_product *p, int n, int64_t n_token)
{
    if (n <= 0 || n_token < 0 || check_products(be, p, n, NULL) != KL_OK)
        return 0;
    return be->type->ops.weight_linears_workspace(be, p, n, n_token);
}

kl_status kl__weight_linears(const kl_backend *be, const struct kl__weight_product *p, int n, kl_tensor x,
                             kl_workspace work, kl_error *err)
{
    if (n == 0)
        return KL_OK;
    KL_TRY(check_products(be, p, n, err));
    KL_TRY(check_linears(p, n, x, err));
    KL_TRY(kl__check_work(linear_op, work, be->type->ops.weight_linears_workspace(be, p, n, x.dim[0]), err));
    be->type->ops.weight_linears(be, p, n, x, work);
    return KL_OK;
}

size_t kl__weight_linear_workspace(const kl_backend *be, const struct kl__weight *w, int64_t n_token)
{
    return kl__weight_linears_workspace(be, &(struct kl__weight_product){.w = w}, 1, n_token);
}

kl_status kl__weight_linear(const kl_backend *be, kl_tensor y, kl_tensor x, const struct kl__weight *w, bool add,
                            kl_workspace work, kl_error *err)
{
    return kl__weight_linears(be, &(struct kl__weight_product){y, w, add}, 1, x, work, err);
}

/* ------------------------------------------------------------------------------------------------------- experts -- */

static const char experts_op[] = "kl__weight_experts";

static kl_status check_expert_weights(const kl_backend *be, const struct kl__weight_experts_call *c, kl_error *err)
{
    KL_TRY(kl__check_call(experts_op, be, c, err));
    KL_TRY(check_weight(experts_op, "gate", c->gate, err));
    KL_TRY(check_weight(experts_op, "up", c->up, err));
    KL_TRY(check_weight(experts_op, "down", c->down, err));
    const struct kl__weight *g = c->gate;
    KL_TRY(check_shape(experts_op, "up", c->up, g->n_matrix, g->n_out, g->n_in, err));
    return check_shape(experts_op, "down", c->down, g->n_matrix, g->n_in, g->n_out, err);
}

static kl_status check_experts(const struct kl__weight_experts_call *c, kl_error *err)
{
    KL_TRY(kl__check_tensor(experts_op, "x", c->x, KL__F32, 2, (int64_t[]){-1, c->gate->n_in}, err));
    KL_TRY(kl__check_tensor(experts_op, "y", c->y, KL__F32, 2, c->x.dim, err));
    KL_TRY(kl__check_tensor(experts_op, "id", c->id, KL__I32, 2, (int64_t[]){c->x.dim[0], -1}, err));
    KL_TRY(kl__check_optional(experts_op, "weight", c->weight, KL__F32, 2, c->id.dim, err));
    struct kl__operand operand[] = {{"y", c->y, true, NULL},
                                    {"x", c->x, false, NULL},
                                    {"id", c->id, false, NULL},
                                    {"weight", c->weight, false, NULL}};
    KL_TRY(kl__check_overlap(experts_op, operand, 4, err));
    return kl__check_ids(experts_op, "id", c->id, c->gate->n_matrix, err);
}

size_t kl__weight_experts_workspace(const kl_backend *be, const struct kl__weight *gate, const struct kl__weight *up,
                                    const struct kl__weight *down, int64_t n_token, int64_t topk)
{
    struct kl__weight_experts_call c = {.gate = gate, .up = up, .down = down};
    if (n_token < 0 || topk < 0 || check_expert_weights(be, &c, NULL) != KL_OK)
        return 0;
    c.x = kl_view2(NULL, KL_F32, n_token, gate->n_in);
    c.id = kl_view2(NULL, KL_I32, n_token, topk);
    return be->type->ops.weight_experts_workspace(be, &c);
}

kl_status kl__weight_experts(const kl_backend *be, kl_tensor y, kl_tensor x, kl_tensor id, kl_tensor weight,
                             const struct kl__weight *gate, const struct kl__weight *up, const struct kl__weight *down,
                             bool add, kl_workspace work, kl_error *err)
{
    struct kl__weight_experts_call c = {y, x, id, weight, gate, up, down, add, work};
    KL_TRY(check_expert_weights(be, &c, err));
    KL_TRY(check_experts(&c, err));
    KL_TRY(kl__check_work(experts_op, work, be->type->ops.weight_experts_workspace(be, &c), err));
    be->type->ops.weight_experts(be, &c);
    return KL_OK;
}

/* ---------------------------------------------------------------------------------------------------------- rows -- */

kl_status kl__weight_rows(const kl_backend *be, kl_tensor y, kl_tensor id, const struct kl__weight *table,
                          kl_error *err)
{
    static const char op[] = "kl__weight_rows";
    KL_TRY(kl__check_call(op, be, table, err));
    KL_TRY(check_weight(op, "table", table, err));
    KL_TRY(check_shape(op, "table", table, 1, table->n_out, table->n_in, err));
    KL_TRY(kl__check_tensor(op, "id", id, KL__I32, 1, (int64_t[]){-1}, err));
    KL_TRY(kl__check_tensor(op, "y", y, KL__F32, 2, (int64_t[]){id.dim[0], table->n_in}, err));
    struct kl__operand operand[] = {{"y", y, true, NULL}, {"id", id, false, NULL}};
    KL_TRY(kl__check_overlap(op, operand, 2, err));
    KL_TRY(kl__check_ids(op, "id", id, table->n_out, err));
    be->type->ops.weight_rows(be, y, id, table);
    return KL_OK;
}
