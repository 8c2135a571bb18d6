/* Blocks are decoded panel by panel inside the product; f32 and bf16 are read where they lie. */
#include "cpu/number_products.h"

#include "base/memory.h"
#include "base/pool.h"
#include "cpu/cpu_backend.h"
#include "cpu/expert_rows.h"
#include "cpu/gemm.h"
#include "cpu/packed.h"
#include "cpu/panels.h"
#include "tensor/tensor.h"

/* Whether products can read the numbers of a matrix where they lie. */
static bool plain(const struct kl__weight *w, const void *matrix, kl_dtype *dtype)
{
    *dtype = w->type == KL__TYPE_BF16 ? KL_BF16 : KL_F32;
    return (w->type == KL__TYPE_F32 || w->type == KL__TYPE_BF16) && (uintptr_t)matrix % kl_dtype_bytes(*dtype) == 0;
}

static struct kl__gemm gemm_of(const struct kl__weight *w, int64_t matrix, int64_t m, const float *x, int64_t x_pitch,
                                float *y, int64_t y_pitch, bool add)
{
    struct kl__gemm g = {.m = m, .n = w->n_out, .k = w->n_in, .c = y, .c_pitch = y_pitch, .add = add};
    g.a = (struct kl__matrix){x, x_pitch, KL_F32, false};
    g.b = (struct kl__matrix){kl__weight_row(w, matrix, 0), w->n_in, KL_F32, false};
    if (w->packed && w->type == KL__TYPE_BF16)
        g.b_packed = kl__packed_panel_start(w, matrix, 0);
    else if (!plain(w, g.b.data, &g.b.dtype))
        g.b_blocks = kl__type_info(w->type);
    return g;
}

/* -------------------------------------------------------------------------------------------------------- linear -- */

enum { AT_ONCE = 16 }; /* products of numbers that run together */

void kl__number_linears(const kl_backend *be, const struct kl__weight_product *p, int n, kl_tensor x,
                        kl_workspace work)
{
    struct kl__gemm g[AT_ONCE];
    int n_gemm = 0;
    for (int i = 0; i < n; i++) {
        if (kl__in_panels(be, p[i].w))
            continue;
        g[n_gemm++] =
            gemm_of(p[i].w, 0, x.dim[0], x.data, kl__pitch(x), p[i].y.data, kl__pitch(p[i].y), p[i].add);
        if (n_gemm == AT_ONCE) {
            kl__gemm_run(be, g, n_gemm, work);
            n_gemm = 0;
        }
    }
    if (n_gemm > 0)
        kl__gemm_run(be, g, n_gemm, work);
}

/* ------------------------------------------------------------------------------------------------------- experts -- */

struct experts {
    const kl_backend *be;
    const struct kl__weight_experts_call *call;
    int64_t n_out, n_hidden; /* D, F */
    struct kl__expert_rows rows;
    struct kl__gemm *gemm; /* room for two products of each expert that can have rows */
    int64_t n_gemm;
    kl_workspace gemm_work;
    float *x;         /* [n_pair][D]: gathered input, later output */
    float *gate, *up; /* [n_pair][F] */
};

static struct experts carve(struct kl__carver *c, const kl_backend *be, const struct kl__weight_experts_call *call)
{
    struct experts s = {.be = be, .call = call, .n_out = call->gate->n_in, .n_hidden = call->gate->n_out};
    s.gemm_work.bytes = kl__gemm_workspace(be);
    s.gemm_work.data = kl__carve(c, 1, s.gemm_work.bytes);
    s.rows = kl__carve_expert_rows(c, call->id, call->gate->n_matrix);
    size_t n_pair = (size_t)s.rows.n_pair;
    int64_t n_busy = s.rows.n_pair < s.rows.n_expert ? s.rows.n_pair : s.rows.n_expert;
    s.gemm = kl__carve(c, (size_t)n_busy, 2 * sizeof *s.gemm);
    s.x = kl__carve(c, n_pair, (size_t)s.n_out * sizeof(float));
    s.gate = kl__carve(c, n_pair, (size_t)s.n_hidden * sizeof(float));
    s.up = kl__carve(c, n_pair, (size_t)s.n_hidden * sizeof(float));
    return s;
}

/* to = from w_e^T for the lines of every expert e, put on the list. */
static void push_all(struct experts *s, const struct kl__weight *w, float *to, const float *from)
{
    const int64_t *start = s->rows.start;
    for (int64_t e = 0; e < s->rows.n_expert; e++)
        if (start[e + 1] > start[e])
            s->gemm[s->n_gemm++] = gemm_of(w, e, start[e + 1] - start[e], from + start[e] * w->n_in, w->n_in,
                                                   to + start[e] * w->n_out, w->n_out, false);
}

static void run_pushed(struct experts *s)
{
    kl__gemm_run(s->be, s->gemm, s->n_gemm, s->gemm_work);
    s->n_gemm = 0;
}

static void activate_task(void *arg, int64_t row, int thread)
{
    (void)thread;
    const struct experts *s = arg;
    float *gate = s->gate + row * s->n_hidden;
    kl__cpu_kernels(s->be)->swiglu_row(gate, gate, s->up + row * s->n_hidden, s->n_hidden);
}

void kl__number_experts(const kl_backend *be, const struct kl__weight_experts_call *call)
{
    struct kl__carver c = kl__carver(call->work);
    struct experts s = carve(&c, be, call);
    kl__sort_expert_rows(&s.rows, call->id);
    kl__gather_expert_rows(be, &s.rows, s.x, call->x);
    push_all(&s, call->gate, s.gate, s.x);
    push_all(&s, call->up, s.up, s.x);
    run_pushed(&s);
    kl__pool_run(be->pool, s.rows.n_pair, activate_task, &s);
    push_all(&s, call->down, s.x, s.gate); /* x has been used */
    run_pushed(&s);
    kl__combine_expert_rows(be, &s.rows, call->y, s.x, call->weight, call->add);
}

size_t kl__number_experts_workspace(const kl_backend *be, const struct kl__weight_experts_call *call)
{
    struct kl__carver c = {0};
    carve(&c, be, call);
    return kl__carver_need(&c);
}
