/* Operators with a matrix for a memory: KDA and what is a setting of it.
 *
 * Operations per token and value head, K V for the state, as the definition has them (docs/kda.md, "Cost"):
 *     forward, step   decay 1, read 2 (delta rule only), write 2, output 2      KDA, GDN 7; DeltaNet 6; GLA, Mamba2 5;
 *                                                                               linear attention 4
 *     backward        do into dS 2, dq 2, dk and dv 4, through the read 4 (delta rule only), dg 2 and decay 1
 *                                                                               KDA, GDN 15; DeltaNet 12; GLA, Mamba2
 *                                                                               11; linear attention 8
 * without what a backward recomputes.
 *
 * As training runs them: the forward keeps a state every 64 tokens, and the errors; the backward is given both. */
#include "timed.h"

#include "../cli/machine.h"

enum { KEEP_EVERY = 64 }; /* tokens */

struct kind {
    kl_rule rule;
    bool decays;   /* has a log decay ... */
    bool per_head; /* ... that is one number per head */
    bool has_beta;
    enum ka_data beta; /* where beta comes from */
};

static struct ka_cost cost(const struct ka_stage *s, const struct ka_case *c)
{
    const struct kind *kind = c->op->kind;
    double H = (double)s->heads, K = (double)s->dim, V = (double)s->dim, T = c->pass == KA_STEP ? 1 : (double)c->T;
    bool delta = kind->rule == KL_RULE_DELTA;
    bool backward = c->pass == KA_BACKWARD || c->pass == KA_KEPT;
    double per_state = backward ? 8 + 4 * delta + 3 * kind->decays : 4 + 2 * delta + kind->decays;
    double e = (double)kl_dtype_bytes(c->dtype);
    double decay_bytes = !kind->decays ? 0 : kind->per_head ? 4 : 4 * K, beta_bytes = kind->has_beta ? 4 : 0;
    struct ka_cost cost = {.tokens = c->pass == KA_STEP ? 1 : c->T, .flops = per_state * K * V * T * H};
    if (c->pass == KA_STEP) {
        cost.bytes = 2 * 4 * K * V * H;
        cost.updates = true;
    } else if (!backward)
        cost.bytes = T * H * (2 * K * e + 2 * V * e + decay_bytes + beta_bytes);
    else /* inputs and do; gradients in f32 */
        cost.bytes = T * H * (2 * K * e + 2 * V * e + 8 * K + 4 * V + 2 * (decay_bytes + beta_bytes));
    if (c->pass == KA_KEEPING || c->pass == KA_KEPT)
        cost.bytes += 4 * V * H * (T + K * (double)(c->T / KEEP_EVERY));
    return cost;
}

static kl_kda_args forward_args(struct ka_stage *s, const struct ka_case *c)
{
    const struct kind *kind = c->op->kind;
    bool step = c->pass == KA_STEP;
    int64_t T = step ? 1 : c->T, D = s->dim;
    kl_kda_args a = {
        .q = ka_stage_heads(s, KA_QUERY, 0, c->dtype, c->rows, T, D),
        .k = ka_stage_heads(s, KA_KEY, 0, c->dtype, c->rows, T, D),
        .v = ka_stage_heads(s, KA_VALUE, 0, c->dtype, c->rows, T, D),
        .rule = kind->rule,
        .operands = c->dtype == KL_BF16 ? KL_OPERANDS_BF16 : KL_OPERANDS_F32,
        .path = step            ? KL_PATH_AUTO
                : c->chunk == 1 ? KL_PATH_RECURRENT
                                : KL_PATH_CHUNK,
        .chunk = c->chunk == 1 ? 0 : c->chunk,
    };
    if (kind->decays)
        a.g = kind->per_head ? ka_stage_rows(s, KA_GATE_HEAD, 0, KL_F32, c->rows, T, s->heads)
                             : ka_stage_heads(s, KA_GATE, 0, KL_F32, c->rows, T, D);
    if (kind->has_beta)
        a.beta = ka_stage_rows(s, kind->beta, 0, KL_F32, c->rows, T, s->heads);
    return a;
}

static kl_tensor state(struct ka_stage *s)
{
    int64_t D = s->dim;
    return kl_view4(ka_stage_data(s, KA_ZERO, 1, KL_F32, s->heads, D * D), KL_F32, 1, s->heads, D, D);
}

/* The states and errors that are kept. */
static void keep(struct ka_stage *s, const struct ka_case *c, kl_kda_args *a)
{
    int64_t D = s->dim, n = c->T / KEEP_EVERY;
    a->e = ka_stage_heads(s, KA_ZERO, 7, KL_F32, c->rows, c->T, D);
    if (n == 0)
        return;
    a->snapshots = kl_view4(ka_stage_data(s, KA_ZERO, 8, KL_F32, c->rows / KEEP_EVERY, s->heads * D * D), KL_F32, n,
                            s->heads, D, D);
    a->snapshot_every = KEEP_EVERY;
}

/* Runs the forward, so that a backward finds what it has kept; arguments that it refuses, the backward will, too. */
static void fill_kept(struct ka_stage *s, const struct ka_case *c, const kl_backend *be, kl_kda_args a)
{
    a.o = ka_stage_heads(s, KA_ZERO, 0, c->dtype, c->rows, c->T, s->dim);
    if (s->failed)
        return;
    a.work.bytes = kl_kda_workspace(be, &a);
    a.work.data = ka_alloc(a.work.bytes);
    kl_error err;
    s->failed = !a.work.data;
    if (a.work.data)
        (void)kl_kda(be, &a, &err);
    ka_free(a.work.data, a.work.bytes);
}

static size_t prepare(struct ka_stage *s, const struct ka_case *c, const kl_backend *be, union ka_call *call)
{
    const struct kind *kind = c->op->kind;
    kl_kda_args a = forward_args(s, c);
    int64_t D = s->dim;
    if (c->pass == KA_KEEPING || c->pass == KA_KEPT)
        keep(s, c, &a);
    if (c->pass == KA_KEPT)
        fill_kept(s, c, be, a);
    if (c->pass != KA_BACKWARD && c->pass != KA_KEPT) {
        a.o = ka_stage_heads(s, KA_ZERO, 0, c->dtype, c->rows, a.v.dim[0], D);
        a.state_out = state(s);
        if (c->pass == KA_STEP) {
            a.state_in = a.state_out;
            a.state_layout = KL_LAYOUT_VK; /* as models keep it: one sweep of the state */
        }
        call->kda = a;
        return s->failed ? 0 : kl_kda_workspace(be, &call->kda);
    }
    kl_kda_bwd_args b = {
        .fwd = a,
        .d_o = ka_stage_heads(s, KA_NORMAL, 0, c->dtype, c->rows, c->T, D),
        .d_q = ka_stage_heads(s, KA_ZERO, 2, KL_F32, c->rows, c->T, D),
        .d_k = ka_stage_heads(s, KA_ZERO, 3, KL_F32, c->rows, c->T, D),
        .d_v = ka_stage_heads(s, KA_ZERO, 4, KL_F32, c->rows, c->T, D),
    };
    if (kind->decays)
        b.d_g = kind->per_head ? ka_stage_rows(s, KA_ZERO, 5, KL_F32, c->rows, c->T, s->heads)
                               : ka_stage_heads(s, KA_ZERO, 5, KL_F32, c->rows, c->T, D);
    if (kind->has_beta)
        b.d_beta = ka_stage_rows(s, KA_ZERO, 6, KL_F32, c->rows, c->T, s->heads);
    call->kda_bwd = b;
    return s->failed ? 0 : kl_kda_bwd_workspace(be, &call->kda_bwd);
}

static kl_status run(const struct ka_case *c, const kl_backend *be, union ka_call *call, kl_workspace work,
                     kl_error *err)
{
    if (c->pass == KA_BACKWARD || c->pass == KA_KEPT) {
        call->kda_bwd.work = work;
        return kl_kda_bwd(be, &call->kda_bwd, err);
    }
    call->kda.work = work;
    return kl_kda(be, &call->kda, err);
}

#define KIND(...)                                                                                                      \
    .kind = &(const struct kind)                                                                                       \
    {                                                                                                                  \
        __VA_ARGS__                                                                                                    \
    }
#define SHARED                                                                                                         \
    .main = true, .has_chunk = true,                                                                                   \
    .passes = 1 << KA_FORWARD | 1 << KA_BACKWARD | 1 << KA_KEEPING | 1 << KA_KEPT | 1 << KA_STEP,                      \
    .head = ka_square_head, .cost = cost, .prepare = prepare, .run = run

const struct ka_timed ka_timed_kda = {
    .name = "kda",
    KIND(.rule = KL_RULE_DELTA, .decays = true, .has_beta = true, .beta = KA_BETA),
    SHARED,
};
const struct ka_timed ka_timed_gdn = {
    .name = "gdn",
    KIND(.rule = KL_RULE_DELTA, .decays = true, .per_head = true, .has_beta = true, .beta = KA_BETA),
    SHARED,
};
const struct ka_timed ka_timed_deltanet = {
    .name = "deltanet",
    KIND(.rule = KL_RULE_DELTA, .has_beta = true, .beta = KA_BETA),
    SHARED,
};
const struct ka_timed ka_timed_mamba2 = {
    .name = "mamba2",
    KIND(.rule = KL_RULE_ADD, .decays = true, .per_head = true, .has_beta = true, .beta = KA_DELTA_TIME),
    SHARED,
};
const struct ka_timed ka_timed_gla = {
    .name = "gla",
    KIND(.rule = KL_RULE_ADD, .decays = true),
    SHARED,
};
const struct ka_timed ka_timed_linear = {
    .name = "linear",
    KIND(.rule = KL_RULE_ADD),
    SHARED,
};
