#include "cpu/panels.h"

#include "cpu/packed.h"

#include "tensor/quant/levels.h"

#include <string.h>

/* Numbers of each row in a panel: 16 KiB, half a first-level cache. */
enum { Q8_K = 512, BF16_K = 256, PANEL_BYTES = 16384 };

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t row_bytes(const struct kl__weight *w)
{
    const struct kl__type_info *type = kl__type_info(w->type);
    return w->n_in / type->elements * type->bytes;
}

const void *kl__weight_row(const struct kl__weight *w, int64_t matrix, int64_t row)
{
    if (w->each)
        return (const char *)w->each[matrix] + row * row_bytes(w);
    return (const char *)w->data + (matrix * w->n_out + row) * row_bytes(w);
}

/* ---------------------------------------------------------------------------------------------------------- cuts -- */

struct kl__panel_rows kl__panel_rows(int64_t n_out, int64_t panel)
{
    struct kl__panel_rows rows = {.row = panel * KL__PANEL};
    rows.n = (int)min64(KL__PANEL, n_out - rows.row);
    rows.first = rows.n < KL__PANEL && n_out >= KL__PANEL ? n_out - KL__PANEL : rows.row;
    return rows;
}

const void *kl__panel_start(const struct kl__weight *w, int64_t matrix, int64_t panel)
{
    if (w->packed)
        return kl__packed_panel_start(w, matrix, panel);
    return kl__weight_row(w, matrix, kl__panel_rows(w->n_out, panel).first);
}

int64_t kl__n_token_block(struct kl__form form, int64_t n)
{
    int64_t most = form.meeting == KL__MEET_Q8 ? KL__TOKENS : 16 * KL__BF16_ROWS;
    return (n + most - 1) / most;
}

/* ------------------------------------------------------------------------------------------------------- product -- */

struct kl__panel kl__carve_panel(struct kl__carver *c)
{
    struct kl__panel p;
    size_t n_scale = Q8_K / 16 * KL__PANEL;
    p.numbers = kl__carve(c, 1, PANEL_BYTES);
    p.scale = kl__carve(c, n_scale, sizeof(float));
    p.low = kl__carve(c, n_scale, sizeof(float));
    p.spare = kl__carve(c, 2, PANEL_BYTES); /* no block has more than twice the bytes of its integers */
    p.sum = kl__carve(c, (size_t)KL__TOKENS * KL__PANEL, sizeof(float));
    return p;
}

/* One product, and where it stands. */
struct product {
    const struct kl__kernels *kernels;
    const struct kl__panel *p;
    float *sum;
    const struct kl__inputs *x;
    struct kl__chosen chosen;
    const struct kl__weight *w;
    const char *from; /* the first row */
    int64_t n_row;    /* that are there */
    const char *ahead;
};

/* Numbers k .. k + n_k - 1 of the rows.  Where there are too few of them, they are copied between zeros. */
static void unpack(const struct product *o, int64_t k, int64_t n_k)
{
    if (o->w->packed) {
        int64_t at = kl__packed_bytes(o->w->type, k);
        o->kernels->packed_panel(o->p->numbers, o->p->scale, o->p->low, o->w->type, o->from + at, n_k,
                                 o->ahead ? o->ahead + at : NULL);
        return;
    }
    const struct kl__type_info *type = kl__type_info(o->w->type);
    int64_t pitch = row_bytes(o->w), at = k / type->elements * type->bytes, bytes = n_k / type->elements * type->bytes;
    const char *from = o->from + at, *ahead = o->ahead ? o->ahead + KL__PANEL * at : NULL;
    if (o->n_row < KL__PANEL) {
        memset(o->p->spare, 0, (size_t)(KL__PANEL * bytes));
        for (int64_t i = 0; i < o->n_row; i++)
            memcpy(o->p->spare + i * bytes, from + i * pitch, (size_t)bytes);
        from = o->p->spare;
        pitch = bytes;
    }
    if (o->x->form.meeting == KL__MEET_BF16)
        o->kernels->bf16_panel(o->p->numbers, from, pitch, n_k, ahead);
    else
        o->kernels->weight_panel(o->p->numbers, o->p->scale, o->p->low, o->w->type, from, pitch, n_k / type->elements,
                                 ahead);
}

static const char *input_row(const struct product *o, int64_t i)
{
    int64_t row = o->chosen.at ? o->chosen.at[i] / o->chosen.per : o->chosen.first + i;
    return o->x->data + row * o->x->pitch;
}

/* The panel's numbers, those from k on, times rows i .. i + m - 1 of the chosen. */
static void multiply_integers(const struct product *o, int64_t k, int64_t n_k, int64_t i, int m)
{
    const struct kl__inputs *x = o->x;
    struct kl__q8_rows rows = {.scale = kl__scale_at(x) + k / KL__Q8_BLOCK * 4 - k,
                               .aux = kl__aux_at(x) + k / x->form.group * 4 - k};
    for (int j = 0; j < m; j++)
        rows.row[j] = input_row(o, i + j) + k;
    const float *low = kl__levels_info(o->w->type)->low ? o->p->low : NULL;
    o->kernels->q8_tile(o->sum + i * KL__PANEL, &rows, o->p->numbers, o->p->scale, low, n_k, x->form.group,
                        x->form.offset, m, k > 0);
}

static void multiply_pairs(const struct product *o, int64_t k, int64_t n_k, int64_t i, int m)
{
    const uint16_t *row[KL__BF16_ROWS];
    for (int j = 0; j < m; j++)
        row[j] = (const uint16_t *)(const void *)input_row(o, i + j) + k;
    o->kernels->bf16_tile(o->sum + i * KL__PANEL, row, o->p->numbers, (n_k + 1) / 2, m, k > 0);
}

/* All chosen rows, a few at a time, all nearly alike: the widest tile multiplies fastest. */
static void multiply(const struct product *o, int64_t k, int64_t n_k)
{
    enum kl__meeting meeting = o->x->form.meeting;
    int64_t most = meeting == KL__MEET_Q8 ? KL__Q8_ROWS : KL__BF16_ROWS, n_part = (o->chosen.n + most - 1) / most;
    for (int64_t part = 0; part < n_part; part++) {
        int64_t i = o->chosen.n * part / n_part;
        int m = (int)(o->chosen.n * (part + 1) / n_part - i);
        if (meeting == KL__MEET_Q8)
            multiply_integers(o, k, n_k, i, m);
        else
            multiply_pairs(o, k, n_k, i, m);
    }
}

/* So many rows go through a packed panel without its being unpacked: after the first few it is in the cache. */
enum { ROWS_PACKED = 2 * KL__Q8_ROWS };

/* Few rows meet the packed panel as it goes by. */
static void multiply_packed(const struct product *o)
{
    struct kl__q8_rows rows = {.scale = kl__scale_at(o->x), .aux = kl__aux_at(o->x)};
    int64_t n_part = (o->chosen.n + KL__Q8_ROWS - 1) / KL__Q8_ROWS;
    for (int64_t part = 0; part < n_part; part++) {
        int64_t i = o->chosen.n * part / n_part;
        int m = (int)(o->chosen.n * (part + 1) / n_part - i);
        for (int j = 0; j < m; j++)
            rows.row[j] = input_row(o, i + j);
        o->kernels->packed_tile(o->sum + i * KL__PANEL, &rows, o->w->type, o->from, o->w->n_in, m,
                                part == 0 ? o->ahead : NULL);
    }
}

void kl__panel_product(const struct kl__kernels *kernels, const struct kl__panel *p, float *sum,
                       const struct kl__inputs *x, struct kl__chosen chosen, const struct kl__weight *w, int64_t matrix,
                       struct kl__panel_rows rows, const void *ahead)
{
    struct product o = {kernels, p, sum, x, chosen, w, NULL, w->n_out - rows.first, ahead};
    o.from = kl__panel_start(w, matrix, rows.row / KL__PANEL);
    int64_t step = x->form.meeting == KL__MEET_Q8 ? Q8_K : BF16_K;
    if (w->n_in == 0)
        memset(sum, 0, (size_t)chosen.n * KL__PANEL * sizeof *sum);
    if (w->packed && chosen.n <= ROWS_PACKED) {
        multiply_packed(&o);
        return;
    }
    for (int64_t k = 0; k < w->n_in; k += step) {
        int64_t n_k = min64(step, w->n_in - k);
        unpack(&o, k, n_k);
        multiply(&o, k, n_k);
    }
}
