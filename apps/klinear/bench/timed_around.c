/* What stands around the mixers.  Per token and head, so that a layer can be added up: the width is heads times dim.
 * None of them has a step: one token is T = 1.
 * Operations are counted by element, one for an exponential; most of these are bound by memory. */
#include "timed.h"

/* Operations per element, tensors of the dtype read and written, gradients in f32. */
static struct ka_cost per_element(const struct ka_stage *s, const struct ka_case *c, double flops, double tensors,
                                  double gradients)
{
    double elements = (double)c->T * (double)s->heads * (double)s->dim;
    return (struct ka_cost){.tokens = c->T,
                            .flops = flops * elements,
                            .bytes = elements * (tensors * (double)kl_dtype_bytes(c->dtype) + 4 * gradients)};
}

/* Outputs are copy 0, gradients 2 and up; inputs that are alike differ by their copy. */
static kl_tensor input(struct ka_stage *s, const struct ka_case *c, enum ka_data data, int copy)
{
    return ka_stage_heads(s, data, copy, c->dtype, c->rows, c->T, s->dim);
}

static kl_tensor gradient(struct ka_stage *s, const struct ka_case *c, int copy)
{
    return ka_stage_heads(s, KA_ZERO, copy, KL_F32, c->rows, c->T, s->dim);
}

/* [T][heads][dim] as [T][heads dim]. */
static kl_tensor flat(kl_tensor x)
{
    return kl_view2(x.data, x.dtype, x.dim[0], x.dim[1] * x.dim[2]);
}

/* ---- L2 norm: a square and a sum, a product; backward two sums and four operations on each element */

static struct ka_cost l2norm_cost(const struct ka_stage *s, const struct ka_case *c)
{
    return c->pass == KA_BACKWARD ? per_element(s, c, 7, 2, 1) : per_element(s, c, 3, 2, 0);
}

static size_t l2norm_prepare(struct ka_stage *s, const struct ka_case *c, const kl_backend *be, union ka_call *call)
{
    kl_l2norm_args a = {.x = input(s, c, KA_VALUE, 0)};
    if (c->pass == KA_FORWARD) {
        a.y = input(s, c, KA_ZERO, 0);
        call->l2norm = a;
        return s->failed ? 0 : kl_l2norm_workspace(be, &call->l2norm);
    }
    call->l2norm_bwd = (kl_l2norm_bwd_args){
        .fwd = a,
        .d_y = input(s, c, KA_NORMAL, 0),
        .d_x = gradient(s, c, 2),
    };
    return s->failed ? 0 : kl_l2norm_bwd_workspace(be, &call->l2norm_bwd);
}

static kl_status l2norm_run(const struct ka_case *c, const kl_backend *be, union ka_call *call, kl_workspace work,
                            kl_error *err)
{
    if (c->pass == KA_BACKWARD) {
        call->l2norm_bwd.work = work;
        return kl_l2norm_bwd(be, &call->l2norm_bwd, err);
    }
    call->l2norm.work = work;
    return kl_l2norm(be, &call->l2norm, err);
}

const struct ka_timed ka_timed_l2norm = {
    .name = "l2norm",
    .passes = 1 << KA_FORWARD | 1 << KA_BACKWARD,
    .head = ka_square_head,
    .cost = l2norm_cost,
    .prepare = l2norm_prepare,
    .run = l2norm_run,
};

/* ---- RMSNorm of every head with a sigmoid gate: KDA's output norm */

static struct ka_cost rmsnorm_cost(const struct ka_stage *s, const struct ka_case *c)
{
    return c->pass == KA_BACKWARD ? per_element(s, c, 16, 3, 2) : per_element(s, c, 7, 3, 0);
}

static size_t rmsnorm_prepare(struct ka_stage *s, const struct ka_case *c, const kl_backend *be, union ka_call *call)
{
    kl_rmsnorm_args a = {
        .x = input(s, c, KA_VALUE, 0),
        .w = kl_view1(ka_stage_data(s, KA_NORMAL, 4, KL_F32, 1, s->dim), KL_F32, s->dim),
        .z = input(s, c, KA_NORMAL, 1),
        .act = KL_ACT_SIGMOID,
    };
    if (c->pass == KA_FORWARD) {
        a.y = input(s, c, KA_ZERO, 0);
        call->rmsnorm = a;
        return s->failed ? 0 : kl_rmsnorm_workspace(be, &call->rmsnorm);
    }
    call->rmsnorm_bwd = (kl_rmsnorm_bwd_args){
        .fwd = a,
        .d_y = input(s, c, KA_NORMAL, 0),
        .d_x = gradient(s, c, 2),
        .d_w = kl_view1(ka_stage_data(s, KA_ZERO, 20, KL_F32, 1, s->dim), KL_F32, s->dim),
        .d_z = gradient(s, c, 3),
    };
    return s->failed ? 0 : kl_rmsnorm_bwd_workspace(be, &call->rmsnorm_bwd);
}

static kl_status rmsnorm_run(const struct ka_case *c, const kl_backend *be, union ka_call *call, kl_workspace work,
                             kl_error *err)
{
    if (c->pass == KA_BACKWARD) {
        call->rmsnorm_bwd.work = work;
        return kl_rmsnorm_bwd(be, &call->rmsnorm_bwd, err);
    }
    call->rmsnorm.work = work;
    return kl_rmsnorm(be, &call->rmsnorm, err);
}

const struct ka_timed ka_timed_rmsnorm = {
    .name = "rmsnorm",
    .passes = 1 << KA_FORWARD | 1 << KA_BACKWARD,
    .head = ka_square_head,
    .cost = rmsnorm_cost,
    .prepare = rmsnorm_prepare,
    .run = rmsnorm_run,
};

/* ---- SwiGLU */

static struct ka_cost swiglu_cost(const struct ka_stage *s, const struct ka_case *c)
{
    return c->pass == KA_BACKWARD ? per_element(s, c, 10, 3, 2) : per_element(s, c, 5, 3, 0);
}

static size_t swiglu_prepare(struct ka_stage *s, const struct ka_case *c, const kl_backend *be, union ka_call *call)
{
    kl_swiglu_args a = {.gate = flat(input(s, c, KA_NORMAL, 1)), .up = flat(input(s, c, KA_NORMAL, 0))};
    if (c->pass == KA_FORWARD) {
        a.y = flat(input(s, c, KA_ZERO, 0));
        call->swiglu = a;
        return s->failed ? 0 : kl_swiglu_workspace(be, &call->swiglu);
    }
    call->swiglu_bwd = (kl_swiglu_bwd_args){
        .fwd = a,
        .d_y = flat(input(s, c, KA_VALUE, 0)),
        .d_gate = flat(gradient(s, c, 2)),
        .d_up = flat(gradient(s, c, 3)),
    };
    return s->failed ? 0 : kl_swiglu_bwd_workspace(be, &call->swiglu_bwd);
}

static kl_status swiglu_run(const struct ka_case *c, const kl_backend *be, union ka_call *call, kl_workspace work,
                            kl_error *err)
{
    if (c->pass == KA_BACKWARD) {
        call->swiglu_bwd.work = work;
        return kl_swiglu_bwd(be, &call->swiglu_bwd, err);
    }
    call->swiglu.work = work;
    return kl_swiglu(be, &call->swiglu, err);
}

const struct ka_timed ka_timed_swiglu = {
    .name = "swiglu",
    .passes = 1 << KA_FORWARD | 1 << KA_BACKWARD,
    .head = ka_square_head,
    .cost = swiglu_cost,
    .prepare = swiglu_prepare,
    .run = swiglu_run,
};

/* ---- rotary positions, in place: four products and two sums for a pair; backward the same */

static struct ka_cost rope_cost(const struct ka_stage *s, const struct ka_case *c)
{
    return per_element(s, c, 3, 2, 0);
}

static size_t rope_prepare(struct ka_stage *s, const struct ka_case *c, const kl_backend *be, union ka_call *call)
{
    int64_t *position = ka_stage_data(s, KA_ZERO, 31, KL_I32, 2 * c->rows, 1); /* two of 32 bits for one of 64 */
    for (int64_t t = 0; position && t < c->T; t++)
        position[t] = t;
    call->rope = (kl_rope_args){.x = input(s, c, KA_VALUE, 2), .position = position, .n_rot = (int)(s->dim / 2 * 2)};
    return s->failed               ? 0
           : c->pass == KA_FORWARD ? kl_rope_workspace(be, &call->rope)
                                   : kl_rope_bwd_workspace(be, &call->rope);
}

static kl_status rope_run(const struct ka_case *c, const kl_backend *be, union ka_call *call, kl_workspace work,
                          kl_error *err)
{
    call->rope.work = work;
    return c->pass == KA_FORWARD ? kl_rope(be, &call->rope, err) : kl_rope_bwd(be, &call->rope, err);
}

const struct ka_timed ka_timed_rope = {
    .name = "rope",
    .passes = 1 << KA_FORWARD | 1 << KA_BACKWARD,
    .head = ka_square_head,
    .cost = rope_cost,
    .prepare = rope_prepare,
    .run = rope_run,
};
