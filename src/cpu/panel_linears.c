/* x is prepared once for every form that the weights ask for.  A task is a run of panels, one after the other as they
 * lie in memory, and a block of tokens. */
#include "base/pool.h"
#include "cpu/cpu_backend.h"
#include "cpu/panel_products.h"
#include "cpu/panels.h"
#include "tensor/tensor.h"

/* As many forms as there are: bf16, and the pairs of group and offset in tensor/quant/levels.c. */
enum { MAX_FORMS = 10 };

struct job {
    const kl_backend *be;
    const struct kl__weight_product *p;
    int n;
    int64_t n_token;
    struct kl__inputs x[MAX_FORMS];
    int n_form;
    struct kl__panel *panel; /* [n_thread] */
    int n_thread;
};

static const struct kl__inputs *inputs_for(const struct job *job, const struct kl__weight *w)
{
    for (int i = 0; i < job->n_form; i++)
        if (kl__same_form(job->x[i].form, kl__form_of(job->be, w->type)))
            return &job->x[i];
    return NULL;
}

static struct job carve(struct kl__carver *c, const kl_backend *be, const struct kl__weight_product *p, int n,
                        kl_tensor x)
{
    struct job job = {.be = be, .p = p, .n = n, .n_token = x.dim[0], .n_thread = kl_pool_threads(be->pool)};
    job.panel = kl__carve(c, (size_t)job.n_thread, sizeof *job.panel);
    for (int i = 0; i < job.n_thread; i++) {
        struct kl__panel panel = kl__carve_panel(c);
        if (job.panel)
            job.panel[i] = panel;
    }
    for (int i = 0; i < n; i++)
        if (kl__in_panels(be, p[i].w) && !inputs_for(&job, p[i].w))
            job.x[job.n_form++] = kl__carve_inputs(c, kl__form_of(be, p[i].w->type), x.dim[0], x.dim[1]);
    return job;
}

size_t kl__panel_linears_workspace(const kl_backend *be, const struct kl__weight_product *p, int n, int64_t n_token)
{
    struct kl__carver c = {0};
    carve(&c, be, p, n, kl_view2(NULL, KL_F32, n_token, p[0].w->n_in));
    return kl__carver_need(&c);
}

/* Part of one product: a run of panels for a block of tokens. */
struct piece {
    const struct kl__weight_product *p; /* NULL past the last one */
    int64_t run, block, n_block;
};

static int64_t n_block(const struct job *job, int i)
{
    return kl__n_token_block(kl__form_of(job->be, job->p[i].w->type), job->n_token);
}

static int64_t n_task(const struct job *job, int i)
{
    return kl__in_panels(job->be, job->p[i].w) ? kl__n_run(job->p[i].w->n_out) * n_block(job, i) : 0;
}

static struct piece piece_of(const struct job *job, int64_t task)
{
    int i = 0;
    for (; i < job->n && task >= n_task(job, i); i++)
        task -= n_task(job, i);
    if (i == job->n)
        return (struct piece){0};
    int64_t n_run = kl__n_run(job->p[i].w->n_out);
    return (struct piece){&job->p[i], task % n_run, task / n_run, n_block(job, i)};
}

/* What this thread will probably take after `task`: threads take turns. */
static const void *start_of_next(const struct job *job, int64_t task)
{
    struct piece next = piece_of(job, task + job->n_thread);
    return next.p ? kl__panel_start(next.p->w, 0, next.run * KL__RUN) : NULL;
}

/* Columns of the panel's sums that are rows.row and after, into y. */
static void store(const struct kl__weight_product *p, const float *sum, struct kl__chosen chosen,
                  struct kl__panel_rows rows)
{
    for (int64_t i = 0; i < chosen.n; i++) {
        const float *from = sum + i * KL__PANEL + (rows.row - rows.first);
        float *y = (float *)kl__row(p->y, chosen.first + i) + rows.row;
        for (int j = 0; j < rows.n; j++)
            y[j] = p->add ? y[j] + from[j] : from[j];
    }
}

static void product_task(void *arg, int64_t task, int thread)
{
    const struct job *job = arg;
    const struct kl__panel *p = &job->panel[thread];
    struct piece piece = piece_of(job, task);
    const struct kl__weight *w = piece.p->w;
    struct kl__chosen chosen = {.first = kl__token_block(job->n_token, piece.n_block, piece.block)};
    chosen.n = kl__token_block(job->n_token, piece.n_block, piece.block + 1) - chosen.first;
    int64_t end = kl__end_of_run(w->n_out, piece.run);
    for (int64_t i = piece.run * KL__RUN; i < end; i++) {
        struct kl__panel_rows rows = kl__panel_rows(w->n_out, i);
        const void *ahead = i + 1 < end ? kl__panel_start(w, 0, i + 1) : start_of_next(job, task);
        kl__panel_product(kl__cpu_kernels(job->be), p, p->sum, inputs_for(job, w), chosen, w, 0, rows, ahead);
        store(piece.p, p->sum, chosen, rows);
    }
}

void kl__panel_linears(const kl_backend *be, const struct kl__weight_product *p, int n, kl_tensor x, kl_workspace work)
{
    struct kl__carver c = kl__carver(work);
    struct job job = carve(&c, be, p, n, x);
    for (int i = 0; i < job.n_form; i++)
        kl__set_inputs(be, &job.x[i], x);
    int64_t n_all = 0;
    for (int i = 0; i < n; i++)
        n_all += n_task(&job, i);
    kl__pool_run(be->pool, n_all, product_task, &job);
}
