/* With p a pair (t, j) of token and expert, g = w_gate x, u = w_up x, h = silu(g) . u and y_t = sum_j w_p w_down h_p:
 *      dh_p = w_down^T dy_t          d_weight_p = dh_p . h_p           d_w_down += dy_t (w_p h_p)^T
 *      dg_p, du_p = swiglu'(w_p dh_p)        d_w_gate += dg_p x^T,  d_w_up += du_p x^T
 *      d_x_t = sum_j (w_gate^T dg_p + w_up^T du_p)
 * g, u and h are computed again.  (dh_p . h_p is dy_t . (w_down h_p) without that product.)  A chunk of rows goes
 * through all but the gradients of the weights in one task; those sum over all rows of an expert, and follow. */
#include "base/pool.h"
#include "cpu/cpu_backend.h"
#include "cpu/experts.h"
#include "tensor/tensor.h"

struct backward {
    struct kl__experts s;
    const kl_experts_bwd_args *b;
    void *x;               /* [n_pair][D], of x's type */
    float *dy;             /* [n_pair][D] */
    float *gate, *up;      /* [n_pair][F], their gradients in the end */
    float *h;              /* [n_pair][F], times w in the end */
    float *dx;             /* [n_pair][D] */
    struct kl__gemm *gemm; /* room for three products of each expert that can have rows */
    int64_t n_gemm;
    kl_workspace gemm_work;
    char *own; /* of thread 0 */
    size_t own_bytes;
};

/* Scratch of one thread. */
struct own {
    void *gemm;
    float *dh; /* [KL__CHUNK_ROWS][F] */
};

static struct own carve_own(struct kl__carver *c, const struct kl__experts *s)
{
    struct own own = {.gemm = kl__carve(c, 1, kl__gemm_scratch(kl__cpu_kernels(s->be)))};
    own.dh = kl__carve(c, KL__CHUNK_ROWS * (size_t)s->n_hidden, sizeof(float));
    return own;
}

static struct backward carve(struct kl__carver *c, const kl_backend *be, const kl_experts_bwd_args *b)
{
    struct backward bwd = {.s = kl__carve_experts(c, be, &b->fwd), .b = b};
    const struct kl__experts *s = &bwd.s;
    int64_t n_busy = s->rows.n_pair < s->rows.n_expert ? s->rows.n_pair : s->rows.n_expert;
    bwd.gemm = kl__carve(c, (size_t)n_busy, 3 * sizeof *bwd.gemm);
    bwd.x = kl__carve_lines(c, s, s->n_out);
    bwd.dy = kl__carve_lines(c, s, s->n_out);
    bwd.dx = kl__carve_lines(c, s, s->n_out);
    bwd.gate = kl__carve_lines(c, s, s->n_hidden);
    bwd.up = kl__carve_lines(c, s, s->n_hidden);
    bwd.h = kl__carve_lines(c, s, s->n_hidden);
    /* Chunks and the gradients of the weights use the same scratch, one after the other. */
    struct kl__carver one = {0};
    carve_own(&one, s);
    bwd.own_bytes = one.bytes;
    size_t own = (size_t)kl_pool_threads(be->pool) * one.bytes;
    bwd.gemm_work.bytes = kl__gemm_workspace(be);
    bwd.own = kl__carve(c, 1, own > bwd.gemm_work.bytes ? own : bwd.gemm_work.bytes);
    bwd.gemm_work.data = bwd.own;
    return bwd;
}

/* h and dh times w; returns their product before that, in a few sums that go on side by side. */
static double weigh(float *restrict h, float *restrict dh, float w, int64_t n)
{
    enum { SUMS = 8 };
    double sum[SUMS] = {0};
    int64_t i = 0;
    for (; i + SUMS <= n; i += SUMS)
        for (int j = 0; j < SUMS; j++)
            sum[j] += (double)(dh[i + j] * h[i + j]);
    for (; i < n; i++)
        sum[0] += (double)(dh[i] * h[i]);
    for (i = 0; i < n; i++) {
        h[i] *= w;
        dh[i] *= w;
    }
    return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
}

/* Everything of one pair that is not a product of matrices: h becomes w h, gate and up become their gradients. */
static void run_pair(const struct backward *bwd, int64_t row, float *dh)
{
    const struct kl__kernels *k = kl__cpu_kernels(bwd->s.be);
    int64_t n = bwd->s.n_hidden, pair = bwd->s.rows.pair[row], t = pair / bwd->s.rows.topk, j = pair % bwd->s.rows.topk;
    float *gate = bwd->gate + row * n, *up = bwd->up + row * n, *h = bwd->h + row * n;
    k->swiglu_row(h, gate, up, n);
    double d_weight = weigh(h, dh, ((const float *)kl__row(bwd->b->fwd.weight, t))[j], n);
    if (kl__present(bwd->b->d_weight))
        ((float *)kl__row(bwd->b->d_weight, t))[j] = (float)d_weight;
    k->swiglu_row_bwd(gate, up, dh, gate, up, n);
}

static void *line_of_x(const struct backward *bwd, int64_t row)
{
    return (char *)bwd->x + (size_t)(row * bwd->s.n_out) * kl_dtype_bytes(bwd->b->fwd.x.dtype);
}

static void chunk_task(void *arg, int64_t task, int thread)
{
    const struct backward *bwd = arg;
    const struct kl__experts *s = &bwd->s;
    const kl_experts_args *a = s->a;
    struct kl__carver own_carver = {.base = bwd->own + (size_t)thread * bwd->own_bytes};
    struct own own = carve_own(&own_carver, s);
    struct kl__chunk c = kl__chunk_of(&s->rows, task);
    int64_t D = s->n_out, F = s->n_hidden, e = c.expert;
    float *gate = bwd->gate + c.first * F, *up = bwd->up + c.first * F, *dx = bwd->dx + c.first * D;
    float *dy = bwd->dy + c.first * D;
    kl__gather_some_rows(&s->rows, line_of_x(bwd, c.first), a->x, c.first, c.n);
    kl__gather_some_rows(&s->rows, dy, bwd->b->d_y, c.first, c.n);
    struct kl__matrix x = kl__lines(line_of_x(bwd, c.first), a->x.dtype, D);
    kl__chunk_product(s, c, gate, F, D, x, kl__expert_weight(a->w_gate, e, false), false, own.gemm);
    kl__chunk_product(s, c, up, F, D, x, kl__expert_weight(a->w_up, e, false), false, own.gemm);
    kl__chunk_product(s, c, own.dh, F, D, kl__lines(dy, KL_F32, D), kl__expert_weight(a->w_down, e, true), false,
                      own.gemm);
    for (int64_t i = 0; i < c.n; i++)
        run_pair(bwd, c.first + i, own.dh + i * F);
    if (!kl__present(bwd->b->d_x))
        return;
    kl__chunk_product(s, c, dx, D, F, kl__lines(gate, KL_F32, F), kl__expert_weight(a->w_gate, e, true), false,
                      own.gemm);
    kl__chunk_product(s, c, dx, D, F, kl__lines(up, KL_F32, F), kl__expert_weight(a->w_up, e, true), true, own.gemm);
}

/* Puts on the list  matrix e of d_w [E][m][n] += a b^T,  summed over the rows of expert e. */
static void push_weight(struct backward *bwd, int64_t e, kl_tensor d_w, struct kl__matrix a, struct kl__matrix b)
{
    if (!kl__present(d_w))
        return;
    a.transposed = b.transposed = true;
    bwd->gemm[bwd->n_gemm++] = (struct kl__gemm){.m = d_w.dim[1],
                                                 .n = d_w.dim[2],
                                                 .k = bwd->s.rows.start[e + 1] - bwd->s.rows.start[e],
                                                 .a = a,
                                                 .b = b,
                                                 .c = kl__row(d_w, e),
                                                 .c_pitch = d_w.dim[2],
                                                 .add = true};
}

static void push_weights(struct backward *bwd, int64_t e)
{
    const kl_experts_bwd_args *b = bwd->b;
    int64_t first = bwd->s.rows.start[e], D = bwd->s.n_out, F = bwd->s.n_hidden;
    struct kl__matrix x = kl__lines(line_of_x(bwd, first), b->fwd.x.dtype, D);
    push_weight(bwd, e, b->d_w_down, kl__lines(bwd->dy + first * D, KL_F32, D),
                kl__lines(bwd->h + first * F, KL_F32, F));
    push_weight(bwd, e, b->d_w_gate, kl__lines(bwd->gate + first * F, KL_F32, F), x);
    push_weight(bwd, e, b->d_w_up, kl__lines(bwd->up + first * F, KL_F32, F), x);
}

kl_status kl__cpu_experts_bwd(const kl_backend *be, const kl_experts_bwd_args *b, kl_error *err)
{
    (void)err;
    struct kl__carver c = kl__carver(b->work);
    struct backward bwd = carve(&c, be, b);
    const struct kl__expert_rows *rows = &bwd.s.rows;
    kl__sort_expert_rows(rows, b->fwd.id);
    kl__pool_run(be->pool, kl__n_chunk(rows), chunk_task, &bwd);
    for (int64_t e = 0; e < rows->n_expert; e++)
        if (rows->start[e + 1] > rows->start[e])
            push_weights(&bwd, e);
    kl__gemm_run(be, bwd.gemm, bwd.n_gemm, bwd.gemm_work);
    if (kl__present(b->d_x))
        kl__combine_expert_rows(be, rows, b->d_x, bwd.dx, (kl_tensor){0}, false);
    return KL_OK;
}

size_t kl__cpu_experts_bwd_workspace(const kl_backend *be, const kl_experts_bwd_args *b)
{
    struct kl__carver c = {0};
    carve(&c, be, b);
    return kl__carver_need(&c);
}
