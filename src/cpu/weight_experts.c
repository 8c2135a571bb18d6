/* Experts whose three matrices are blocks of integers are multiplied as integers (cpu/weight_block_experts.c).  Others:
 * pairs of token and expert are sorted by expert, so that each expert is three products over its own tokens, and its
 * weights are read once.  The products of all experts run together on the pool. */
#include "base/memory.h"
#include "base/pool.h"
#include "cpu/cpu_backend.h"
#include "cpu/expert_rows.h"
#include "cpu/weight.h"
#include "cpu/weight_blocks.h"

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
            s->gemm[s->n_gemm++] = kl__weight_gemm(w, e, start[e + 1] - start[e], from + start[e] * w->n_in, w->n_in,
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

static bool blocks(const struct kl__weight_experts_call *call)
{
    return kl__weight_has_levels(call->gate) && kl__weight_has_levels(call->up) && kl__weight_has_levels(call->down);
}

void kl__cpu_weight_experts(const kl_backend *be, const struct kl__weight_experts_call *call)
{
    if (blocks(call)) {
        kl__block_experts(be, call);
        return;
    }
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

size_t kl__cpu_weight_experts_workspace(const kl_backend *be, const struct kl__weight_experts_call *call)
{
    if (blocks(call))
        return kl__block_experts_workspace(be, call);
    struct kl__carver c = {0};
    carve(&c, be, call);
    return kl__carver_need(&c);
}
