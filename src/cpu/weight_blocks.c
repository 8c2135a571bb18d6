/* x is rounded once for every form of weights among the products.  A task is RUN panels of 32 outputs, one after the
 * other as they lie in memory, and up to KL__PANEL_TOKENS tokens. */
#include "cpu/weight_blocks.h"

#include "base/pool.h"
#include "cpu/cpu_backend.h"
#include "cpu/panels.h"
#include "cpu/weight.h"
#include "tensor/tensor.h"

bool kl__weight_has_levels(const struct kl__weight *w)
{
    return kl__levels_info(w->type) != NULL;
}

/* Forms differ in how many numbers share a scale, and in the offset: x is kept for each that occurs. */
enum { MAX_FORMS = 8 };

struct job {
    const struct kl__kernels *kernels;
    const struct kl__weight_product *p;
    int n;
    int64_t n_token;
    struct kl__q8 x[MAX_FORMS];
    int n_form;
    struct kl__panel *panel; /* [n_thread] */
    int n_thread;
};

static const struct kl__q8 *rounded_for(const struct job *job, const struct kl__weight *w)
{
    const struct kl__levels_info *form = kl__levels_info(w->type);
    for (int i = 0; i < job->n_form; i++)
        if (job->x[i].group == form->group && job->x[i].offset == form->offset)
            return &job->x[i];
    return NULL;
}

static struct job carve(struct kl__carver *c, const kl_backend *be, const struct kl__weight_product *p, int n,
                        int64_t n_token)
{
    struct job job = {.kernels = kl__cpu_kernels(be), .p = p, .n = n, .n_token = n_token};
    job.n_thread = kl_pool_threads(be->pool);
    job.panel = kl__carve(c, (size_t)job.n_thread, sizeof *job.panel);
    for (int i = 0; i < job.n_thread; i++) {
        struct kl__panel panel = kl__carve_panel(c);
        if (job.panel)
            job.panel[i] = panel;
    }
    for (int i = 0; i < n; i++)
        if (kl__weight_has_levels(p[i].w) && !rounded_for(&job, p[i].w))
            job.x[job.n_form++] = kl__carve_q8(c, kl__levels_info(p[i].w->type), n_token, p[i].w->n_in);
    return job;
}

size_t kl__block_linears_workspace(const kl_backend *be, const struct kl__weight_product *p, int n, int64_t n_token)
{
    struct kl__carver c = {0};
    carve(&c, be, p, n, n_token);
    return kl__carver_need(&c);
}

/* --------------------------------------------------------------------------------------------------------- tasks -- */

enum { RUN = 4 };

/* Part of one product: panels first .. end-1 for the tokens of block `block`. */
struct piece {
    const struct kl__weight_product *p; /* NULL past the last one */
    int64_t first, end, block;
};

static int64_t n_token_block(const struct job *job)
{
    return (job->n_token + KL__PANEL_TOKENS - 1) / KL__PANEL_TOKENS;
}

static int64_t n_run(const struct kl__weight *w)
{
    return (kl__n_panel(w->n_out) + RUN - 1) / RUN;
}

static int64_t n_task(const struct job *job, int i)
{
    return kl__weight_has_levels(job->p[i].w) ? n_run(job->p[i].w) * n_token_block(job) : 0;
}

static struct piece piece_of(const struct job *job, int64_t task)
{
    int i = 0;
    for (; i < job->n && task >= n_task(job, i); i++)
        task -= n_task(job, i);
    if (i == job->n)
        return (struct piece){0};
    const struct kl__weight *w = job->p[i].w;
    struct piece piece = {.p = &job->p[i], .first = task % n_run(w) * RUN, .block = task / n_run(w)};
    piece.end = piece.first + RUN < kl__n_panel(w->n_out) ? piece.first + RUN : kl__n_panel(w->n_out);
    return piece;
}

static const void *start_of(const struct kl__weight *w, int64_t panel)
{
    return kl__weight_row(w, 0, kl__panel_rows(w->n_out, panel).first);
}

/* What this thread will probably take after `task`: threads take turns. */
static const void *start_of_next(const struct job *job, int64_t task)
{
    struct piece piece = piece_of(job, task + job->n_thread);
    return piece.p ? start_of(piece.p->w, piece.first) : NULL;
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
    const struct kl__panel *panel = &job->panel[thread];
    struct piece piece = piece_of(job, task);
    const struct kl__weight *w = piece.p->w;
    struct kl__chosen chosen = {.first = piece.block * KL__PANEL_TOKENS};
    chosen.n = job->n_token - chosen.first < KL__PANEL_TOKENS ? job->n_token - chosen.first : KL__PANEL_TOKENS;
    for (int64_t i = piece.first; i < piece.end; i++) {
        struct kl__panel_rows rows = kl__panel_rows(w->n_out, i);
        const void *ahead = i + 1 < piece.end ? start_of(w, i + 1) : start_of_next(job, task);
        kl__panel_product(job->kernels, panel, panel->sum, rounded_for(job, w), chosen, w, 0, rows, ahead);
        store(piece.p, panel->sum, chosen, rows);
    }
}

void kl__block_linears(const kl_backend *be, const struct kl__weight_product *p, int n, kl_tensor x, kl_workspace work)
{
    struct kl__carver c = kl__carver(work);
    struct job job = carve(&c, be, p, n, x.dim[0]);
    for (int i = 0; i < job.n_form; i++)
        kl__q8_of(be, &job.x[i], x);
    int64_t n_all = 0;
    for (int i = 0; i < n; i++)
        n_all += n_task(&job, i);
    kl__pool_run(be->pool, n_all, product_task, &job);
}
