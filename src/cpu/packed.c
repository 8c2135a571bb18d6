#include "cpu/packed.h"

#include "base/pool.h"
#include "cpu/cpu_backend.h"
#include "tensor/quant/k_scales.h"

#include <string.h>

size_t kl__cpu_weight_packed_bytes(const kl_backend *be, const struct kl__weight *w)
{
    if (kl__in_panels(be, w) == (w->type == KL__TYPE_BF16))
        return 0;
    return (size_t)(w->n_matrix * kl__packed_matrix_bytes(w));
}

/* ------------------------------------------------------------------------------------------------------ one part -- */

enum {
    PART = 256, /* numbers of each row that are unpacked at a time */
    GROUP = 32,
};

/* Rows of blocks, somewhere. */
struct source {
    const uint8_t *from;
    int64_t pitch;
    int n_row; /* the others of a panel are zeros */
};

static const uint8_t *block_of(const struct source *s, int row, int64_t at)
{
    return s->from + row * s->pitch + at;
}

static void put_numbers(uint8_t *to, const uint8_t *q, bool nibbles)
{
    const int n = GROUP * KL__PANEL;
    for (int i = 0; nibbles && i < n / 2; i++)
        to[i] = (uint8_t)(q[i] | q[n / 2 + i] << 4);
    if (!nibbles)
        memcpy(to, q, (size_t)n);
}

/* Groups whose blocks begin with the scale. */
static uint8_t *put_small(uint8_t *to, const uint8_t *q, const struct source *s, int64_t at, int64_t n, int bytes,
                          bool nibbles)
{
    for (int64_t k = 0; k < n; k += GROUP, at += bytes) {
        memset(to, 0, 64);
        for (int row = 0; row < s->n_row; row++)
            memcpy(to + 2 * row, block_of(s, row, at), 2);
        put_numbers(to + 64, q + k * KL__PANEL, nibbles);
        to += kl__packed_bytes(nibbles ? KL__TYPE_Q4_0 : KL__TYPE_Q8_0, GROUP);
    }
    return to;
}

/* A block of 256: d, dmin, scales and minima, numbers. */
static uint8_t *put_large(uint8_t *to, const uint8_t *q, const struct source *s, int64_t at)
{
    memset(to, 0, 640);
    for (int row = 0; row < s->n_row; row++) {
        const uint8_t *block = block_of(s, row, at);
        memcpy(to + 2 * row, block, 2);
        memcpy(to + 64 + 2 * row, block + 2, 2);
        for (int g = 0; g < 8; g++) {
            int scale, low;
            kl__k_scales_get(block + 4, g, &scale, &low);
            to[128 + g * KL__PANEL + row] = (uint8_t)scale;
            to[384 + g * KL__PANEL + row] = (uint8_t)low;
        }
    }
    to += 640;
    for (int g = 0; g < 8; g++, to += GROUP * KL__PANEL / 2)
        put_numbers(to, q + g * GROUP * KL__PANEL, true);
    return to;
}

/* -------------------------------------------------------------------------------------------------------- panels -- */

struct job {
    const struct kl__kernels *kernels;
    const struct kl__weight *w;
    char *to;
};

static struct source source_of(const struct job *job, int64_t matrix, int64_t panel)
{
    const struct kl__weight *w = job->w;
    struct kl__panel_rows rows = kl__panel_rows(w->n_out, panel);
    size_t pitch = 0;
    kl__type_bytes(w->type, w->n_in, &pitch);
    int64_t first = w->type == KL__TYPE_BF16 ? rows.row : rows.first, rest = w->n_out - first;
    return (struct source){kl__weight_row(w, matrix, first), (int64_t)pitch,
                           (int)(rest < KL__PANEL ? rest : KL__PANEL)};
}

static void pack_panel(const struct job *job, uint8_t *to, const struct source *s)
{
    const struct kl__type_info *type = kl__type_info(job->w->type);
    int64_t n_in = job->w->n_in;
    uint8_t q[PART * KL__PANEL], spare[KL__PANEL * PART * 2];
    float scale[PART / 16 * KL__PANEL], low[PART / 16 * KL__PANEL];
    for (int64_t k = 0; k < n_in; k += PART) {
        int64_t n = n_in - k < PART ? n_in - k : PART, at = k / type->elements * type->bytes;
        int64_t pitch = s->pitch, bytes = n / type->elements * type->bytes;
        const uint8_t *from = s->from + at;
        if (s->n_row < KL__PANEL) {
            memset(spare, 0, (size_t)(KL__PANEL * bytes));
            for (int row = 0; row < s->n_row; row++)
                memcpy(spare + row * bytes, from + row * pitch, (size_t)bytes);
            from = spare;
            pitch = bytes;
        }
        job->kernels->weight_panel(q, scale, low, job->w->type, from, pitch, n / type->elements, NULL);
        to = job->w->type == KL__TYPE_Q4_K ? put_large(to, q, s, at)
                                           : put_small(to, q, s, at, n, type->bytes, job->w->type == KL__TYPE_Q4_0);
    }
}

/* Pairs of a part are parted by row already when bf16_panel leaves them. */
static void pack_pairs(const struct job *job, uint8_t *to, const struct source *s)
{
    int64_t n_in = job->w->n_in, pitch = s->pitch;
    uint8_t spare[KL__PANEL * PART * 2];
    for (int64_t k = 0; k < n_in; k += PART, to += kl__packed_bytes(KL__TYPE_BF16, PART)) {
        int64_t n = n_in - k < PART ? n_in - k : PART;
        const uint8_t *from = s->from + 2 * k;
        if (s->n_row < KL__PANEL) {
            memset(spare, 0, sizeof spare);
            for (int row = 0; row < s->n_row; row++)
                memcpy(spare + row * 2 * PART, from + row * s->pitch, (size_t)(2 * n));
            from = spare;
            pitch = 2 * PART;
        }
        job->kernels->bf16_panel((uint16_t *)(void *)to, from, pitch, n, NULL);
    }
}

static void pack_task(void *arg, int64_t task, int thread)
{
    (void)thread;
    const struct job *job = arg;
    int64_t n_panel = kl__n_panel(job->w->n_out), matrix = task / n_panel, panel = task % n_panel;
    struct source s = source_of(job, matrix, panel);
    uint8_t *to = (uint8_t *)job->to + task * kl__packed_bytes(job->w->type, job->w->n_in);
    if (job->w->type == KL__TYPE_BF16)
        pack_pairs(job, to, &s);
    else
        pack_panel(job, to, &s);
}

void kl__cpu_weight_pack(const kl_backend *be, void *to, const struct kl__weight *w)
{
    struct job job = {kl__cpu_kernels(be), w, to};
    kl__pool_run(be->pool, w->n_matrix * kl__n_panel(w->n_out), pack_task, &job);
}
