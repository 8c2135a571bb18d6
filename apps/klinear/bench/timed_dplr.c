/* General diagonal-plus-low-rank delta rule, fed with KDA's own numbers: a = beta k, b = exp(g) k, write key beta k, so
 * that both compute the same outputs.  Its operations are counted as KDA's (7 K V forward, 15 K V backward), so that
 * GFLOP/s compare like times; its own definition reads with b and writes twice: 9 K V. */
#include "timed.h"

static struct ka_cost cost(const struct ka_stage *s, const struct ka_case *c)
{
    double H = (double)s->heads, D = (double)s->dim, T = c->pass == KA_STEP ? 1 : (double)c->T;
    double e = (double)kl_dtype_bytes(c->dtype);
    struct ka_cost cost = {.tokens = c->pass == KA_STEP ? 1 : c->T,
                           .flops = (c->pass == KA_BACKWARD ? 15 : 7) * D * D * T * H};
    if (c->pass == KA_STEP) {
        cost.bytes = 2 * 4 * D * D * H;
        cost.updates = true;
    } else if (c->pass == KA_FORWARD)
        cost.bytes = T * H * D * (6 * e + 4);
    else
        cost.bytes = T * H * D * (6 * e + 4 + 6 * 4);
    return cost;
}

static size_t prepare(struct ka_stage *s, const struct ka_case *c, const kl_backend *be, union ka_call *call)
{
    bool step = c->pass == KA_STEP;
    int64_t T = step ? 1 : c->T, D = s->dim;
    kl_dplr_args a = {
        .q = ka_stage_heads(s, KA_QUERY, 0, c->dtype, c->rows, T, D),
        .k = ka_stage_heads(s, KA_BETA_KEY, 0, c->dtype, c->rows, T, D),
        .a = ka_stage_heads(s, KA_ERASE_WRITE, 0, c->dtype, c->rows, T, D),
        .b = ka_stage_heads(s, KA_ERASE_READ, 0, c->dtype, c->rows, T, D),
        .v = ka_stage_heads(s, KA_VALUE, 0, c->dtype, c->rows, T, D),
        .g = ka_stage_heads(s, KA_GATE, 0, KL_F32, c->rows, T, D),
        .path = step            ? KL_PATH_AUTO
                : c->chunk == 1 ? KL_PATH_RECURRENT
                                : KL_PATH_CHUNK,
        .chunk = c->chunk == 1 ? 0 : c->chunk,
    };
    if (c->pass != KA_BACKWARD) {
        a.o = ka_stage_heads(s, KA_ZERO, 0, c->dtype, c->rows, T, D);
        a.state_out = kl_view4(ka_stage_data(s, KA_ZERO, 1, KL_F32, s->heads, D * D), KL_F32, 1, s->heads, D, D);
        if (step)
            a.state_in = a.state_out;
        call->dplr = a;
        return s->failed ? 0 : kl_dplr_workspace(be, &call->dplr);
    }
    call->dplr_bwd = (kl_dplr_bwd_args){
        .fwd = a,
        .d_o = ka_stage_heads(s, KA_NORMAL, 0, c->dtype, c->rows, T, D),
        .d_q = ka_stage_heads(s, KA_ZERO, 2, KL_F32, c->rows, T, D),
        .d_k = ka_stage_heads(s, KA_ZERO, 3, KL_F32, c->rows, T, D),
        .d_v = ka_stage_heads(s, KA_ZERO, 4, KL_F32, c->rows, T, D),
        .d_g = ka_stage_heads(s, KA_ZERO, 5, KL_F32, c->rows, T, D),
        .d_a = ka_stage_heads(s, KA_ZERO, 7, KL_F32, c->rows, T, D),
        .d_b = ka_stage_heads(s, KA_ZERO, 8, KL_F32, c->rows, T, D),
    };
    return s->failed ? 0 : kl_dplr_bwd_workspace(be, &call->dplr_bwd);
}

static kl_status run(const struct ka_case *c, const kl_backend *be, union ka_call *call, kl_workspace work,
                     kl_error *err)
{
    if (c->pass == KA_BACKWARD) {
        call->dplr_bwd.work = work;
        return kl_dplr_bwd(be, &call->dplr_bwd, err);
    }
    call->dplr.work = work;
    return kl_dplr(be, &call->dplr, err);
}

const struct ka_timed ka_timed_dplr = {
    .name = "dplr",
    .main = true,
    .has_chunk = true,
    .passes = 1 << KA_FORWARD | 1 << KA_BACKWARD | 1 << KA_STEP,
    .head = ka_square_head,
    .cost = cost,
    .prepare = prepare,
    .run = run,
};
