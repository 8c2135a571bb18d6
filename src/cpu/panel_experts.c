/* Pairs of token and expert are sorted by expert, so that an expert's tokens are multiplied together.
 *
 * First, tasks of one expert and a run of panels of 32 hidden units: both projections, the gate, and what the second
 * product wants as its input; hidden units reach memory in that form only.  Then tasks of one panel of 32 outputs: all
 * experts after each other, so that a token's sum runs in the order of its experts, whatever else is in the batch. */
#include "base/pool.h"
#include "cpu/cpu_backend.h"
#include "cpu/expert_rows.h"
#include "cpu/panel_products.h"
#include "cpu/panels.h"
#include "tensor/tensor.h"

#include <string.h>

struct scratch {
    struct kl__panel panel; /* its sum: of the gate, or of one expert's outputs */
    float *up;              /* [KL__TOKENS][KL__PANEL] */
    float *y;               /* [T][KL__PANEL] */
};

struct experts {
    const struct kl__kernels *kernels;
    const struct kl__weight_experts_call *call;
    struct kl__expert_rows rows;
    struct kl__inputs x_gate, x_up; /* [T][D]; one where the forms of the weights are the same */
    bool one_x;
    struct kl__inputs hidden; /* [n_pair][F] */
    int64_t *busy;            /* experts with rows, ascending */
    int64_t n_busy;
    struct scratch *scratch; /* [n_thread] */
    int n_thread;
};

static struct scratch carve_scratch(struct kl__carver *c, int64_t n_token)
{
    struct scratch s;
    s.panel = kl__carve_panel(c);
    s.up = kl__carve(c, (size_t)KL__TOKENS * KL__PANEL, sizeof(float));
    s.y = kl__carve(c, (size_t)n_token, KL__PANEL * sizeof(float));
    return s;
}

static struct experts carve(struct kl__carver *c, const kl_backend *be, const struct kl__weight_experts_call *call)
{
    struct experts s = {.kernels = kl__cpu_kernels(be), .call = call, .n_thread = kl_pool_threads(be->pool)};
    struct kl__form gate = kl__form_of(be, call->gate->type), up = kl__form_of(be, call->up->type);
    s.scratch = kl__carve(c, (size_t)s.n_thread, sizeof *s.scratch);
    for (int i = 0; i < s.n_thread; i++) {
        struct scratch scratch = carve_scratch(c, call->x.dim[0]);
        if (s.scratch)
            s.scratch[i] = scratch;
    }
    s.rows = kl__carve_expert_rows(c, call->id, call->gate->n_matrix);
    s.busy = kl__carve(c, (size_t)call->gate->n_matrix, sizeof *s.busy);
    s.one_x = kl__same_form(gate, up);
    s.x_gate = kl__carve_inputs(c, gate, call->x.dim[0], call->x.dim[1]);
    if (!s.one_x)
        s.x_up = kl__carve_inputs(c, up, call->x.dim[0], call->x.dim[1]);
    s.hidden = kl__carve_inputs(c, kl__form_of(be, call->down->type), s.rows.n_pair, call->down->n_in);
    return s;
}

size_t kl__panel_experts_workspace(const kl_backend *be, const struct kl__weight_experts_call *call)
{
    struct kl__carver c = {0};
    carve(&c, be, call);
    return kl__carver_need(&c);
}

/* Rows of expert e that block i of its n_block holds. */
static struct kl__chosen rows_of(const struct experts *s, int64_t e, int64_t n_block, int64_t i)
{
    int64_t start = s->rows.start[e], n = s->rows.start[e + 1] - start, first = kl__token_block(n, n_block, i);
    return (struct kl__chosen){.first = start + first, .n = kl__token_block(n, n_block, i + 1) - first};
}

static int64_t n_block(const struct experts *s, int64_t e, struct kl__form form)
{
    return kl__n_token_block(form, s->rows.start[e + 1] - s->rows.start[e]);
}

/* -------------------------------------------------------------------------------------------------- hidden units -- */

/* One expert's run of panels. */
struct piece {
    int64_t e, run, end; /* end: the panel after the run's last */
};

static struct piece piece_of(const struct experts *s, int64_t task)
{
    int64_t n_hidden = s->call->gate->n_out, n_run = kl__n_run(n_hidden);
    return (struct piece){s->busy[task / n_run], task % n_run, kl__end_of_run(n_hidden, task % n_run)};
}

/* The panel of the gate that this thread will probably take after one of `task`: the next one, or as threads take
 * turns. */
static const void *start_of_next(const struct experts *s, int64_t task, int64_t panel)
{
    const struct kl__weight *gate = s->call->gate;
    struct piece piece = piece_of(s, task);
    if (panel + 1 < piece.end)
        return kl__panel_start(gate, piece.e, panel + 1);
    if (task + s->n_thread >= s->n_busy * kl__n_run(gate->n_out))
        return NULL;
    piece = piece_of(s, task + s->n_thread);
    return kl__panel_start(gate, piece.e, piece.run * KL__RUN);
}

static void hidden_panel(const struct experts *s, const struct scratch *scratch, int64_t task, int64_t panel)
{
    const struct kl__weight *gate = s->call->gate, *up = s->call->up;
    const struct kl__inputs *x_up = s->one_x ? &s->x_gate : &s->x_up;
    struct kl__panel_rows rows = kl__panel_rows(gate->n_out, panel);
    int64_t e = piece_of(s, task).e, n = n_block(s, e, s->x_gate.form), n_up = n_block(s, e, x_up->form);
    const void *gate_ahead = kl__panel_start(up, e, panel), *up_ahead = start_of_next(s, task, panel);
    float *sum = scratch->panel.sum;
    n = n > n_up ? n : n_up;
    for (int64_t i = 0; i < n; i++) {
        struct kl__chosen lines = rows_of(s, e, n, i), chosen = {s->rows.pair + lines.first, s->rows.topk, 0, lines.n};
        kl__panel_product(s->kernels, &scratch->panel, sum, &s->x_gate, chosen, gate, e, rows, gate_ahead);
        kl__panel_product(s->kernels, &scratch->panel, scratch->up, x_up, chosen, up, e, rows, up_ahead);
        s->kernels->swiglu_row(sum, sum, scratch->up, lines.n * KL__PANEL);
        for (int64_t j = 0; j < lines.n; j++)
            kl__write_inputs(s->kernels, &s->hidden, lines.first + j, rows.row,
                             sum + j * KL__PANEL + (rows.row - rows.first), rows.n);
    }
}

static void hidden_task(void *arg, int64_t task, int thread)
{
    const struct experts *s = arg;
    struct piece piece = piece_of(s, task);
    for (int64_t panel = piece.run * KL__RUN; panel < piece.end; panel++)
        hidden_panel(s, &s->scratch[thread], task, panel);
}

/* ------------------------------------------------------------------------------------------------------- outputs -- */

/* y of the tokens += what one expert makes of its rows, weighted. */
static void add_weighted(const struct experts *s, float *y, const float *sum, struct kl__chosen lines)
{
    for (int64_t i = 0; i < lines.n; i++, sum += KL__PANEL) {
        int64_t pair = s->rows.pair[lines.first + i], t = pair / s->rows.topk;
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
        int64_t e = s->busy[b], n = n_block(s, e, s->hidden.form);
        const void *ahead = b + 1 < s->n_busy                 ? kl__panel_start(down, s->busy[b + 1], panel)
                            : next < kl__n_panel(down->n_out) ? kl__panel_start(down, s->busy[0], next)
                                                              : NULL;
        for (int64_t i = 0; i < n; i++) {
            struct kl__chosen lines = rows_of(s, e, n, i);
            float *sum = scratch->panel.sum;
            kl__panel_product(s->kernels, &scratch->panel, sum, &s->hidden, lines, down, e, rows, ahead);
            add_weighted(s, scratch->y, sum, lines);
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

void kl__panel_experts(const kl_backend *be, const struct kl__weight_experts_call *call)
{
    struct kl__carver c = kl__carver(call->work);
    struct experts s = carve(&c, be, call);
    kl__sort_expert_rows(&s.rows, call->id);
    for (int64_t e = 0; e < s.rows.n_expert; e++)
        if (s.rows.start[e + 1] > s.rows.start[e])
            s.busy[s.n_busy++] = e;
    kl__set_inputs(be, &s.x_gate, call->x);
    if (!s.one_x)
        kl__set_inputs(be, &s.x_up, call->x);
    kl__pool_run(be->pool, s.n_busy * kl__n_run(call->gate->n_out), hidden_task, &s);
    kl__pool_run(be->pool, kl__n_panel(call->down->n_out), output_task, &s);
}
