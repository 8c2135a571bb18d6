/* x is rounded once for every form of weights among the products.  A task is a panel of 32 outputs and up to
 * KL__PANEL_TOKENS tokens. */
#include "cpu/weight_blocks.h"

#include "base/pool.h"
#include "cpu/cpu_backend.h"
#include "cpu/panels.h"
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
    struct kl__panel *panel; /* [threads] */
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
    int n_thread = kl_pool_threads(be->pool);
    job.panel = kl__carve(c, (size_t)n_thread, sizeof *job.panel);
    for (int i = 0; i < n_thread; i++) {
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

static int64_t n_token_block(const struct job *job)
{
    return (job->n_token + KL__PANEL_TOKENS - 1) / KL__PANEL_TOKENS;
}

static int64_t n_task(const struct job *job, int i)
{
    return kl__weight_has_levels(job->p[i].w) ? kl__n_panel(job->p[i].w->n_out) * n_token_block(job) : 0;
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
    int i = 0;
    for (; task >= n_task(job, i); i++)
        task -= n_task(job, i);
    const struct kl__weight_product *p = &job->p[i];
    const struct kl__panel *panel = &job->panel[thread];
    int64_t n_panel = kl__n_panel(p->w->n_out), block = task / n_panel;
    struct kl__chosen chosen = {.first = block * KL__PANEL_TOKENS};
    chosen.n = job->n_token - chosen.first < KL__PANEL_TOKENS ? job->n_token - chosen.first : KL__PANEL_TOKENS;
    struct kl__panel_rows rows = kl__panel_rows(p->w->n_out, task % n_panel);
    kl__panel_product(job->kernels, panel, panel->sum, rounded_for(job, p->w), chosen, p->w, 0, rows);
    store(p, panel->sum, chosen, rows);
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
