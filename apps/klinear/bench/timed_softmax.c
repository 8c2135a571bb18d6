/* Operators with a growing cache.  Operations per query, head and row that it sees, K and V the sizes of a head:
 *     softmax, mla forward    score 2 K, sum of values 2 V           causal: T (T + 1) / 2 rows for T queries
 *     backward                twice the forward, without what is recomputed
 *     softmax step            as forward, T rows
 *     mla step                the absorbed form: score 2 (R + DR), sum of latents 2 R; bytes are latents and weights
 * MLA has the proportions of the released model: DN = DV = dim, DR = dim / 2, R = 4 dim. */
#include "timed.h"

#include <stdlib.h>

static double seen_rows(const struct ka_case *c)
{
    double T = (double)c->T;
    return c->pass == KA_STEP ? T : T * (T + 1) / 2;
}

static struct ka_cost cost(const struct ka_stage *s, const struct ka_case *c)
{
    double H = (double)s->heads, D = (double)s->dim, T = (double)c->T, e = (double)kl_dtype_bytes(c->dtype);
    double forward = 4 * D * seen_rows(c) * H;
    switch (c->pass) {
    case KA_STEP:
        return (struct ka_cost){.tokens = 1, .flops = forward, .bytes = 2 * T * H * D * e};
    case KA_BACKWARD: /* q, k, v, o, do; gradients in f32 */
        return (struct ka_cost){.tokens = c->T, .flops = 2 * forward, .bytes = T * H * D * (5 * e + 12)};
    default:
        return (struct ka_cost){.tokens = c->T, .flops = forward, .bytes = T * H * D * 4 * e};
    }
}

static size_t prepare(struct ka_stage *s, const struct ka_case *c, const kl_backend *be, union ka_call *call)
{
    int64_t Tq = c->pass == KA_STEP ? 1 : c->T, D = s->dim;
    kl_attention_args a = {
        .q = ka_stage_heads(s, KA_QUERY, 0, c->dtype, c->rows, Tq, D),
        .k = ka_stage_heads(s, KA_KEY, 0, c->dtype, c->rows, c->T, D),
        .v = ka_stage_heads(s, KA_VALUE, 0, c->dtype, c->rows, c->T, D),
        .causal = true,
    };
    if (c->pass != KA_BACKWARD) {
        a.o = ka_stage_heads(s, KA_ZERO, 0, c->dtype, c->rows, Tq, D);
        call->attention = a;
        return s->failed ? 0 : kl_attention_workspace(be, &call->attention);
    }
    a.o = ka_stage_heads(s, KA_ZERO, 10, c->dtype, c->rows, c->T, D);
    a.lse = ka_stage_rows(s, KA_ZERO, 11, KL_F32, c->rows, c->T, s->heads);
    call->attention_bwd = (kl_attention_bwd_args){
        .fwd = a,
        .d_o = ka_stage_heads(s, KA_NORMAL, 0, c->dtype, c->rows, c->T, D),
        .d_q = ka_stage_heads(s, KA_ZERO, 2, KL_F32, c->rows, c->T, D),
        .d_k = ka_stage_heads(s, KA_ZERO, 3, KL_F32, c->rows, c->T, D),
        .d_v = ka_stage_heads(s, KA_ZERO, 4, KL_F32, c->rows, c->T, D),
    };
    if (s->failed)
        return 0;
    /* The backward needs what the forward left in o and lse; those of fewer tokens are the first rows of these. */
    a.work.bytes = kl_attention_workspace(be, &a);
    a.work.data = malloc(a.work.bytes + 1);
    if (a.work.data)
        kl_attention(be, &a, NULL);
    free(a.work.data);
    return kl_attention_bwd_workspace(be, &call->attention_bwd);
}

static kl_status run(const struct ka_case *c, const kl_backend *be, union ka_call *call, kl_workspace work,
                     kl_error *err)
{
    if (c->pass == KA_BACKWARD) {
        call->attention_bwd.work = work;
        return kl_attention_bwd(be, &call->attention_bwd, err);
    }
    call->attention.work = work;
    return kl_attention(be, &call->attention, err);
}

const struct ka_timed ka_timed_softmax = {
    .name = "softmax",
    .main = true,
    .has_cache = true,
    .passes = 1 << KA_FORWARD | 1 << KA_BACKWARD | 1 << KA_STEP,
    .head = ka_square_head,
    .cost = cost,
    .prepare = prepare,
    .run = run,
};
