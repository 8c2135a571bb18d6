/* Pairs of token and expert are sorted by expert, so that each expert is three products over its own tokens, and its
 * weights are read once.  The products of all experts run together on the pool. */
#include "cpu/experts.h"

#include "base/pool.h"
#include "cpu/cpu_backend.h"
#include "tensor/tensor.h"

/* ----------------------------------------------------------------------------------------------------- workspace -- */

struct kl__experts kl__carve_experts(struct kl__carver *c, const kl_backend *be, const kl_experts_args *a)
{
    struct kl__experts s = {.be = be, .a = a, .n_out = a->x.dim[1], .n_hidden = a->w_gate.dim[1]};
    s.gemm_work.bytes = kl__gemm_workspace(be);
    s.gemm_work.data = kl__carve(c, 1, s.gemm_work.bytes);
    s.rows = kl__carve_expert_rows(c, a->id, a->w_gate.dim[0]);
    int64_t n_busy = s.rows.n_pair < s.rows.n_expert ? s.rows.n_pair : s.rows.n_expert;
    s.gemm = kl__carve(c, (size_t)n_busy, 3 * sizeof *s.gemm);
    s.x = kl__carve_lines(c, &s, s.n_out);
    s.gate = kl__carve_lines(c, &s, s.n_hidden);
    s.up = kl__carve_lines(c, &s, s.n_hidden);
    return s;
}

float *kl__carve_lines(struct kl__carver *c, const struct kl__experts *s, int64_t n)
{
    return kl__carve(c, (size_t)s->rows.n_pair, (size_t)n * sizeof(float));
}

/* ------------------------------------------------------------------------------------------------------ products -- */

struct kl__matrix kl__expert_lines(const struct kl__experts *s, const float *lines, int64_t e, int64_t n,
                                   bool transposed)
{
    return (struct kl__matrix){lines + s->rows.start[e] * n, n, KL_F32, transposed};
}

struct kl__matrix kl__expert_x(const struct kl__experts *s, int64_t e, bool transposed)
{
    kl_dtype dtype = s->a->x.dtype;
    size_t at = (size_t)(s->rows.start[e] * s->n_out) * kl_dtype_bytes(dtype);
    return (struct kl__matrix){(const char *)s->x + at, s->n_out, dtype, transposed};
}

struct kl__matrix kl__expert_weight(kl_tensor w, int64_t e, bool transposed)
{
    return (struct kl__matrix){kl__row(w, e), w.dim[2], w.dtype, transposed};
}

void kl__push_lines(struct kl__experts *s, int64_t e, float *to, int64_t n, int64_t k, struct kl__matrix a,
                    struct kl__matrix b, bool add)
{
    s->gemm[s->n_gemm++] = (struct kl__gemm){.m = kl__expert_n_row(s, e),
                                             .n = n,
                                             .k = k,
                                             .a = a,
                                             .b = b,
                                             .c = to + s->rows.start[e] * n,
                                             .c_pitch = n,
                                             .add = add};
}

void kl__push_weight(struct kl__experts *s, int64_t e, kl_tensor d_w, struct kl__matrix a, struct kl__matrix b)
{
    s->gemm[s->n_gemm++] = (struct kl__gemm){.m = d_w.dim[1],
                                             .n = d_w.dim[2],
                                             .k = kl__expert_n_row(s, e),
                                             .a = a,
                                             .b = b,
                                             .c = kl__row(d_w, e),
                                             .c_pitch = d_w.dim[2],
                                             .add = true};
}

void kl__run_pushed(struct kl__experts *s)
{
    kl__gemm_run(s->be, s->gemm, s->n_gemm, s->gemm_work);
    s->n_gemm = 0;
}

void kl__project_experts(struct kl__experts *s)
{
    kl__sort_expert_rows(&s->rows, s->a->id);
    kl__gather_expert_rows(s->be, &s->rows, s->x, s->a->x);
    for (int64_t e = 0; e < s->rows.n_expert; e++) {
        if (kl__expert_n_row(s, e) == 0)
            continue;
        struct kl__matrix x = kl__expert_x(s, e, false);
        kl__push_lines(s, e, s->gate, s->n_hidden, s->n_out, x, kl__expert_weight(s->a->w_gate, e, false), false);
        kl__push_lines(s, e, s->up, s->n_hidden, s->n_out, x, kl__expert_weight(s->a->w_up, e, false), false);
    }
    kl__run_pushed(s);
}

/* ------------------------------------------------------------------------------------------------------- forward -- */

static void activate_task(void *arg, int64_t row, int thread)
{
    (void)thread;
    const struct kl__experts *s = arg;
    float *gate = s->gate + row * s->n_hidden;
    kl__cpu_kernels(s->be)->swiglu_row(gate, gate, s->up + row * s->n_hidden, s->n_hidden);
}

kl_status kl__cpu_experts(const kl_backend *be, const kl_experts_args *a, kl_error *err)
{
    (void)err;
    struct kl__carver c = kl__carver(a->work);
    struct kl__experts s = kl__carve_experts(&c, be, a);
    kl__project_experts(&s);
    kl__pool_run(be->pool, s.rows.n_pair, activate_task, &s);
    float *out = s.x; /* x has been used */
    for (int64_t e = 0; e < s.rows.n_expert; e++)
        if (kl__expert_n_row(&s, e) > 0)
            kl__push_lines(&s, e, out, s.n_out, s.n_hidden, kl__expert_lines(&s, s.gate, e, s.n_hidden, false),
                           kl__expert_weight(a->w_down, e, false), false);
    kl__run_pushed(&s);
    kl__combine_expert_rows(be, &s.rows, a->y, out, a->weight, a->add);
    return KL_OK;
}

size_t kl__cpu_experts_workspace(const kl_backend *be, const kl_experts_args *a)
{
    struct kl__carver c = {0};
    kl__carve_experts(&c, be, a);
    return kl__carver_need(&c);
}
