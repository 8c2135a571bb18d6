/* Blocks of integers are multiplied as integers (cpu/weight_blocks.h), numbers by the product of cpu/gemm.h. */
#include "cpu/weight.h"

#include "base/pool.h"
#include "cpu/cpu_backend.h"
#include "cpu/weight_blocks.h"
#include "tensor/tensor.h"

/* ------------------------------------------------------------------------------------------------------- operand -- */

static size_t row_bytes(const struct kl__weight *w)
{
    size_t bytes = 0;
    kl__type_bytes(w->type, w->n_in, &bytes);
    return bytes;
}

const void *kl__weight_row(const struct kl__weight *w, int64_t matrix, int64_t row)
{
    if (w->each)
        return (const char *)w->each[matrix] + (size_t)row * row_bytes(w);
    return (const char *)w->data + (size_t)(matrix * w->n_out + row) * row_bytes(w);
}

/* Whether products can read the numbers of a matrix where they lie. */
static bool plain(const struct kl__weight *w, const void *matrix, kl_dtype *dtype)
{
    *dtype = w->type == KL__TYPE_BF16 ? KL_BF16 : KL_F32;
    return (w->type == KL__TYPE_F32 || w->type == KL__TYPE_BF16) && (uintptr_t)matrix % kl_dtype_bytes(*dtype) == 0;
}

struct kl__gemm kl__weight_gemm(const struct kl__weight *w, int64_t matrix, int64_t m, const float *x, int64_t x_pitch,
                                float *y, int64_t y_pitch, bool add)
{
    struct kl__gemm g = {.m = m, .n = w->n_out, .k = w->n_in, .c = y, .c_pitch = y_pitch, .add = add};
    g.a = (struct kl__matrix){x, x_pitch, KL_F32, false};
    g.b = (struct kl__matrix){kl__weight_row(w, matrix, 0), w->n_in, KL_F32, false};
    if (!plain(w, g.b.data, &g.b.dtype))
        g.b_blocks = kl__type_info(w->type);
    return g;
}

/* ------------------------------------------------------------------------------------------------------- packing -- */

size_t kl__cpu_weight_packed_bytes(const kl_backend *be, const struct kl__weight *w)
{
    (void)be;
    (void)w;
    return 0;
}

void kl__cpu_weight_pack(const kl_backend *be, const struct kl__weight *w, void *memory)
{
    (void)be;
    (void)w;
    (void)memory;
}

/* -------------------------------------------------------------------------------------------------------- linear -- */

enum { AT_ONCE = 16 }; /* products of numbers that run together */

static void number_linears(const kl_backend *be, const struct kl__weight_product *p, int n, kl_tensor x,
                           kl_workspace work)
{
    struct kl__gemm g[AT_ONCE];
    int n_gemm = 0;
    for (int i = 0; i < n; i++) {
        if (kl__weight_has_levels(p[i].w))
            continue;
        g[n_gemm++] =
            kl__weight_gemm(p[i].w, 0, x.dim[0], x.data, kl__pitch(x), p[i].y.data, kl__pitch(p[i].y), p[i].add);
        if (n_gemm == AT_ONCE) {
            kl__gemm_run(be, g, n_gemm, work);
            n_gemm = 0;
        }
    }
    if (n_gemm > 0)
        kl__gemm_run(be, g, n_gemm, work);
}

static bool any(const struct kl__weight_product *p, int n, bool blocks)
{
    for (int i = 0; i < n; i++)
        if (kl__weight_has_levels(p[i].w) == blocks)
            return true;
    return false;
}

void kl__cpu_weight_linears(const kl_backend *be, const struct kl__weight_product *p, int n, kl_tensor x,
                            kl_workspace work)
{
    if (any(p, n, true))
        kl__block_linears(be, p, n, x, work);
    if (any(p, n, false))
        number_linears(be, p, n, x, work);
}

size_t kl__cpu_weight_linears_workspace(const kl_backend *be, const struct kl__weight_product *p, int n,
                                        int64_t n_token)
{
    size_t blocks = any(p, n, true) ? kl__block_linears_workspace(be, p, n, n_token) : 0;
    size_t numbers = any(p, n, false) ? kl__gemm_workspace(be) : 0;
    return blocks > numbers ? blocks : numbers;
}

/* --------------------------------------------------------------------------------------------------------- rows -- */

struct rows_job {
    kl_tensor y, id;
    const struct kl__weight *table;
};

static void rows_task(void *arg, int64_t token, int thread)
{
    (void)thread;
    const struct rows_job *job = arg;
    int32_t id = *(const int32_t *)kl__row(job->id, token);
    kl__decode(job->table->type, kl__row(job->y, token), kl__weight_row(job->table, 0, id), job->table->n_in);
}

void kl__cpu_weight_rows(const kl_backend *be, kl_tensor y, kl_tensor id, const struct kl__weight *table)
{
    struct rows_job job = {y, id, table};
    kl__pool_run(be->pool, id.dim[0], rows_task, &job);
}
