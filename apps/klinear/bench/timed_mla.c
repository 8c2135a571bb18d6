/* Multi-head latent attention; what is counted is said in timed_softmax.c. */
#include "timed.h"

#include <stdlib.h>

/* Sizes of a head and of a latent row. */
struct sizes {
    int64_t DN, DR, DV, R;
};

static struct sizes sizes_of(int64_t dim)
{
    return (struct sizes){.DN = dim, .DR = dim / 2, .DV = dim, .R = 4 * dim};
}

static void head(int64_t dim, int64_t *K, int64_t *V)
{
    struct sizes z = sizes_of(dim);
    *K = z.DN + z.DR;
    *V = z.DV;
}

static struct ka_cost cost(const struct ka_stage *s, const struct ka_case *c)
{
    struct sizes z = sizes_of(s->dim);
    double H = (double)s->heads, T = (double)c->T, e = (double)kl_dtype_bytes(c->dtype);
    double K = (double)(z.DN + z.DR), V = (double)z.DV, row = (double)(z.R + z.DR), R = (double)z.R;
    double weights = H * (double)(z.DN + z.DV) * R;
    if (c->pass == KA_STEP)
        return (struct ka_cost){.tokens = 1, .flops = 2 * (row + R) * T * H, .bytes = (T * row + weights) * e};
    double forward = 2 * (K + V) * T * (T + 1) / 2 * H, tensors = T * H * (K + V) + T * row + weights;
    if (c->pass == KA_FORWARD)
        return (struct ka_cost){.tokens = c->T, .flops = forward, .bytes = tensors * e};
    double gradients = T * H * K + T * row + weights; /* f32 */
    return (struct ka_cost){.tokens = c->T, .flops = 2 * forward, .bytes = (tensors + T * H * V) * e + gradients * 4};
}

static size_t prepare(struct ka_stage *s, const struct ka_case *c, const kl_backend *be, union ka_call *call)
{
    struct sizes z = sizes_of(s->dim);
    int64_t Tq = c->pass == KA_STEP ? 1 : c->T, H = s->heads;
    kl_mla_args a = {
        .o = ka_stage_heads(s, KA_ZERO, c->pass == KA_BACKWARD ? 12 : 0, c->dtype, c->rows, Tq, z.DV),
        .q = ka_stage_heads(s, KA_NORMAL, 1, c->dtype, c->rows, Tq, z.DN + z.DR),
        .cache = ka_stage_rows(s, KA_NORMAL, 2, c->dtype, c->rows, c->T, z.R + z.DR),
        .w_uk = kl_view3(ka_stage_data(s, KA_WEIGHT, 0, c->dtype, H * z.DN, z.R), c->dtype, H, z.DN, z.R),
        .w_uv = kl_view3(ka_stage_data(s, KA_WEIGHT, 1, c->dtype, H * z.DV, z.R), c->dtype, H, z.DV, z.R),
        .causal = true,
    };
    if (c->pass != KA_BACKWARD) {
        call->mla = a;
        return s->failed ? 0 : kl_mla_workspace(be, &call->mla);
    }
    a.lse = ka_stage_rows(s, KA_ZERO, 13, KL_F32, c->rows, c->T, H);
    call->mla_bwd = (kl_mla_bwd_args){
        .fwd = a,
        .d_o = ka_stage_heads(s, KA_NORMAL, 3, c->dtype, c->rows, c->T, z.DV),
        .d_q = ka_stage_heads(s, KA_ZERO, 14, KL_F32, c->rows, c->T, z.DN + z.DR),
        .d_cache = ka_stage_rows(s, KA_ZERO, 15, KL_F32, c->rows, c->T, z.R + z.DR),
        .d_w_uk = kl_view3(ka_stage_data(s, KA_ZERO, 16, KL_F32, H * z.DN, z.R), KL_F32, H, z.DN, z.R),
        .d_w_uv = kl_view3(ka_stage_data(s, KA_ZERO, 17, KL_F32, H * z.DV, z.R), KL_F32, H, z.DV, z.R),
    };
    if (s->failed)
        return 0;
    /* The backward needs what the forward left in o and lse; those of fewer tokens are the first rows of these. */
    a.work.bytes = kl_mla_workspace(be, &a);
    a.work.data = malloc(a.work.bytes + 1);
    if (a.work.data)
        kl_mla(be, &a, NULL);
    free(a.work.data);
    return kl_mla_bwd_workspace(be, &call->mla_bwd);
}

static kl_status run(const struct ka_case *c, const kl_backend *be, union ka_call *call, kl_workspace work,
                     kl_error *err)
{
    if (c->pass == KA_BACKWARD) {
        call->mla_bwd.work = work;
        return kl_mla_bwd(be, &call->mla_bwd, err);
    }
    call->mla.work = work;
    return kl_mla(be, &call->mla, err);
}

const struct ka_timed ka_timed_mla = {
    .name = "mla",
    .main = true,
    .has_cache = true,
    .passes = 1 << KA_FORWARD | 1 << KA_BACKWARD | 1 << KA_STEP,
    .head = head,
    .cost = cost,
    .prepare = prepare,
    .run = run,
};
