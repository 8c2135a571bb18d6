/* A tile with many rows of f32: B is packed once, as many blocks of k as fit beside other things into the second-level
 * cache, and stays there; a few rows of A at a time go by, as they lie where they may, and leave as rows of C.  What
 * the next rows will be read from, and these written to, is fetched meanwhile: so memory is waited for nowhere.  Tasks
 * that follow each other on a thread with the same part of B find it packed. */
#include "cpu/gemm_tile.h"

enum { PAGE = 4096, LINE = 64, FEW_PANELS = 4, SPAN = 2 * KL__GEMM_K };

bool kl__gemm_stays(const struct kl__gemm *g, struct kl__gemm_sizes s)
{
    return g->m >= FEW_PANELS * s.rows && g->k > 0 && g->a.dtype == KL_F32 && g->b.dtype == KL_F32 && !g->b_blocks &&
           !g->b_packed;
}

int64_t kl__gemm_stay_span(struct kl__gemm_sizes s, int64_t n)
{
    return s.block_columns / (kl__ceil_div(n, s.columns) * s.columns) * KL__GEMM_K;
}

/* A span of k, whose B is there. */
struct span {
    int64_t k0, end;
    int64_t n_block, n_panel;
    bool first, last;
};

static struct span span_of(const struct kl__gemm_tile *t, int64_t k0)
{
    int64_t fits = kl__gemm_stay_span(t->sizes, t->n);
    int64_t end = kl__least(k0 + (fits < t->g->k ? kl__least(fits, SPAN) : fits), t->g->k);
    return (struct span){.k0 = k0,
                         .end = end,
                         .n_block = kl__ceil_div(end - k0, KL__GEMM_K),
                         .n_panel = kl__ceil_div(t->n, t->sizes.columns),
                         .first = k0 == 0,
                         .last = end == t->g->k};
}

static float *panel_of_b(const struct kl__gemm_tile *t, const struct span *s, int64_t panel, int64_t block)
{
    return t->scratch.a + (panel * s->n_block + block) * t->sizes.columns * KL__GEMM_K;
}

static void hold_b(const struct kl__gemm_tile *t, const struct span *s)
{
    const struct kl__gemm *g = t->g;
    struct kl__gemm_held *held = t->scratch.held;
    if (held->g == g && held->j0 == t->j0 && held->k0 == s->k0)
        return;
    *held = (struct kl__gemm_held){g, t->j0, s->k0};
    for (int64_t panel = 0; panel < s->n_panel; panel++)
        for (int64_t block = 0; block < s->n_block; block++) {
            int64_t column = t->j0 + panel * t->sizes.columns, k = s->k0 + block * KL__GEMM_K;
            t->kernels->gemm_pack(panel_of_b(t, s, panel, block), kl__gemm_element(g->b, column, k), KL_F32, g->b.pitch,
                                  g->b.transposed, g->n - column, t->sizes.columns, kl__gemm_k_left(g, k));
        }
}

/* ------------------------------------------------------------------------------------------------------ fetching -- */

/* Memory that is wanted soon: n rows of `bytes`. */
struct region {
    const char *from;
    int64_t step, n, bytes;
};

static struct region rows_of_a(const struct kl__gemm_tile *t, int64_t p, const struct span *s)
{
    struct kl__matrix a = t->g->a;
    int64_t rows = kl__least(t->rows, t->m - p), item = (int64_t)sizeof(float), n_k = s->end - s->k0;
    return (struct region){.from = kl__gemm_element(a, t->i0 + p, s->k0),
                           .step = a.pitch * item,
                           .n = a.transposed ? n_k : rows,
                           .bytes = (a.transposed ? rows : n_k) * item};
}

/* What is read after rows p: the next ones, or the first of the next span. */
static struct region next_rows(const struct kl__gemm_tile *t, int64_t p, const struct span *s)
{
    if (p + t->rows < t->m)
        return rows_of_a(t, p + t->rows, s);
    if (s->last)
        return (struct region){0};
    struct span next = span_of(t, s->end);
    return rows_of_a(t, 0, &next);
}

/* The rows of memory that the next span's B is packed from, dealt out to all rows of A. */
static struct region part_of_next_b(const struct kl__gemm_tile *t, int64_t p, const struct span *s)
{
    if (s->last)
        return (struct region){0};
    struct span next = span_of(t, s->end);
    struct kl__matrix b = t->g->b;
    int64_t item = (int64_t)sizeof(float), n = b.transposed ? next.end - next.k0 : t->n;
    int64_t first = n * p / t->m, end = n * kl__least(p + t->rows, t->m) / t->m;
    return (struct region){.from = kl__gemm_element(b, t->j0, next.k0) + first * b.pitch * item,
                           .step = b.pitch * item,
                           .n = end - first,
                           .bytes = (b.transposed ? t->n : next.end - next.k0) * item};
}

static struct region rows_of_c(const struct kl__gemm_tile *t, int64_t p)
{
    int64_t item = (int64_t)kl_dtype_bytes(t->g->c_dtype);
    return (struct region){.from = (char *)t->g->c + ((t->i0 + p) * t->g->c_pitch + t->j0) * item,
                           .step = t->g->c_pitch * item,
                           .n = kl__least(t->rows, t->m - p),
                           .bytes = t->n * item};
}

static void add_stream(struct kl__ahead *x, struct kl__stream s)
{
    if (s.n_row > 0 && x->n_stream < KL_STREAMS) {
        x->stream[x->n_stream++] = s;
        x->rows_a_call += s.n_row; /* of all calls as yet */
    }
}

/* Short rows whole, long ones line by line. */
static void add_region(struct kl__ahead *x, struct region r)
{
    enum { SHORT = 4 };
    bool aligned = (uintptr_t)r.from % LINE == 0 && r.step % LINE == 0;
    int64_t lines = aligned ? (r.bytes + LINE - 1) / LINE : (r.bytes + LINE - 2) / LINE + 1;
    if (lines <= SHORT)
        add_stream(x, (struct kl__stream){r.from, (ptrdiff_t)r.step, (ptrdiff_t)lines * LINE, (int)r.n});
    else
        for (int64_t i = 0; i < r.n; i++)
            add_stream(x, (struct kl__stream){r.from + i * r.step, LINE, LINE, (int)lines});
}

/* What is fetched while rows p are multiplied: what they are added to, the next rows, and their part of the next B. */
static void fetch_plan(struct kl__ahead *x, const struct kl__gemm_tile *t, int64_t p, const struct span *s)
{
    x->n_stream = x->next = x->rows_a_call = 0;
    if (s->last)
        add_region(x, rows_of_c(t, p));
    add_region(x, next_rows(t, p, s));
    add_region(x, part_of_next_b(t, p, s));
    int64_t n_call = 0;
    for (int64_t block = 0; block < s->n_block; block++)
        n_call += kl__ceil_div(kl__gemm_k_left(t->g, s->k0 + block * KL__GEMM_K), KL__GEMM_FETCH) * s->n_panel;
    x->rows_a_call = (int)kl__ceil_div(x->rows_a_call, n_call);
}

/* --------------------------------------------------------------------------------------------------- multiplying -- */

/* Whether rows of A are multiplied as they lie: not where they are each other's rivals for a first-level cache. */
static bool lies_well(const struct kl__gemm *g)
{
    return !g->a.transposed && g->a.pitch * (int64_t)sizeof(float) % PAGE != 0;
}

/* Sums of rows p of the tile: kept from span to span, or until they are stored. */
static float *sums_of(const struct kl__gemm_tile *t, const struct span *s, int64_t p, int64_t panel)
{
    int64_t kept = s->first && s->last ? 0 : p * s->n_panel * t->sizes.columns;
    return t->scratch.c + kept + panel * kl__least(t->rows, t->m - p) * t->sizes.columns;
}

static void multiply_block(const struct kl__gemm_tile *t, const struct span *s, int64_t p, int64_t block,
                           struct kl__ahead *ahead)
{
    const struct kl__gemm *g = t->g;
    int64_t k = s->k0 + block * KL__GEMM_K, n_k = kl__gemm_k_left(g, k);
    int rows = (int)kl__least(t->rows, t->m - p);
    const void *a = kl__gemm_element(g->a, t->i0 + p, k);
    bool lies = lies_well(g);
    if (!lies)
        t->kernels->gemm_pack(t->scratch.b, a, KL_F32, g->a.pitch, g->a.transposed, g->m - t->i0 - p, rows, n_k);
    for (int64_t panel = 0; panel < s->n_panel; panel++) {
        float *sum = sums_of(t, s, p, panel), *b = panel_of_b(t, s, panel, block);
        if (lies)
            t->kernels->gemm_rows(sum, a, g->a.pitch, b, n_k, rows, k > 0, ahead);
        else
            t->kernels->gemm_tile(sum, t->scratch.b, b, n_k, rows, k > 0, ahead);
    }
}

static void multiply_span(const struct kl__gemm_tile *t, const struct span *s)
{
    struct kl__ahead ahead;
    for (int64_t p = 0; p < t->m; p += t->rows) {
        fetch_plan(&ahead, t, p, s);
        for (int64_t block = 0; block < s->n_block; block++)
            multiply_block(t, s, p, block, &ahead);
        for (int64_t panel = 0; s->last && panel < s->n_panel; panel++)
            kl__gemm_store_panel(t, sums_of(t, s, p, panel), p, panel * t->sizes.columns);
    }
}

void kl__gemm_stay(const struct kl__gemm_tile *t)
{
    for (int64_t k = 0; k < t->g->k;) {
        struct span s = span_of(t, k);
        hold_b(t, &s);
        multiply_span(t, &s);
        k = s.end;
    }
}
