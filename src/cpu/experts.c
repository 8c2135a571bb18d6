/* Routed experts.  The choices (token, j) are sorted by expert into rows, so that each expert is a matrix product over
 * its rows and its weights are read once:
 *
 *     rows <- tokens;   g = rows w_gate^T,  u = rows w_up^T;   h = silu(g) . u;   out = h w_down^T
 *     y_t = sum_j weight_tj out[row of (t, j)]
 *
 * Within an expert rows keep the order of the choices, and a row's bits do not depend on its neighbours. */
#include "base/memory.h"
#include "base/pool.h"
#include "cpu/cpu_backend.h"
#include "cpu/gemm.h"
#include "cpu/rows.h"

#include <string.h>

enum { ROWS_PER_TASK = 16 };

struct shape {
    int64_t T, D, F, E, topk, n_row; /* n_row choices */
};

static struct shape shape_of(const kl_experts_args *a)
{
    struct shape s = {.T = a->x.dim[0], .D = a->x.dim[1], .F = a->w_gate.dim[1], .E = a->w_gate.dim[0],
                      .topk = a->id.dim[1]};
    s.n_row = s.T * s.topk;
    return s;
}

/* Everything that lies in the workspace.  The backward's arrays are NULL in the forward. */
struct work {
    int64_t *first;    /* [E + 1] first row of an expert */
    int64_t *row_of;   /* [n_row] row of choice (t, j) */
    int64_t *choice;   /* [n_row] choice of a row */
    struct kl__gemm *product; /* [3 E] */
    float *x;          /* [n_row][D] */
    float *g, *u, *h;  /* [n_row][F] */
    float *out;        /* [n_row][D]; in the backward the gradient of x */
    float *dy;         /* [n_row][D] */
    float *dh;         /* [n_row][F] */
    kl_workspace gemm;
};

static size_t carve(struct kl__carver *c, const kl_backend *be, struct shape s, bool backward, struct work *w)
{
    size_t n = (size_t)s.n_row, D = (size_t)s.D, F = (size_t)s.F;
    w->first = kl__carve(c, (size_t)s.E + 1, sizeof *w->first);
    w->row_of = kl__carve(c, n, sizeof *w->row_of);
    w->choice = kl__carve(c, n, sizeof *w->choice);
    w->product = kl__carve(c, 3 * (size_t)s.E, sizeof *w->product);
    w->x = kl__carve(c, n * D, sizeof(float));
    w->g = kl__carve(c, n * F, sizeof(float));
    w->u = kl__carve(c, n * F, sizeof(float));
    w->h = kl__carve(c, n * F, sizeof(float));
    w->out = kl__carve(c, n * D, sizeof(float));
    w->dy = backward ? kl__carve(c, n * D, sizeof(float)) : NULL;
    w->dh = backward ? kl__carve(c, n * F, sizeof(float)) : NULL;
    w->gemm.bytes = kl__gemm_workspace(be);
    w->gemm.data = kl__carve(c, w->gemm.bytes, 1);
    return kl__carver_need(c);
}

struct job {
    const struct kl__kernels *k;
    const kl_experts_args *a;
    const kl_experts_bwd_args *bwd; /* NULL in the forward */
    struct shape s;
    struct work w;
};

static int32_t id_of(const struct job *job, int64_t choice)
{
    return ((const int32_t *)kl__row(job->a->id, choice / job->s.topk))[choice % job->s.topk];
}

static float weight_of(const struct job *job, int64_t choice)
{
    return ((const float *)kl__row(job->a->weight, choice / job->s.topk))[choice % job->s.topk];
}

/* Counting sort of the choices by expert; stable. */
static void sort_choices(struct job *job)
{
    struct shape s = job->s;
    int64_t *first = job->w.first;
    memset(first, 0, sizeof *first * (size_t)(s.E + 1));
    for (int64_t i = 0; i < s.n_row; i++)
        first[id_of(job, i) + 1]++;
    for (int64_t e = 0; e < s.E; e++)
        first[e + 1] += first[e];
    for (int64_t i = 0; i < s.n_row; i++) { /* first[e] runs to the end of e, and is put back below */
        int64_t row = first[id_of(job, i)]++;
        job->w.row_of[i] = row;
        job->w.choice[row] = i;
    }
    memmove(first + 1, first, sizeof *first * (size_t)s.E);
    first[0] = 0;
}

/* ------------------------------------------------------------------------------------------------- products -- */

/* Rows of expert e in an array of n columns. */
static struct kl__matrix rows_of(const struct job *job, const float *x, int64_t n, int64_t e, bool transposed)
{
    return (struct kl__matrix){x + job->w.first[e] * n, n, KL_F32, transposed};
}

static struct kl__matrix weights_of(kl_tensor w, int64_t e, bool transposed)
{
    return (struct kl__matrix){kl__row(w, e), w.dim[2], w.dtype, transposed};
}

/* to rows [n_out] (+)= from rows [n_in] times w[e]^T, or times w[e] when `transposed`. */
static struct kl__gemm through(const struct job *job, float *to, int64_t n_out, const float *from, int64_t n_in,
                               kl_tensor w, bool transposed, int64_t e, bool add)
{
    int64_t *first = job->w.first;
    return (struct kl__gemm){.m = first[e + 1] - first[e], .n = n_out, .k = n_in,
                             .a = rows_of(job, from, n_in, e, false), .b = weights_of(w, e, transposed),
                             .c = to + first[e] * n_out, .c_pitch = n_out, .c_dtype = KL_F32, .add = add};
}

/* dw[e] [n_out][n_in] += (rows of dy)^T (rows of x). */
static struct kl__gemm into(const struct job *job, kl_tensor dw, const float *dy, const float *x, int64_t e)
{
    int64_t *first = job->w.first, n_out = dw.dim[1], n_in = dw.dim[2];
    return (struct kl__gemm){.m = n_out, .n = n_in, .k = first[e + 1] - first[e],
                             .a = rows_of(job, dy, n_out, e, true), .b = rows_of(job, x, n_in, e, true),
                             .c = kl__row(dw, e), .c_pitch = n_in, .c_dtype = KL_F32, .add = true};
}

static bool chosen(const struct job *job, int64_t e)
{
    return job->w.first[e + 1] > job->w.first[e];
}

static void gate_and_up(const kl_backend *be, struct job *job)
{
    int64_t n = 0;
    for (int64_t e = 0; e < job->s.E; e++)
        if (chosen(job, e)) {
            job->w.product[n++] = through(job, job->w.g, job->s.F, job->w.x, job->s.D, job->a->w_gate, false, e, false);
            job->w.product[n++] = through(job, job->w.u, job->s.F, job->w.x, job->s.D, job->a->w_up, false, e, false);
        }
    kl__gemm_run(be, job->w.product, n, job->w.gemm);
}

/* One product per expert that was chosen. */
static void each_expert(const kl_backend *be, struct job *job, float *to, int64_t n_out, const float *from,
                        int64_t n_in, kl_tensor w, bool transposed, bool add)
{
    int64_t n = 0;
    for (int64_t e = 0; e < job->s.E; e++)
        if (chosen(job, e))
            job->w.product[n++] = through(job, to, n_out, from, n_in, w, transposed, e, add);
    kl__gemm_run(be, job->w.product, n, job->w.gemm);
}

/* ------------------------------------------------------------------------------------------------ row by row -- */

typedef void row_fn(const struct job *job, int64_t i);

struct rows_job {
    const struct job *job;
    row_fn *fn;
    int64_t n;
};

static void rows_task(void *arg, int64_t task, int thread)
{
    (void)thread;
    const struct rows_job *r = arg;
    for (int64_t i = task * ROWS_PER_TASK; i < (task + 1) * ROWS_PER_TASK && i < r->n; i++)
        r->fn(r->job, i);
}

static void for_each(const kl_backend *be, const struct job *job, row_fn *fn, int64_t n)
{
    struct rows_job r = {job, fn, n};
    kl__pool_run(be->pool, (n + ROWS_PER_TASK - 1) / ROWS_PER_TASK, rows_task, &r);
}

static void gather_token(const struct job *job, int64_t row)
{
    float *to = job->w.x + row * job->s.D;
    kl_tensor x = job->a->x;
    const float *from = kl__read_row(job->k, x.dtype, kl__row(x, job->w.choice[row] / job->s.topk), job->s.D, to);
    if (from != to)
        memcpy(to, from, sizeof *to * (size_t)job->s.D);
}

static void activate(const struct job *job, int64_t row)
{
    int64_t at = row * job->s.F;
    job->k->swiglu_row(job->w.h + at, job->w.g + at, job->w.u + at, job->s.F);
}

static void combine_token(const struct job *job, int64_t t)
{
    float *y = kl__row(job->a->y, t);
    int64_t D = job->s.D;
    for (int64_t j = 0; j < job->s.topk; j++) {
        float weight = weight_of(job, t * job->s.topk + j);
        const float *out = job->w.out + job->w.row_of[t * job->s.topk + j] * D;
        if (j == 0 && !job->a->add)
            for (int64_t i = 0; i < D; i++)
                y[i] = weight * out[i];
        else
            for (int64_t i = 0; i < D; i++)
                y[i] += weight * out[i];
    }
    if (job->s.topk == 0 && !job->a->add)
        memset(y, 0, sizeof *y * (size_t)D);
}

kl_status kl__cpu_experts(const kl_backend *be, const kl_experts_args *a, kl_error *err)
{
    (void)err;
    struct job job = {.k = kl__cpu_kernels(be), .a = a, .s = shape_of(a)};
    struct kl__carver c = kl__carver(a->work);
    carve(&c, be, job.s, false, &job.w);
    sort_choices(&job);
    for_each(be, &job, gather_token, job.s.n_row);
    gate_and_up(be, &job);
    for_each(be, &job, activate, job.s.n_row);
    each_expert(be, &job, job.w.out, job.s.D, job.w.h, job.s.F, a->w_down, false, false);
    for_each(be, &job, combine_token, job.s.T);
    return KL_OK;
}

size_t kl__cpu_experts_workspace(const kl_backend *be, const kl_experts_args *a)
{
    struct kl__carver c = {0};
    struct work w;
    return carve(&c, be, shape_of(a), false, &w);
}

/* ------------------------------------------------------------------------------------------------- backward -- */

static void gather_gradient(const struct job *job, int64_t row)
{
    memcpy(job->w.dy + row * job->s.D, kl__row(job->bwd->d_y, job->w.choice[row] / job->s.topk),
           sizeof(float) * (size_t)job->s.D);
}

/* dh holds w_down^T dy without the weight: its product with h is the weight's gradient, whose order is that of F. */
static void weigh_row(const struct job *job, int64_t row)
{
    int64_t choice = job->w.choice[row], F = job->s.F, D = job->s.D;
    float *dh = job->w.dh + row * F, *dy = job->w.dy + row * D, weight = weight_of(job, choice), sum = 0;
    const float *h = job->w.h + row * F;
    for (int64_t i = 0; i < F; i++) {
        sum += dh[i] * h[i];
        dh[i] *= weight;
    }
    for (int64_t i = 0; i < D; i++)
        dy[i] *= weight;
    if (kl__present(job->bwd->d_weight))
        ((float *)kl__row(job->bwd->d_weight, choice / job->s.topk))[choice % job->s.topk] = sum;
}

/* g and u become their gradients. */
static void activate_bwd(const struct job *job, int64_t row)
{
    int64_t at = row * job->s.F;
    job->k->swiglu_row_bwd(job->w.g + at, job->w.u + at, job->w.dh + at, job->w.g + at, job->w.u + at, job->s.F);
}

static void combine_gradient(const struct job *job, int64_t t)
{
    float *dx = kl__row(job->bwd->d_x, t);
    memset(dx, 0, sizeof *dx * (size_t)job->s.D);
    for (int64_t j = 0; j < job->s.topk; j++)
        job->k->add_row(dx, job->w.out + job->w.row_of[t * job->s.topk + j] * job->s.D, job->s.D);
}

/* The gradients of the weights that are wanted; g, u and dy hold the gradients of what those made. */
static void weight_gradients(const kl_backend *be, struct job *job, bool down)
{
    const kl_experts_bwd_args *b = job->bwd;
    int64_t n = 0;
    for (int64_t e = 0; e < job->s.E; e++) {
        if (!chosen(job, e))
            continue;
        if (down && kl__present(b->d_w_down))
            job->w.product[n++] = into(job, b->d_w_down, job->w.dy, job->w.h, e);
        if (!down && kl__present(b->d_w_gate))
            job->w.product[n++] = into(job, b->d_w_gate, job->w.g, job->w.x, e);
        if (!down && kl__present(b->d_w_up))
            job->w.product[n++] = into(job, b->d_w_up, job->w.u, job->w.x, e);
    }
    kl__gemm_run(be, job->w.product, n, job->w.gemm);
}

kl_status kl__cpu_experts_bwd(const kl_backend *be, const kl_experts_bwd_args *b, kl_error *err)
{
    (void)err;
    const kl_experts_args *a = &b->fwd;
    struct job job = {.k = kl__cpu_kernels(be), .a = a, .bwd = b, .s = shape_of(a)};
    struct kl__carver c = kl__carver(b->work);
    carve(&c, be, job.s, true, &job.w);
    int64_t D = job.s.D, F = job.s.F;
    sort_choices(&job);
    for_each(be, &job, gather_token, job.s.n_row);
    for_each(be, &job, gather_gradient, job.s.n_row);
    gate_and_up(be, &job);
    for_each(be, &job, activate, job.s.n_row);
    each_expert(be, &job, job.w.dh, F, job.w.dy, D, a->w_down, true, false);
    for_each(be, &job, weigh_row, job.s.n_row);
    weight_gradients(be, &job, true);
    for_each(be, &job, activate_bwd, job.s.n_row);
    weight_gradients(be, &job, false);
    if (!kl__present(b->d_x))
        return KL_OK;
    each_expert(be, &job, job.w.out, D, job.w.g, F, a->w_gate, true, false);
    each_expert(be, &job, job.w.out, D, job.w.u, F, a->w_up, true, true);
    for_each(be, &job, combine_gradient, job.s.T);
    return KL_OK;
}

size_t kl__cpu_experts_bwd_workspace(const kl_backend *be, const kl_experts_bwd_args *b)
{
    struct kl__carver c = {0};
    struct work w;
    return carve(&c, be, shape_of(&b->fwd), true, &w);
}
