/* With p a pair (t, j) of token and expert, g = w_gate x, u = w_up x, h = silu(g) . u and y_t = sum_j w_p w_down h_p:
 *      dh_p = w_down^T dy_t          d_weight_p = dh_p . h_p           d_w_down += dy_t (w_p h_p)^T
 *      dg_p, du_p = swiglu'(w_p dh_p)        d_w_gate += dg_p x^T,  d_w_up += du_p x^T
 *      d_x_t = sum_j (w_gate^T dg_p + w_up^T du_p)
 * g, u and h are computed again.  (dh_p . h_p is dy_t . (w_down h_p) without that product.) */
#include "base/pool.h"
#include "cpu/cpu_backend.h"
#include "cpu/experts.h"
#include "tensor/tensor.h"

struct backward {
    struct kl__experts s;
    const kl_experts_bwd_args *b;
    float *dy;     /* [n_pair][D], d_x of the pair in the end */
    float *h, *dh; /* [n_pair][F] */
};

static struct backward carve(struct kl__carver *c, const kl_backend *be, const kl_experts_bwd_args *b)
{
    struct backward bwd = {.s = kl__carve_experts(c, be, &b->fwd), .b = b};
    bwd.dy = kl__carve_lines(c, &bwd.s, bwd.s.n_out);
    bwd.h = kl__carve_lines(c, &bwd.s, bwd.s.n_hidden);
    bwd.dh = kl__carve_lines(c, &bwd.s, bwd.s.n_hidden);
    return bwd;
}

/* Everything of one pair that is not a product of matrices: h becomes w h, gate and up become their gradients. */
static void pair_task(void *arg, int64_t row, int thread)
{
    (void)thread;
    const struct backward *bwd = arg;
    const struct kl__kernels *k = kl__cpu_kernels(bwd->s.be);
    int64_t n = bwd->s.n_hidden, pair = bwd->s.rows.pair[row], t = pair / bwd->s.rows.topk, j = pair % bwd->s.rows.topk;
    float *gate = bwd->s.gate + row * n, *up = bwd->s.up + row * n, *h = bwd->h + row * n, *dh = bwd->dh + row * n;
    float w = ((const float *)kl__row(bwd->b->fwd.weight, t))[j];
    double d_weight = 0;
    k->swiglu_row(h, gate, up, n);
    for (int64_t i = 0; i < n; i++) {
        d_weight += (double)dh[i] * h[i];
        h[i] *= w;
        dh[i] *= w;
    }
    if (kl__present(bwd->b->d_weight))
        ((float *)kl__row(bwd->b->d_weight, t))[j] = (float)d_weight;
    k->swiglu_row_bwd(gate, up, dh, gate, up, n);
}

static void push_weights(struct backward *bwd, int64_t e)
{
    struct kl__experts *s = &bwd->s;
    const kl_experts_bwd_args *b = bwd->b;
    if (kl__present(b->d_w_down))
        kl__push_weight(s, e, b->d_w_down, kl__expert_lines(s, bwd->dy, e, s->n_out, true),
                        kl__expert_lines(s, bwd->h, e, s->n_hidden, true));
    if (kl__present(b->d_w_gate))
        kl__push_weight(s, e, b->d_w_gate, kl__expert_lines(s, s->gate, e, s->n_hidden, true),
                        kl__expert_x(s, e, true));
    if (kl__present(b->d_w_up))
        kl__push_weight(s, e, b->d_w_up, kl__expert_lines(s, s->up, e, s->n_hidden, true), kl__expert_x(s, e, true));
}

/* to (+)= w^T from, for every expert: w [E][k][n]. */
static void multiply_transposed(struct kl__experts *s, float *to, const float *from, kl_tensor w, bool add)
{
    int64_t k = w.dim[1], n = w.dim[2];
    for (int64_t e = 0; e < s->rows.n_expert; e++)
        if (kl__expert_n_row(s, e) > 0)
            kl__push_lines(s, e, to, n, k, kl__expert_lines(s, from, e, k, false), kl__expert_weight(w, e, true), add);
    kl__run_pushed(s);
}

kl_status kl__cpu_experts_bwd(const kl_backend *be, const kl_experts_bwd_args *b, kl_error *err)
{
    (void)err;
    struct kl__carver c = kl__carver(b->work);
    struct backward bwd = carve(&c, be, b);
    struct kl__experts *s = &bwd.s;
    kl__project_experts(s);
    kl__gather_expert_rows(be, &s->rows, bwd.dy, b->d_y);
    multiply_transposed(s, bwd.dh, bwd.dy, b->fwd.w_down, false);
    kl__pool_run(be->pool, s->rows.n_pair, pair_task, &bwd);
    for (int64_t e = 0; e < s->rows.n_expert; e++)
        if (kl__expert_n_row(s, e) > 0)
            push_weights(&bwd, e);
    kl__run_pushed(s);
    if (kl__present(b->d_x)) {
        float *dx = bwd.dy; /* dy has been used */
        multiply_transposed(s, dx, s->gate, b->fwd.w_gate, false);
        multiply_transposed(s, dx, s->up, b->fwd.w_up, true);
        kl__combine_expert_rows(be, &s->rows, b->d_x, dx, (kl_tensor){0}, false);
    }
    return KL_OK;
}

size_t kl__cpu_experts_bwd_workspace(const kl_backend *be, const kl_experts_bwd_args *b)
{
    struct kl__carver c = {0};
    carve(&c, be, b);
    return kl__carver_need(&c);
}
