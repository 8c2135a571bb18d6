#include "model/gather.h"

enum {
    BLOCK = 256, /* the largest block of any type */
    RUN = 1024,  /* elements of a row that is turned, at a time */
};

static size_t element_bytes(const struct kl__gather *g)
{
    return g->raw ? (size_t)kl__type_info(g->a->type)->bytes : sizeof(float);
}

/* Part of a block: decoded whole. */
static void read_part(const struct kl__stored *t, float *x, int64_t first, int64_t n)
{
    const struct kl__type_info *info = kl__type_info(t->type);
    float block[BLOCK];
    kl__decode(t->type, block, (const char *)t->data + (size_t)(first / info->elements) * (size_t)info->bytes,
               info->elements);
    memcpy(x, block + first % info->elements, (size_t)n * sizeof *x);
}

static void read_f32(const struct kl__stored *t, float *x, int64_t first, int64_t n)
{
    const struct kl__type_info *info = kl__type_info(t->type);
    int64_t head = first % info->elements ? info->elements - first % info->elements : 0;
    head = head < n ? head : n;
    int64_t tail = (n - head) % info->elements, body = n - head - tail;
    if (head)
        read_part(t, x, first, head);
    if (body)
        kl__decode(t->type, x + head,
                   (const char *)t->data + (size_t)((first + head) / info->elements) * (size_t)info->bytes, body);
    if (tail)
        read_part(t, x + head + body, first + head + body, tail);
}

/* Elements first .. first + n - 1 of one tensor. */
static void read_run(const struct kl__gather *g, const struct kl__stored *t, void *x, int64_t first, int64_t n)
{
    size_t bytes = element_bytes(g);
    if (g->raw)
        memcpy(x, (const char *)t->data + (size_t)first * bytes, (size_t)n * bytes);
    else
        read_f32(t, x, first, n);
}

static void read_stack(const struct kl__gather *g, char *x, int64_t first, int64_t n)
{
    while (n > 0) {
        int64_t at = first % g->n_each, now = g->n_each - at < n ? g->n_each - at : n;
        read_run(g, g->each[first / g->n_each], x, at, now);
        x += (size_t)now * element_bytes(g);
        first += now;
        n -= now;
    }
}

/* to[j * step + column] = from[j] */
static void scatter(char *to, const char *from, int64_t n, int64_t step, int64_t column, size_t bytes)
{
    for (int64_t j = 0; j < n; j++)
        memcpy(to + (size_t)(j * step + column) * bytes, from + (size_t)j * bytes, bytes);
}

/* x [n_row][n_column], where column i is the run of n_row elements of `t` that begins at at0 + i * step. */
static void read_turned(const struct kl__gather *g, const struct kl__stored *t, char *x, int64_t n_row,
                        int64_t n_column, int64_t at0, int64_t step)
{
    float run[RUN];
    size_t bytes = element_bytes(g);
    for (int64_t r = 0; r < n_row; r += RUN)
        for (int64_t i = 0; i < n_column; i++) {
            int64_t now = n_row - r < RUN ? n_row - r : RUN;
            read_run(g, t, run, at0 + i * step + r, now);
            scatter(x + (size_t)(r * n_column) * bytes, (const char *)run, now, n_column, i, bytes);
        }
}

/* Whole rows (h, r) of DN elements. */
static void read_keys(const struct kl__gather *g, char *x, int64_t first, int64_t n)
{
    int64_t row = first / g->n_nope, end = (first + n) / g->n_nope, height = g->n_nope + g->n_value;
    while (row < end) {
        int64_t h = row / g->rank, r = row % g->rank;
        int64_t now = g->rank - r < end - row ? g->rank - r : end - row;
        read_turned(g, g->a, x, now, g->n_nope, h * height * g->rank + r, g->rank);
        x += (size_t)(now * g->n_nope) * element_bytes(g);
        row += now;
    }
}

/* Whole rows (h, j) of R elements. */
static void read_values(const struct kl__gather *g, char *x, int64_t first, int64_t n)
{
    int64_t row = first / g->rank, end = (first + n) / g->rank, height = g->n_nope + g->n_value;
    while (row < end) {
        int64_t h = row / g->n_value, j = row % g->n_value;
        int64_t now = g->n_value - j < end - row ? g->n_value - j : end - row;
        read_run(g, g->a, x, (h * height + g->n_nope + j) * g->rank, now * g->rank);
        x += (size_t)(now * g->rank) * element_bytes(g);
        row += now;
    }
}

/* Whole rows of kv_b: keys turned back, and values. */
static void read_kv_b(const struct kl__gather *g, char *x, int64_t first, int64_t n)
{
    int64_t row = first / g->rank, end = (first + n) / g->rank, height = g->n_nope + g->n_value;
    while (row < end) {
        int64_t h = row / height, i = row % height, stop = i < g->n_nope ? g->n_nope : height;
        int64_t now = stop - i < end - row ? stop - i : end - row;
        if (i < g->n_nope)
            read_turned(g, g->a, x, now, g->rank, h * g->rank * g->n_nope + i, g->n_nope);
        else
            read_run(g, g->b, x, (h * g->n_value + i - g->n_nope) * g->rank, now * g->rank);
        x += (size_t)(now * g->rank) * element_bytes(g);
        row += now;
    }
}

static void gather(void *x, const void *source, int64_t first, int64_t n)
{
    const struct kl__gather *g = source;
    switch (g->kind) {
    case KL__GATHER_PLAIN:
        read_run(g, g->a, x, first, n);
        break;
    case KL__GATHER_STACK:
        read_stack(g, x, first, n);
        break;
    case KL__GATHER_SLICE:
        read_run(g, g->a, x, g->index * g->n_each + first, n);
        break;
    case KL__GATHER_KEYS:
        read_keys(g, x, first, n);
        break;
    case KL__GATHER_VALUES:
        read_values(g, x, first, n);
        break;
    case KL__GATHER_KV_B:
        read_kv_b(g, x, first, n);
        break;
    }
}

struct kl__source kl__gather_source(const struct kl__gather *g)
{
    struct kl__source s = {.read = gather, .self = g, .raw = g->raw};
    if (g->kind == KL__GATHER_KEYS)
        s.unit = g->n_nope;
    else if (g->kind == KL__GATHER_VALUES || g->kind == KL__GATHER_KV_B)
        s.unit = g->rank;
    return s;
}
