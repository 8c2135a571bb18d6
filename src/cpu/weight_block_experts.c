/* Pairs of token and expert are sorted by expert, so that an expert's tokens are multiplied together.
 *
 * First, tasks of one expert and a few panels of 32 hidden units: both projections, the gate, and the rounding to 8
 * bits of what the second product reads; hidden units never reach memory in f32.  Then tasks of one panel of 32
 * outputs: all experts after each other, so that a token's sum runs in the order of its experts, whatever else is in
 * the batch. */
#include "cpu/weight_blocks.h"

#include "base/pool.h"
#include "cpu/cpu_backend.h"
#include "cpu/expert_rows.h"
#include "cpu/panels.h"
#include "cpu/weight.h"
#include "tensor/tensor.h"

#include <string.h>

struct experts {
    const struct kl__kernels *kernels;
    const struct kl__weight_experts_call *call;
    struct kl__expert_rows rows;
    struct kl__q8 x_gate, x_up; /* [T][D]: the same where the forms of the weights are */
    struct kl__q8 hidden;       /* [n_pair][F] */
    int64_t *busy;              /* experts with rows, ascending */
    int64_t n_busy;
    struct scratch *scratch; /* [n_thread] */
    int n_thread;
};

struct scratch {
    struct kl__panel panel; /* its sum: of the gate, or of one expert's outputs */
    float *up;              /* [KL__PANEL_TOKENS][KL__PANEL] */
    float *y;               /* [T][KL__PANEL] */
};

static bool same_form(const struct kl__weight *a, const struct kl__weight *b)
{
    const struct kl__levels_info *x = kl__levels_info(a->type), *y = kl__levels_info(b->type);
    return x->group == y->group && x->offset == y->offset;
}

static struct scratch carve_scratch(struct kl__carver *c, int64_t n_token)
{
    struct scratch s;
    s.panel = kl__carve_panel(c);
    s.up = kl__carve(c, (size_t)KL__PANEL_TOKENS * KL__PANEL, sizeof(float));
    s.y = kl__carve(c, (size_t)n_token, KL__PANEL * sizeof(float));
    return s;
}

static struct experts carve(struct kl__carver *c, const kl_backend *be, const struct kl__weight_experts_call *call)
{
    struct experts s = {.kernels = kl__cpu_kernels(be), .call = call};
    const struct kl__weight *gate = call->gate, *up = call->up, *down = call->down;
    s.n_thread = kl_pool_threads(be->pool);
    s.scratch = kl__carve(c, (size_t)s.n_thread, sizeof *s.scratch);
    for (int i = 0; i < s.n_thread; i++) {
        struct scratch scratch = carve_scratch(c, call->x.dim[0]);
        if (s.scratch)
            s.scratch[i] = scratch;
    }
    s.rows = kl__carve_expert_rows(c, call->id, gate->n_matrix);
    s.busy = kl__carve(c, (size_t)gate->n_matrix, sizeof *s.busy);
    s.x_gate = kl__carve_q8(c, kl__levels_info(gate->type), call->x.dim[0], gate->n_in);
    s.x_up = same_form(gate, up) ? s.x_gate : kl__carve_q8(c, kl__levels_info(up->type), call->x.dim[0], up->n_in);
    s.hidden = kl__carve_q8(c, kl__levels_info(down->type), s.rows.n_pair, down->n_in);
    return s;
}

size_t kl__block_experts_workspace(const kl_backend *be, const struct kl__weight_experts_call *call)
{
    struct kl__carver c = {0};
    carve(&c, be, call);
    return kl__carver_need(&c);
}

/* Rows of expert e from `row` on, at most KL__PANEL_TOKENS. */
static int64_t n_chosen(const struct experts *s, int64_t e, int64_t row)
{
    int64_t left = s->rows.start[e + 1] - row;
    return left < KL__PANEL_TOKENS ? left : KL__PANEL_TOKENS;
}

/* ------------------------------------------------------------------------------------------------- hidden units -- */

enum { RUN = 4 }; /* panels of a task */

/* One expert's panels first .. end-1. */
struct piece {
    int64_t e, first, end;
};

static int64_t n_run(const struct experts *s)
{
    return (kl__n_panel(s->call->gate->n_out) + RUN - 1) / RUN;
}

static struct piece piece_of(const struct experts *s, int64_t task)
{
    int64_t n_panel = kl__n_panel(s->call->gate->n_out);
    struct piece piece = {.e = s->busy[task / n_run(s)], .first = task % n_run(s) * RUN};
    piece.end = piece.first + RUN < n_panel ? piece.first + RUN : n_panel;
    return piece;
}

static const void *start_of(const struct kl__weight *w, int64_t e, int64_t panel)
{
    return kl__weight_row(w, e, kl__panel_rows(w->n_out, panel).first);
}

/* What this thread will probably take after a panel of `task`: the next one, or as threads take turns. */
static const void *start_of_next(const struct experts *s, const struct kl__weight *w, int64_t task, int64_t panel)
{
    struct piece piece = piece_of(s, task);
    if (panel + 1 < piece.end)
        return start_of(w, piece.e, panel + 1);
    if (task + s->n_thread >= s->n_busy * n_run(s))
        return NULL;
    piece = piece_of(s, task + s->n_thread);
    return start_of(w, piece.e, piece.first);
}

static void hidden_panel(const struct experts *s, const struct scratch *scratch, int64_t task, int64_t panel)
{
    const struct kl__weight *gate = s->call->gate, *up = s->call->up;
    const void *gate_ahead = start_of_next(s, gate, task, panel), *up_ahead = start_of_next(s, up, task, panel);
    int64_t e = piece_of(s, task).e;
    struct kl__panel_rows rows = kl__panel_rows(gate->n_out, panel);
    float *sum = scratch->panel.sum;
    for (int64_t row = s->rows.start[e]; row < s->rows.start[e + 1]; row += KL__PANEL_TOKENS) {
        struct kl__chosen chosen = {s->rows.pair + row, s->rows.topk, 0, n_chosen(s, e, row)};
        kl__panel_product(s->kernels, &scratch->panel, sum, &s->x_gate, chosen, gate, e, rows, gate_ahead);
        kl__panel_product(s->kernels, &scratch->panel, scratch->up, &s->x_up, chosen, up, e, rows, up_ahead);
        s->kernels->swiglu_row(sum, sum, scratch->up, chosen.n * KL__PANEL);
        for (int64_t i = 0; i < chosen.n; i++)
            kl__q8_write(s->kernels, &s->hidden, row + i, rows.row, sum + i * KL__PANEL, KL__PANEL);
    }
}

static void hidden_task(void *arg, int64_t task, int thread)
{
    const struct experts *s = arg;
    struct piece piece = piece_of(s, task);
    for (int64_t panel = piece.first; panel < piece.end; panel++)
        hidden_panel(s, &s->scratch[thread], task, panel);
}

/* ------------------------------------------------------------------------------------------------------ outputs -- */

/* y of the tokens += what one expert makes of its rows, weighted. */
static void add_weighted(const struct experts *s, float *y, const float *sum, int64_t row, int64_t n)
{
    for (int64_t i = 0; i < n; i++, sum += KL__PANEL) {
        int64_t pair = s->rows.pair[row + i], t = pair / s->rows.topk;
        const float *weight = kl__present(s->call->weight) ? kl__row(s->call->weight, t) : NULL;
        float w = weight ? weight[pair % s->rows.topk] : 1, *to = y + t * KL__PANEL;
        for (int j = 0; j < KL__PANEL; j++)
            to[j] += w * sum[j];
    }
}

/* One panel of all busy experts after each other. */
static void sum_outputs(const struct experts *s, const struct scratch *scratch, int64_t panel)
{
    const struct kl__weight *down = s->call->down;
    struct kl__panel_rows rows = kl__panel_rows(down->n_out, panel);
    int64_t next = panel + s->n_thread;
    memset(scratch->y, 0, (size_t)s->rows.n_token * KL__PANEL * sizeof(float));
    for (int64_t b = 0; b < s->n_busy; b++) {
        int64_t e = s->busy[b];
        const void *ahead = b + 1 < s->n_busy               ? start_of(down, s->busy[b + 1], panel)
                            : next < kl__n_panel(down->n_out) ? start_of(down, s->busy[0], next)
                                                            : NULL;
        for (int64_t row = s->rows.start[e]; row < s->rows.start[e + 1]; row += KL__PANEL_TOKENS) {
            struct kl__chosen chosen = {.first = row, .n = n_chosen(s, e, row)};
            float *sum = scratch->panel.sum;
            kl__panel_product(s->kernels, &scratch->panel, sum, &s->hidden, chosen, down, e, rows, ahead);
            add_weighted(s, scratch->y, sum, row, chosen.n);
        }
    }
}

static void output_task(void *arg, int64_t panel, int thread)
{
    const struct experts *s = arg;
    const struct scratch *scratch = &s->scratch[thread];
    struct kl__panel_rows rows = kl__panel_rows(s->call->down->n_out, panel);
    sum_outputs(s, scratch, panel);
    for (int64_t t = 0; t < s->rows.n_token; t++) {
        const float *from = scratch->y + t * KL__PANEL + (rows.row - rows.first);
        float *y = (float *)kl__row(s->call->y, t) + rows.row;
        for (int j = 0; j < rows.n; j++)
            y[j] = s->call->add ? y[j] + from[j] : from[j];
    }
}

void kl__block_experts(const kl_backend *be, const struct kl__weight_experts_call *call)
{
    struct kl__carver c = kl__carver(call->work);
    struct experts s = carve(&c, be, call);
    kl__sort_expert_rows(&s.rows, call->id);
    for (int64_t e = 0; e < s.rows.n_expert; e++)
        if (s.rows.start[e + 1] > s.rows.start[e])
            s.busy[s.n_busy++] = e;
    kl__q8_of(be, &s.x_gate, call->x);
    if (s.x_up.data != s.x_gate.data)
        kl__q8_of(be, &s.x_up, call->x);
    kl__pool_run(be->pool, s.n_busy * n_run(&s), hidden_task, &s);
    kl__pool_run(be->pool, kl__n_panel(call->down->n_out), output_task, &s);
}
