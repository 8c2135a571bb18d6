#include "cpu/panels.h"

#include "base/pool.h"
#include "cpu/cpu_backend.h"
#include "cpu/weight.h"
#include "tensor/tensor.h"

#include <string.h>

/* Numbers of each row in a panel: 16 KiB of integers, half a first-level cache. */
enum { PANEL_K = 512 };

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* ------------------------------------------------------------------------------------------------- activations -- */

static int64_t scale_at(const struct kl__q8 *x)
{
    return x->n;
}

static int64_t aux_at(const struct kl__q8 *x)
{
    return x->n + x->n / KL__Q8_BLOCK * 4;
}

struct kl__q8 kl__carve_q8(struct kl__carver *c, const struct kl__levels_info *form, int64_t n_row, int64_t n)
{
    struct kl__q8 x = {.group = form->group, .offset = form->offset, .n_row = n_row, .n = n};
    int64_t bytes = aux_at(&x) + n / form->group * 4;
    x.pitch = (bytes + KL_ALIGN - 1) / KL_ALIGN * KL_ALIGN;
    x.data = kl__carve(c, (size_t)n_row, (size_t)x.pitch);
    return x;
}

void kl__q8_write(const struct kl__kernels *kernels, const struct kl__q8 *to, int64_t row, int64_t k, const float *x,
                  int64_t n)
{
    char *record = to->data + row * to->pitch;
    char *scale = record + scale_at(to) + k / KL__Q8_BLOCK * 4, *aux = record + aux_at(to) + k / to->group * 4;
    kernels->q8_row((int8_t *)record + k, (float *)(void *)scale, aux, x, n, to->group, to->offset);
}

struct q8_job {
    const struct kl__kernels *kernels;
    const struct kl__q8 *to;
    kl_tensor x;
};

enum { ROWS_PER_TASK = 8 };

static void q8_task(void *arg, int64_t task, int thread)
{
    (void)thread;
    const struct q8_job *job = arg;
    for (int64_t i = task * ROWS_PER_TASK; i < min64((task + 1) * ROWS_PER_TASK, job->to->n_row); i++)
        kl__q8_write(job->kernels, job->to, i, 0, kl__row(job->x, i), job->to->n);
}

void kl__q8_of(const kl_backend *be, const struct kl__q8 *to, kl_tensor x)
{
    struct q8_job job = {kl__cpu_kernels(be), to, x};
    kl__pool_run(be->pool, (to->n_row + ROWS_PER_TASK - 1) / ROWS_PER_TASK, q8_task, &job);
}

/* ------------------------------------------------------------------------------------------------------- panels -- */

struct kl__panel kl__carve_panel(struct kl__carver *c)
{
    struct kl__panel p;
    size_t n_scale = PANEL_K / 16 * KL__PANEL;
    p.q = kl__carve(c, PANEL_K, KL__PANEL);
    p.scale = kl__carve(c, n_scale, sizeof(float));
    p.low = kl__carve(c, n_scale, sizeof(float));
    p.spare = kl__carve(c, PANEL_K * KL__PANEL, sizeof(uint16_t)); /* no block has more than 16 bits a number */
    p.sum = kl__carve(c, (size_t)KL__PANEL_TOKENS * KL__PANEL, sizeof(float));
    return p;
}

struct kl__panel_rows kl__panel_rows(int64_t n_out, int64_t panel)
{
    struct kl__panel_rows rows = {.row = panel * KL__PANEL};
    rows.n = (int)min64(KL__PANEL, n_out - rows.row);
    rows.first = rows.n < KL__PANEL && n_out >= KL__PANEL ? n_out - KL__PANEL : rows.row;
    return rows;
}

/* Part k .. k + n_k - 1 of the rows, where there may be too few of them: then they are copied between zeros. */
static void unpack(const struct kl__kernels *kernels, const struct kl__panel *p, const struct kl__weight *w,
                   const char *from, int64_t n_row, int64_t k, int64_t n_k, const char *ahead)
{
    const struct kl__type_info *type = kl__type_info(w->type);
    int64_t row_bytes = w->n_in / type->elements * type->bytes, n_block = n_k / type->elements;
    int64_t at = k / type->elements * type->bytes;
    from += at;
    if (n_row < KL__PANEL) {
        int64_t bytes = n_block * type->bytes;
        memset(p->spare, 0, (size_t)(KL__PANEL * bytes));
        for (int64_t i = 0; i < n_row; i++)
            memcpy(p->spare + i * bytes, from + i * row_bytes, (size_t)bytes);
        from = p->spare;
        row_bytes = bytes;
    }
    kernels->weight_panel(p->q, p->scale, p->low, w->type, from, row_bytes, n_block,
                          ahead ? ahead + KL__PANEL * at : NULL);
}

static int64_t row_of(struct kl__chosen chosen, int64_t i)
{
    return chosen.at ? chosen.at[i] / chosen.per : chosen.first + i;
}

/* The panel's numbers, which are those from k on, times all chosen rows. */
static void multiply(const struct kl__kernels *kernels, const struct kl__panel *p, float *sum, const struct kl__q8 *x,
                     struct kl__chosen chosen, bool low, int64_t k, int64_t n_k)
{
    struct kl__q8_rows rows = {.scale = scale_at(x) + k / KL__Q8_BLOCK * 4 - k,
                               .aux = aux_at(x) + k / x->group * 4 - k};
    int64_t n_part = (chosen.n + KL__Q8_ROWS - 1) / KL__Q8_ROWS;
    for (int64_t part = 0; part < n_part; part++) {
        int64_t i = chosen.n * part / n_part, m = chosen.n * (part + 1) / n_part - i;
        for (int64_t j = 0; j < m; j++)
            rows.row[j] = x->data + row_of(chosen, i + j) * x->pitch + k;
        kernels->q8_tile(sum + i * KL__PANEL, &rows, p->q, p->scale, low ? p->low : NULL, n_k, x->group, x->offset,
                         (int)m, k > 0);
    }
}

void kl__panel_product(const struct kl__kernels *kernels, const struct kl__panel *p, float *sum, const struct kl__q8 *x,
                       struct kl__chosen chosen, const struct kl__weight *w, int64_t matrix,
                       struct kl__panel_rows rows, const void *ahead)
{
    const char *from = kl__weight_row(w, matrix, rows.first);
    bool low = kl__levels_info(w->type)->low;
    if (w->n_in == 0)
        memset(sum, 0, (size_t)chosen.n * KL__PANEL * sizeof *sum);
    for (int64_t k = 0; k < w->n_in; k += PANEL_K) {
        int64_t n_k = min64(PANEL_K, w->n_in - k);
        unpack(kernels, p, w, from, w->n_out - rows.first, k, n_k, ahead);
        multiply(kernels, p, sum, x, chosen, low, k, n_k);
    }
}
