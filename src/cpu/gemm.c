/* A task is a tile of C.  Inside it, blocks of k are walked in order; for each, the tile's columns of B and then blocks
 * of rows of A are packed, and panels are multiplied: a panel of B stays in the first-level cache while the block of A
 * passes from the second.
 * With a single panel of rows (decoding) packed columns would be used once: then A is packed whole, and B goes panel by
 * panel through the first-level cache, each panel over all of k.  The order of summation is the same. */
#include "cpu/gemm.h"

#include "base/memory.h"
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

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t ceil_div(int64_t a, int64_t b)
{
    return a / b + (a % b != 0);
}

/* ----------------------------------------------------------------------------------------------------- scratch -- */

struct scratch {
    float *a, *b; /* packed blocks */
    float *c;     /* a tile of C before it is rounded to bf16 */
};

static struct scratch carve(struct kl__carver *c, struct kl__gemm_sizes s)
{
    struct scratch scratch;
    scratch.a = kl__carve(c, (size_t)s.block_rows * KL__GEMM_K, sizeof(float));
    scratch.b = kl__carve(c, (size_t)s.block_columns * KL__GEMM_K, sizeof(float));
    scratch.c = kl__carve(c, (size_t)s.block_rows * (size_t)s.block_columns, sizeof(float));
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

/* ---------------------------------------------------------------------------------------------------- one tile -- */

/* What a tile is computed with: the whole of it is [i0 .. i0 + m) x [j0 .. j0 + n). */
struct tile {
    const struct kl__kernels *kernels;
    const struct kl__gemm *g;
    struct kl__gemm_sizes sizes;
    struct scratch scratch;
    int64_t i0, j0, m, n;
    float *c; /* element (i0, j0), f32 */
    int64_t c_pitch;
    bool start; /* c holds what the sums start from */
};

static void pack(const struct tile *t, float *to, struct kl__matrix x, int64_t i, int64_t k, int n, int width,
                 int64_t n_k)
{
    int64_t at = x.transposed ? k * x.pitch + i : i * x.pitch + k;
    const char *from = (const char *)x.data + at * (int64_t)kl_dtype_bytes(x.dtype);
    t->kernels->gemm_pack(to, from, x.dtype, x.pitch, x.transposed, n, width, n_k);
}

static void pack_rows(const struct tile *t, float *to, int64_t i, int64_t m, int64_t k, int64_t n_k)
{
    for (int64_t p = 0; p < m; p += t->sizes.rows) {
        int rows = (int)min64(t->sizes.rows, m - p);
        pack(t, to + p * n_k, t->g->a, t->i0 + i + p, k, rows, rows, n_k);
    }
}

static void pack_columns(const struct tile *t, float *to, int64_t j, int64_t n, int64_t k, int64_t n_k)
{
    int width = t->sizes.columns;
    for (int64_t p = 0; p < n; p += width)
        pack(t, to + p * n_k, t->g->b, t->j0 + j + p, k, (int)min64(width, n - p), width, n_k);
}

/* A packed block of A, m rows from row i, times packed columns of B, n of them from column j. */
static void multiply_block(const struct tile *t, const float *a, const float *b, int64_t i, int64_t m, int64_t j,
                           int64_t n, int64_t n_k, bool add)
{
    for (int64_t q = 0; q < n; q += t->sizes.columns)
        for (int64_t p = 0; p < m; p += t->sizes.rows)
            t->kernels->gemm_tile(t->c + (i + p) * t->c_pitch + j + q, t->c_pitch, a + p * n_k, b + q * n_k, n_k,
                                  (int)min64(t->sizes.rows, m - p), (int)min64(t->sizes.columns, n - q), add);
}

static void multiply_blocks(const struct tile *t)
{
    for (int64_t k = 0; k < t->g->k; k += KL__GEMM_K) {
        int64_t n_k = min64(KL__GEMM_K, t->g->k - k);
        pack_columns(t, t->scratch.b, 0, t->n, k, n_k);
        for (int64_t i = 0; i < t->m; i += t->sizes.block_rows) {
            int64_t m = min64(t->sizes.block_rows, t->m - i);
            pack_rows(t, t->scratch.a, i, m, k, n_k);
            multiply_block(t, t->scratch.a, t->scratch.b, i, m, 0, t->n, n_k, t->start || k > 0);
        }
    }
}

static void multiply_panel(const struct tile *t)
{
    for (int64_t k = 0; k < t->g->k; k += KL__GEMM_K)
        pack_rows(t, t->scratch.a + k * t->m, 0, t->m, k, min64(KL__GEMM_K, t->g->k - k));
    for (int64_t j = 0; j < t->n; j += t->sizes.columns)
        for (int64_t k = 0; k < t->g->k; k += KL__GEMM_K) {
            int64_t n_k = min64(KL__GEMM_K, t->g->k - k), n = min64(t->sizes.columns, t->n - j);
            pack_columns(t, t->scratch.b, j, n, k, n_k);
            multiply_block(t, t->scratch.a + k * t->m, t->scratch.b, 0, t->m, j, n, n_k, t->start || k > 0);
        }
}

static void fill_start(const struct tile *t)
{
    const struct kl__gemm *g = t->g;
    for (int64_t i = 0; i < t->m; i++) {
        float *c = t->c + i * t->c_pitch;
        if (!g->bias)
            memset(c, 0, (size_t)t->n * sizeof *c);
        else if (g->bias_dtype == KL_F32)
            memcpy(c, (const float *)g->bias + t->j0, (size_t)t->n * sizeof *c);
        else
            t->kernels->f32_of_bf16(c, (const uint16_t *)g->bias + t->j0, t->n);
    }
}

static void compute_tile(struct tile t)
{
    const struct kl__gemm *g = t.g;
    bool round = g->c_dtype == KL_BF16;
    int64_t at = t.i0 * g->c_pitch + t.j0;
    t.c = round ? t.scratch.c : (float *)g->c + at;
    t.c_pitch = round ? t.n : g->c_pitch;
    t.start = g->add || g->bias;
    if (!g->add && (g->bias || g->k == 0))
        fill_start(&t);
    if (t.m <= t.sizes.rows && t.m * g->k <= (int64_t)t.sizes.block_rows * KL__GEMM_K)
        multiply_panel(&t);
    else
        multiply_blocks(&t);
    for (int64_t i = 0; round && i < t.m; i++)
        t.kernels->bf16_of_f32((uint16_t *)g->c + at + i * g->c_pitch, t.c + i * t.n, t.n);
}

/* ------------------------------------------------------------------------------------------------ tiles of one C -- */

/* How C is cut.  A tile has one block of columns; its rows can be many blocks, as long as C is f32. */
struct cut {
    int64_t m, n;     /* of a tile */
    int64_t n_m, n_n; /* tiles */
};

enum { BLOCKS_OF_ROWS = 4, TILES_PER_THREAD = 4 };

/* Cuts into at least `n_tile` tiles where there is enough to cut.  No result depends on it. */
static struct cut cut_of(const struct kl__gemm *g, struct kl__gemm_sizes s, int64_t n_tile)
{
    struct cut cut = {.m = min64(g->m, s.block_rows * (g->c_dtype == KL_F32 ? BLOCKS_OF_ROWS : 1)),
                      .n = min64(g->n, s.block_columns)};
    if (g->m == 0 || g->n == 0)
        return (struct cut){.m = 1, .n = 1};
    for (;;) {
        cut.n_m = ceil_div(g->m, cut.m);
        cut.n_n = ceil_div(g->n, cut.n);
        bool can_m = cut.m >= 4 * s.rows, can_n = cut.n >= 2 * s.columns;
        if (cut.n_m * cut.n_n >= n_tile || (!can_m && !can_n))
            return cut;
        if (can_m && (cut.m >= cut.n || !can_n))
            cut.m = ceil_div(cut.m, 2 * s.rows) * s.rows;
        else
            cut.n = ceil_div(cut.n, 2 * s.columns) * s.columns;
    }
}

static void compute_tile_of(const struct kl__kernels *kernels, const struct kl__gemm *g, struct cut cut, int64_t tile,
                            struct scratch scratch)
{
    int64_t i0 = tile / cut.n_n * cut.m, j0 = tile % cut.n_n * cut.n;
    compute_tile((struct tile){.kernels = kernels,
                               .g = g,
                               .sizes = kernels->gemm_sizes(),
                               .scratch = scratch,
                               .i0 = i0,
                               .j0 = j0,
                               .m = min64(cut.m, g->m - i0),
                               .n = min64(cut.n, g->n - j0)});
}

void kl__gemm_here(const struct kl__kernels *kernels, const struct kl__gemm *g, void *scratch)
{
    struct kl__carver c = kl__carver((kl_workspace){.data = scratch});
    struct scratch carved = carve(&c, kernels->gemm_sizes());
    struct cut cut = cut_of(g, kernels->gemm_sizes(), 1);
    for (int64_t tile = 0; tile < cut.n_m * cut.n_n; tile++)
        compute_tile_of(kernels, g, cut, tile, carved);
}

/* -------------------------------------------------------------------------------------------- many on the pool -- */

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
    struct scratch scratch = carve(&c, sizes);
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
    job.n_tile = threads == 1 || n == 0 ? 1 : ceil_div(TILES_PER_THREAD * threads, n);
    int64_t n_task = 0;
    for (int64_t i = 0; i < n; i++) {
        struct cut cut = cut_of(&g[i], job.kernels->gemm_sizes(), job.n_tile);
        n_task += cut.n_m * cut.n_n;
    }
    kl__pool_run(be->pool, n_task, tile_task, &job);
}
