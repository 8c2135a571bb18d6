/* Layers with weights: per token and head, of a width of heads times dim, so that a block can be added up. */
#include "timed_rows.h"

/* [n][m], weights of the dtype, or their gradient. */
static kl_tensor weights(struct ka_stage *s, kl_dtype dtype, enum ka_data data, int copy, int64_t n, int64_t m)
{
    return kl_view2(ka_stage_data(s, data, copy, dtype, n, m), dtype, n, m);
}

/* ---- short convolution: 4 taps and SiLU; backward: through SiLU (6), to the input and to the taps */

static struct ka_cost short_conv_cost(const struct ka_stage *s, const struct ka_case *c)
{
    double elements = (double)c->T * (double)width(s), e = (double)kl_dtype_bytes(c->dtype);
    bool backward = c->pass == KA_BACKWARD;
    return (struct ka_cost){
        .tokens = c->T, .flops = (backward ? 22 : 10) * elements, .bytes = (backward ? 2 * e + 4 : 2 * e) * elements};
}

static size_t short_conv_prepare(struct ka_stage *s, const struct ka_case *c, const kl_backend *be, union ka_call *call)
{
    int64_t W = width(s);
    kl_short_conv_args a = {
        .x = rows(s, c, KA_NORMAL, 0, W),
        .w = weights(s, c->dtype, KA_WEIGHT, 4, W, 4),
        .act = KL_ACT_SILU,
    };
    if (c->pass == KA_FORWARD) {
        a.y = rows(s, c, KA_ZERO, 0, W);
        call->short_conv = a;
        return s->failed ? 0 : kl_short_conv_workspace(be, &call->short_conv);
    }
    call->short_conv_bwd = (kl_short_conv_bwd_args){
        .fwd = a,
        .d_y = rows(s, c, KA_NORMAL, 1, W),
        .d_x = gradient(s, c, 2, W),
        .d_w = weights(s, KL_F32, KA_ZERO, 21, W, 4),
    };
    return s->failed ? 0 : kl_short_conv_bwd_workspace(be, &call->short_conv_bwd);
}

static kl_status short_conv_run(const struct ka_case *c, const kl_backend *be, union ka_call *call, kl_workspace work,
                                kl_error *err)
{
    if (c->pass == KA_BACKWARD) {
        call->short_conv_bwd.work = work;
        return kl_short_conv_bwd(be, &call->short_conv_bwd, err);
    }
    call->short_conv.work = work;
    return kl_short_conv(be, &call->short_conv, err);
}

const struct ka_timed ka_timed_short_conv = {
    .name = "short_conv",
    PASSES,
    .cost = short_conv_cost,
    .prepare = short_conv_prepare,
    .run = short_conv_run,
};

/* ---- linear layer: as many outputs as inputs; backward: to the input and to the weights */

static struct ka_cost linear_layer_cost(const struct ka_stage *s, const struct ka_case *c)
{
    double T = (double)c->T, W = (double)width(s), e = (double)kl_dtype_bytes(c->dtype), forward = 2 * T * W * W;
    if (c->pass == KA_FORWARD)
        return (struct ka_cost){.tokens = c->T, .flops = forward, .bytes = (2 * T * W + W * W) * e};
    return (struct ka_cost){
        .tokens = c->T, .flops = 2 * forward, .bytes = (2 * T * W + W * W) * e + (T * W + 2 * W * W) * 4};
}

static size_t linear_layer_prepare(struct ka_stage *s, const struct ka_case *c, const kl_backend *be,
                                   union ka_call *call)
{
    int64_t W = width(s);
    kl_linear_args a = {.x = rows(s, c, KA_NORMAL, 0, W), .w = weights(s, c->dtype, KA_WEIGHT, 5, W, W)};
    if (c->pass == KA_FORWARD) {
        a.y = rows(s, c, KA_ZERO, 0, W);
        call->linear = a;
        return s->failed ? 0 : kl_linear_workspace(be, &call->linear);
    }
    call->linear_bwd = (kl_linear_bwd_args){
        .fwd = a,
        .d_y = rows(s, c, KA_NORMAL, 1, W),
        .d_x = gradient(s, c, 2, W),
        .d_w = weights(s, KL_F32, KA_ZERO, 22, W, W),
    };
    return s->failed ? 0 : kl_linear_bwd_workspace(be, &call->linear_bwd);
}

static kl_status linear_layer_run(const struct ka_case *c, const kl_backend *be, union ka_call *call, kl_workspace work,
                                  kl_error *err)
{
    if (c->pass == KA_BACKWARD) {
        call->linear_bwd.work = work;
        return kl_linear_bwd(be, &call->linear_bwd, err);
    }
    call->linear.work = work;
    return kl_linear(be, &call->linear, err);
}

const struct ka_timed ka_timed_linear_layer = {
    .name = "linear_layer",
    PASSES,
    .cost = linear_layer_cost,
    .prepare = linear_layer_prepare,
    .run = linear_layer_run,
};

/* ---- cross-entropy over as many classes as the width: maximum, difference, exponential, sum; backward: exponential,
 * difference, product */

static struct ka_cost cross_entropy_cost(const struct ka_stage *s, const struct ka_case *c)
{
    double elements = (double)c->T * (double)width(s), e = (double)kl_dtype_bytes(c->dtype);
    bool backward = c->pass == KA_BACKWARD;
    return (struct ka_cost){
        .tokens = c->T, .flops = (backward ? 3 : 4) * elements, .bytes = (backward ? e + 4 : e) * elements};
}

static size_t cross_entropy_prepare(struct ka_stage *s, const struct ka_case *c, const kl_backend *be,
                                    union ka_call *call)
{
    int64_t W = width(s);
    s->n_label = W;
    kl_cross_entropy_args a = {
        .logits = rows(s, c, KA_NORMAL, 0, W),
        .label = kl_view1(ka_stage_data(s, KA_LABEL, 0, KL_I32, c->rows, 1), KL_I32, c->T),
        .loss = kl_view1(ka_stage_data(s, KA_ZERO, 28, KL_F32, c->rows, 1), KL_F32, c->T),
        .lse = kl_view1(ka_stage_data(s, KA_ZERO, 29, KL_F32, c->rows, 1), KL_F32, c->T),
    };
    if (c->pass == KA_FORWARD) {
        call->cross_entropy = a;
        return s->failed ? 0 : kl_cross_entropy_workspace(be, &call->cross_entropy);
    }
    call->cross_entropy_bwd = (kl_cross_entropy_bwd_args){.fwd = a, .d_logits = gradient(s, c, 2, W)};
    return s->failed ? 0 : kl_cross_entropy_bwd_workspace(be, &call->cross_entropy_bwd);
}

static kl_status cross_entropy_run(const struct ka_case *c, const kl_backend *be, union ka_call *call,
                                   kl_workspace work, kl_error *err)
{
    if (c->pass == KA_BACKWARD) {
        call->cross_entropy_bwd.work = work;
        return kl_cross_entropy_bwd(be, &call->cross_entropy_bwd, err);
    }
    call->cross_entropy.work = work;
    return kl_cross_entropy(be, &call->cross_entropy, err);
}

const struct ka_timed ka_timed_cross_entropy = {
    .name = "cross_entropy",
    PASSES,
    .cost = cross_entropy_cost,
    .prepare = cross_entropy_prepare,
    .run = cross_entropy_run,
};

/* ---- embedding: rows of a table of 4096; backward: their gradients are added up */

enum { N_ROW = 4096 };

static struct ka_cost embedding_cost(const struct ka_stage *s, const struct ka_case *c)
{
    double elements = (double)c->T * (double)width(s), e = (double)kl_dtype_bytes(c->dtype);
    bool backward = c->pass == KA_BACKWARD;
    return (struct ka_cost){
        .tokens = c->T, .flops = backward ? elements : 0, .bytes = (backward ? e + 8 : 2 * e) * elements};
}

static size_t embedding_prepare(struct ka_stage *s, const struct ka_case *c, const kl_backend *be, union ka_call *call)
{
    int64_t W = width(s);
    s->n_label = N_ROW;
    kl_embedding_args a = {
        .table = weights(s, c->dtype, KA_WEIGHT, 9, N_ROW, W),
        .id = kl_view1(ka_stage_data(s, KA_LABEL, 1, KL_I32, c->rows, 1), KL_I32, c->T),
    };
    if (c->pass == KA_FORWARD) {
        a.y = rows(s, c, KA_ZERO, 0, W);
        call->embedding = a;
        return s->failed ? 0 : kl_embedding_workspace(be, &call->embedding);
    }
    call->embedding_bwd = (kl_embedding_bwd_args){
        .fwd = a,
        .d_y = rows(s, c, KA_NORMAL, 1, W),
        .d_table = weights(s, KL_F32, KA_ZERO, 30, N_ROW, W),
    };
    return s->failed ? 0 : kl_embedding_bwd_workspace(be, &call->embedding_bwd);
}

static kl_status embedding_run(const struct ka_case *c, const kl_backend *be, union ka_call *call, kl_workspace work,
                               kl_error *err)
{
    if (c->pass == KA_BACKWARD) {
        call->embedding_bwd.work = work;
        return kl_embedding_bwd(be, &call->embedding_bwd, err);
    }
    call->embedding.work = work;
    return kl_embedding(be, &call->embedding, err);
}

const struct ka_timed ka_timed_embedding = {
    .name = "embedding",
    PASSES,
    .cost = embedding_cost,
    .prepare = embedding_prepare,
    .run = embedding_run,
};
