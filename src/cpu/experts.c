/* Pairs of token and expert are sorted by expert, so that each expert is three products over its own tokens; its
 * weights are read once a chunk. */
#include "cpu/experts.h"

#include "base/pool.h"
#include "cpu/cpu_backend.h"
#include "tensor/tensor.h"

struct kl__experts kl__carve_experts(struct kl__carver *c, const kl_backend *be, const kl_experts_args *a)
{
    struct kl__experts s = {.be = be, .a = a, .n_out = a->x.dim[1], .n_hidden = a->w_gate.dim[1]};
    s.rows = kl__carve_expert_rows(c, a->id, a->w_gate.dim[0]);
    return s;
}

float *kl__carve_lines(struct kl__carver *c, const struct kl__experts *s, int64_t n)
{
    return kl__carve(c, (size_t)s->rows.n_pair, (size_t)n * sizeof(float));
}

/* -------------------------------------------------------------------------------------------------------- chunks -- */

static int64_t chunks_of(const struct kl__expert_rows *rows, int64_t e)
{
    return (rows->start[e + 1] - rows->start[e] + KL__CHUNK_ROWS - 1) / KL__CHUNK_ROWS;
}

int64_t kl__n_chunk(const struct kl__expert_rows *rows)
{
    int64_t n = 0;
    for (int64_t e = 0; e < rows->n_expert; e++)
        n += chunks_of(rows, e);
    return n;
}

struct kl__chunk kl__chunk_of(const struct kl__expert_rows *rows, int64_t i)
{
    int64_t e = 0;
    for (; i >= chunks_of(rows, e); e++)
        i -= chunks_of(rows, e);
    int64_t start = rows->start[e], n = rows->start[e + 1] - start, n_chunk = chunks_of(rows, e);
    int64_t first = n * i / n_chunk;
    return (struct kl__chunk){e, start + first, n * (i + 1) / n_chunk - first};
}

struct kl__matrix kl__lines(const void *first, kl_dtype dtype, int64_t n)
{
    return (struct kl__matrix){first, n, dtype, false};
}

struct kl__matrix kl__expert_weight(kl_tensor w, int64_t e, bool transposed)
{
    return (struct kl__matrix){kl__row(w, e), w.dim[2], w.dtype, transposed};
}

void kl__chunk_product(const struct kl__experts *s, struct kl__chunk c, float *to, int64_t n, int64_t k,
                       struct kl__matrix a, struct kl__matrix b, bool add, void *scratch)
{
    struct kl__gemm g = {.m = c.n, .n = n, .k = k, .a = a, .b = b, .c = to, .c_pitch = n, .add = add};
    kl__gemm_here(kl__cpu_kernels(s->be), &g, scratch);
}

/* ------------------------------------------------------------------------------------------------------- forward -- */

struct forward {
    struct kl__experts s;
    float *out; /* [n_pair][D] */
    char *own;  /* of thread 0 */
    size_t own_bytes;
};

/* Scratch of one thread: lines of a chunk. */
struct own {
    void *gemm;
    void *x;          /* [KL__CHUNK_ROWS][D], of x's type */
    float *gate, *up; /* [KL__CHUNK_ROWS][F] */
};

static struct own carve_own(struct kl__carver *c, const struct kl__experts *s)
{
    struct own own = {.gemm = kl__carve(c, 1, kl__gemm_scratch(kl__cpu_kernels(s->be)))};
    own.x = kl__carve(c, KL__CHUNK_ROWS * (size_t)s->n_out, sizeof(float));
    own.gate = kl__carve(c, KL__CHUNK_ROWS * (size_t)s->n_hidden, sizeof(float));
    own.up = kl__carve(c, KL__CHUNK_ROWS * (size_t)s->n_hidden, sizeof(float));
    return own;
}

static struct forward carve(struct kl__carver *c, const kl_backend *be, const kl_experts_args *a)
{
    struct forward f = {.s = kl__carve_experts(c, be, a)};
    struct kl__carver one = {0};
    carve_own(&one, &f.s);
    f.out = kl__carve_lines(c, &f.s, f.s.n_out);
    f.own_bytes = one.bytes;
    f.own = kl__carve(c, (size_t)kl_pool_threads(be->pool), f.own_bytes);
    return f;
}

static void forward_task(void *arg, int64_t task, int thread)
{
    const struct forward *f = arg;
    const struct kl__experts *s = &f->s;
    const kl_experts_args *a = s->a;
    struct kl__carver own_carver = {.base = f->own + (size_t)thread * f->own_bytes};
    struct own own = carve_own(&own_carver, s);
    struct kl__chunk c = kl__chunk_of(&s->rows, task);
    int64_t D = s->n_out, F = s->n_hidden;
    kl__gather_some_rows(&s->rows, own.x, a->x, c.first, c.n);
    struct kl__matrix x = kl__lines(own.x, a->x.dtype, D);
    kl__chunk_product(s, c, own.gate, F, D, x, kl__expert_weight(a->w_gate, c.expert, false), false, own.gemm);
    kl__chunk_product(s, c, own.up, F, D, x, kl__expert_weight(a->w_up, c.expert, false), false, own.gemm);
    for (int64_t i = 0; i < c.n; i++)
        kl__cpu_kernels(s->be)->swiglu_row(own.gate + i * F, own.gate + i * F, own.up + i * F, F);
    kl__chunk_product(s, c, f->out + c.first * D, D, F, kl__lines(own.gate, KL_F32, F),
                      kl__expert_weight(a->w_down, c.expert, false), false, own.gemm);
}

kl_status kl__cpu_experts(const kl_backend *be, const kl_experts_args *a, kl_error *err)
{
    (void)err;
    struct kl__carver c = kl__carver(a->work);
    struct forward f = carve(&c, be, a);
    kl__sort_expert_rows(&f.s.rows, a->id);
    kl__pool_run(be->pool, kl__n_chunk(&f.s.rows), forward_task, &f);
    kl__combine_expert_rows(be, &f.s.rows, a->y, f.out, a->weight, a->add);
    return KL_OK;
}

size_t kl__cpu_experts_workspace(const kl_backend *be, const kl_experts_args *a)
{
    struct kl__carver c = {0};
    carve(&c, be, a);
    return kl__carver_need(&c);
}
