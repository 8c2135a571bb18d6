/* A task is a tile of C.  Where many rows of f32 meet f32, B stays in the cache and A goes by (gemm_stay.c).  Else as
 * many blocks of k as fit are packed for all rows of A, which stay in the second-level cache, as do the sums; then B
 * goes by panel by panel: each is packed into the first-level cache,
 * multiplied by all of A, and forgotten.  While that happens the next panel's memory is fetched, so that reading B
 * hides behind arithmetic.  With few rows (decoding) all of k fits, and B is streamed once from end to end; where B is
 * packed, it meets the rows as it goes by.  The order of summation is the same. */
#include "cpu/gemm_tile.h"

#include "base/pool.h"
#include "cpu/cpu_backend.h"
#include "tensor/tensor.h"

#include <string.h>

struct kl__matrix kl__matrix_of(kl_tensor t)
{
    return (struct kl__matrix){.data = t.data, .pitch = kl__pitch(t), .dtype = t.dtype};
}

struct kl__matrix kl__transpose_of(kl_tensor t)
{
    struct kl__matrix x = kl__matrix_of(t);
    x.transposed = true;
    return x;
}

/* ------------------------------------------------------------------------------------------------------- scratch -- */

static struct kl__gemm_scratch carve(struct kl__carver *c, struct kl__gemm_sizes s)
{
    struct kl__gemm_scratch scratch;
    size_t widest = (size_t)(s.block_rows > s.block_columns ? s.block_rows : s.block_columns);
    scratch.a = kl__carve(c, widest * KL__GEMM_K, sizeof(float));
    scratch.b = kl__carve(c, (size_t)s.columns * KL__GEMM_K, sizeof(float));
    scratch.c = kl__carve(c, (size_t)s.block_rows * (size_t)s.block_columns, sizeof(float));
    scratch.decoded = kl__carve(c, (size_t)s.columns * KL__GEMM_DECODED, sizeof(float));
    scratch.held = kl__carve(c, 1, sizeof *scratch.held);
    return scratch;
}

size_t kl__gemm_scratch(const struct kl__kernels *kernels)
{
    struct kl__carver c = {0};
    carve(&c, kernels->gemm_sizes());
    return c.bytes;
}

size_t kl__gemm_workspace(const kl_backend *be)
{
    struct kl__carver c = {0};
    for (int i = 0; i < kl_pool_threads(be->pool); i++)
        carve(&c, kl__cpu_kernels(be)->gemm_sizes());
    return kl__carver_need(&c);
}

/* ------------------------------------------------------------------------------------------------------ one tile -- */

/* Block k of all rows of the tile, panel after panel. */
static void pack_rows(const struct kl__gemm_tile *t, float *to, int64_t k)
{
    struct kl__matrix a = t->g->a;
    int64_t n_k = kl__gemm_k_left(t->g, k);
    for (int64_t p = 0; p < t->m; p += t->rows) {
        int64_t row = t->i0 + p;
        t->kernels->gemm_pack(to + p * n_k, kl__gemm_element(a, row, k), a.dtype, a.pitch, a.transposed, t->g->m - row,
                              (int)kl__least(t->rows, t->m - p), n_k);
    }
}

/* The same from blocks: what lies around the panel is decoded first. */
static void pack_blocks(const struct kl__gemm_tile *t, int64_t j, int64_t k)
{
    const struct kl__type_info *type = t->g->b_blocks;
    int64_t first = k / type->elements, n_block = kl__ceil_div(k + kl__gemm_k_left(t->g, k), type->elements) - first;
    int64_t pitch = n_block * type->elements, n = kl__least(t->sizes.columns, t->n - j);
    for (int64_t i = 0; i < n; i++) {
        int64_t block = (t->j0 + j + i) * (t->g->b.pitch / type->elements) + first;
        type->decode(t->scratch.decoded + i * pitch, (const char *)t->g->b.data + block * type->bytes, n_block);
    }
    t->kernels->gemm_pack(t->scratch.b, t->scratch.decoded + k - first * type->elements, KL_F32, pitch, false, n,
                          t->sizes.columns, kl__gemm_k_left(t->g, k));
}

/* The panel of packed numbers that column j of the tile is in, from k on. */
static const char *packed_at(const struct kl__gemm_tile *t, int64_t j, int64_t k)
{
    int64_t panel = (t->j0 + j) / KL__PANEL;
    return (const char *)t->g->b_packed + panel * kl__packed_bytes(KL__TYPE_BF16, t->g->k) +
           kl__packed_bytes(KL__TYPE_BF16, k);
}

static void pack_columns(const struct kl__gemm_tile *t, int64_t j, int64_t k)
{
    struct kl__matrix b = t->g->b;
    int64_t column = t->j0 + j, n_k = kl__gemm_k_left(t->g, k);
    if (t->g->b_packed) {
        t->kernels->wide_panel(t->scratch.b, packed_at(t, j, k), (int)(column % KL__PANEL), n_k);
        return;
    }
    if (t->g->b_blocks) {
        pack_blocks(t, j, k);
        return;
    }
    t->kernels->gemm_pack(t->scratch.b, kl__gemm_element(b, column, k), b.dtype, b.pitch, b.transposed,
                          t->g->n - column, t->sizes.columns, n_k);
}

/* Memory of the panel of B that comes next: `n` rows of `bytes` each, `step` bytes apart. */
struct ahead {
    const char *from;
    int64_t step, n, bytes;
};

static struct ahead ahead_of(const struct kl__gemm_tile *t, int64_t j, int64_t k)
{
    struct kl__matrix b = t->g->b;
    int64_t item = (int64_t)kl_dtype_bytes(b.dtype), n = kl__least(t->sizes.columns, t->n - j);
    if (n <= 0 || t->g->b_blocks)
        return (struct ahead){0};
    if (t->g->b_packed) {
        enum { PIECE = 1024 };
        int64_t bytes = kl__packed_bytes(KL__TYPE_BF16, kl__gemm_k_left(t->g, k));
        return (struct ahead){.from = packed_at(t, j, k), .step = PIECE, .n = bytes / PIECE, .bytes = PIECE};
    }
    return (struct ahead){.from = kl__gemm_element(b, t->j0 + j, k),
                          .step = b.pitch * item,
                          .n = b.transposed ? kl__gemm_k_left(t->g, k) : n,
                          .bytes = (b.transposed ? n : kl__gemm_k_left(t->g, k)) * item};
}

static void fetch(struct ahead ahead, int64_t begin, int64_t end)
{
    for (int64_t i = begin; i < end; i++)
        for (int64_t at = 0; at < ahead.bytes; at += KL_ALIGN)
            __builtin_prefetch(ahead.from + i * ahead.step + at, 0, 2);
}

/* All packed rows `a` of block k times the packed panel of columns from j, fetching what is ahead a part at a time. */
static void multiply_panel(const struct kl__gemm_tile *t, const float *a, int64_t j, int64_t k, struct ahead ahead)
{
    int64_t n_part = kl__ceil_div(t->m, t->rows), part = 0, n_k = kl__gemm_k_left(t->g, k);
    for (int64_t p = 0; p < t->m; p += t->rows, part++) {
        fetch(ahead, ahead.n * part / n_part, ahead.n * (part + 1) / n_part);
        t->kernels->gemm_tile(t->scratch.c + j * t->m + p * t->sizes.columns, a + p * n_k, t->scratch.b, n_k,
                              (int)kl__least(t->rows, t->m - p), k > 0, NULL);
    }
}

/* Packs and multiplies what lies in k0 .. end-1, whole blocks. */
static void multiply_span(const struct kl__gemm_tile *t, int64_t k0, int64_t end)
{
    for (int64_t k = k0; k < end; k += KL__GEMM_K)
        pack_rows(t, t->scratch.a + (k - k0) * t->m, k);
    for (int64_t j = 0; j < t->n; j += t->sizes.columns)
        for (int64_t k = k0; k < end; k += KL__GEMM_K) {
            bool more = k + KL__GEMM_K < end;
            pack_columns(t, j, k);
            multiply_panel(t, t->scratch.a + (k - k0) * t->m, j, k,
                           more ? ahead_of(t, j, k + KL__GEMM_K) : ahead_of(t, j + t->sizes.columns, k0));
        }
}

void kl__gemm_store_panel(const struct kl__gemm_tile *t, const float *sum, int64_t i, int64_t j)
{
    const struct kl__gemm *g = t->g;
    int n = (int)kl__least(t->sizes.columns, t->n - j);
    float wide[64];
    const float *bias = g->bias ? (const float *)g->bias + t->j0 + j : NULL;
    if (g->bias && g->bias_dtype == KL_BF16) {
        t->kernels->f32_of_bf16(wide, (const uint16_t *)g->bias + t->j0 + j, n);
        bias = wide;
    }
    int64_t at = (t->i0 + i) * g->c_pitch + t->j0 + j;
    t->kernels->gemm_store((char *)g->c + at * (int64_t)kl_dtype_bytes(g->c_dtype), g->c_dtype, g->c_pitch, sum, bias,
                           g->add, kl__least(t->rows, t->m - i), n);
}

/* A few rows at a time from end to end: C is walked as it lies. */
static void store(const struct kl__gemm_tile *t)
{
    for (int64_t i = 0; i < t->m; i += t->rows)
        for (int64_t j = 0; j < t->n; j += t->sizes.columns)
            kl__gemm_store_panel(t, t->scratch.c + j * t->m + i * t->sizes.columns, i, j);
}

/* Few rows meet packed columns as they go by. */
static void stream_tile(const struct kl__gemm_tile *t)
{
    const float *a = (const float *)(const void *)kl__gemm_element(t->g->a, t->i0, 0);
    for (int64_t j = 0; j < t->n; j += t->sizes.columns)
        t->kernels->wide_tile(t->scratch.c + j * t->m, a, t->g->a.pitch, packed_at(t, j, 0),
                              (int)((t->j0 + j) % KL__PANEL), t->g->k, (int)t->m);
    store(t);
}

static bool streams(const struct kl__gemm_tile *t)
{
    return t->g->b_packed && t->m <= KL__WIDE_ROWS && t->g->a.dtype == KL_F32 && !t->g->a.transposed;
}

static void compute_tile(const struct kl__gemm_tile *t)
{
    if (streams(t)) {
        stream_tile(t);
        return;
    }
    if (kl__gemm_stays(t->g, t->sizes)) {
        kl__gemm_stay(t);
        return;
    }
    *t->scratch.held = (struct kl__gemm_held){0}; /* rows of A are packed over it */
    int64_t span = t->sizes.block_rows / t->m * KL__GEMM_K; /* of k that is packed at once */
    int64_t n_panel = kl__ceil_div(t->n, t->sizes.columns);
    if (t->g->k == 0)
        memset(t->scratch.c, 0, (size_t)(t->m * n_panel * t->sizes.columns) * sizeof(float));
    for (int64_t k = 0; k < t->g->k; k += span)
        multiply_span(t, k, kl__least(k + span, t->g->k));
    store(t);
}

/* ------------------------------------------------------------------------------------------------ tiles of one C -- */

/* How C is cut. */
struct cut {
    int64_t m, n;     /* of a tile; m <= block_rows, and its panels of sums fit into the scratch */
    int64_t n_m, n_n; /* tiles */
};

enum { TILES_PER_THREAD = 4 };

/* The smallest multiple of `unit` that cuts `whole` into `n` parts. */
static int64_t cut_length(int64_t whole, int64_t n, int64_t unit)
{
    return kl__ceil_div(kl__ceil_div(whole, n), unit) * unit;
}

/* Where B stays, its columns are cut into what fits, and rows into what balances the threads: twice as many tiles as
 * are wanted where they find B packed, half of it where each packs B anew.  Sums that are kept want to fit, too. */
static struct cut cut_of_stay(const struct kl__gemm *g, struct kl__gemm_sizes s, int64_t n_tile)
{
    struct cut cut;
    cut.n = cut_length(g->n, kl__ceil_div(g->n, s.block_columns), s.columns);
    cut.n_n = kl__ceil_div(g->n, cut.n);
    bool once = kl__gemm_stay_span(s, cut.n) >= g->k;
    int64_t room = once ? g->m : (int64_t)s.block_rows * s.block_columns / 2 / cut.n;
    int64_t n_m = n_tile == 1 ? 1 : kl__ceil_div(once ? 2 * n_tile : kl__ceil_div(n_tile, 2), cut.n_n);
    n_m = kl__least(n_m, kl__ceil_div(g->m, 4 * s.rows));
    int64_t least = kl__ceil_div(g->m, room);
    cut.m = cut_length(g->m, n_m > least ? n_m : least, s.rows);
    cut.n_m = kl__ceil_div(g->m, cut.m);
    return cut;
}

/* Cuts into about `n_tile` tiles, the longer side first: what a tile packs is little against what it multiplies when
 * both are long.  No result depends on it. */
static struct cut cut_of(const struct kl__gemm *g, struct kl__gemm_sizes s, int64_t n_tile)
{
    if (g->m == 0 || g->n == 0)
        return (struct cut){.m = 1, .n = 1};
    if (kl__gemm_stays(g, s))
        return cut_of_stay(g, s, n_tile);
    int64_t n_m = kl__ceil_div(g->m, s.block_rows), n_n = 1;
    struct cut cut;
    for (;;) {
        cut.m = cut_length(g->m, n_m, s.rows);
        cut.n_m = kl__ceil_div(g->m, cut.m);
        int64_t room = (int64_t)s.block_rows * s.block_columns / cut.m / s.columns * s.columns;
        cut.n = cut_length(g->n, n_n > kl__ceil_div(g->n, room) ? n_n : kl__ceil_div(g->n, room), s.columns);
        cut.n_n = kl__ceil_div(g->n, cut.n);
        bool can_m = cut.m > s.rows, can_n = cut.n > s.columns;
        if (cut.n_m * cut.n_n >= n_tile || (!can_m && !can_n))
            return cut;
        if (can_n && (cut.n >= cut.m || !can_m))
            n_n = 2 * cut.n_n;
        else
            n_m = 2 * cut.n_m;
    }
}

static void compute_tile_of(const struct kl__kernels *kernels, const struct kl__gemm *g, struct cut cut, int64_t tile,
                            struct kl__gemm_scratch scratch)
{
    int64_t i0 = tile % cut.n_m * cut.m, j0 = tile / cut.n_m * cut.n; /* neighbours share columns */
    struct kl__gemm_tile t = {.kernels = kernels, .g = g, .sizes = kernels->gemm_sizes(), .scratch = scratch};
    t.i0 = i0;
    t.j0 = j0;
    t.m = kl__least(cut.m, g->m - i0);
    t.n = kl__least(cut.n, g->n - j0);
    t.rows = kl__ceil_div(t.m, kl__ceil_div(t.m, t.sizes.rows));
    compute_tile(&t);
}

void kl__gemm_here(const struct kl__kernels *kernels, const struct kl__gemm *g, void *scratch)
{
    struct kl__carver c = kl__carver((kl_workspace){.data = scratch});
    struct kl__gemm_scratch carved = carve(&c, kernels->gemm_sizes());
    *carved.held = (struct kl__gemm_held){0};
    struct cut cut = cut_of(g, kernels->gemm_sizes(), 1);
    for (int64_t tile = 0; tile < cut.n_m * cut.n_n; tile++)
        compute_tile_of(kernels, g, cut, tile, carved);
}

/* ---------------------------------------------------------------------------------------------- many on the pool -- */

struct job {
    const struct kl__kernels *kernels;
    const struct kl__gemm *g;
    int64_t n_gemm;
    int64_t n_tile; /* wanted of each product */
    kl_workspace work;
};

static void tile_task(void *arg, int64_t task, int thread)
{
    const struct job *job = arg;
    struct kl__gemm_sizes sizes = job->kernels->gemm_sizes();
    struct kl__carver c = kl__carver(job->work);
    struct kl__gemm_scratch scratch = carve(&c, sizes);
    for (int i = 0; i < thread; i++)
        scratch = carve(&c, sizes);
    for (int64_t i = 0; i < job->n_gemm; i++) {
        struct cut cut = cut_of(&job->g[i], sizes, job->n_tile);
        if (task < cut.n_m * cut.n_n) {
            compute_tile_of(job->kernels, &job->g[i], cut, task, scratch);
            return;
        }
        task -= cut.n_m * cut.n_n;
    }
}

void kl__gemm_run(const kl_backend *be, const struct kl__gemm *g, int64_t n, kl_workspace work)
{
    int threads = kl_pool_threads(be->pool);
    struct job job = {.kernels = kl__cpu_kernels(be), .g = g, .n_gemm = n, .work = work};
    struct kl__carver c = kl__carver(work);
    for (int i = 0; i < threads; i++)
        *carve(&c, job.kernels->gemm_sizes()).held = (struct kl__gemm_held){0};
    job.n_tile = threads == 1 || n == 0 ? 1 : kl__ceil_div(TILES_PER_THREAD * threads, n);
    int64_t n_task = 0;
    for (int64_t i = 0; i < n; i++) {
        struct cut cut = cut_of(&g[i], job.kernels->gemm_sizes(), job.n_tile);
        n_task += cut.n_m * cut.n_n;
    }
    kl__pool_run(be->pool, n_task, tile_task, &job);
}
