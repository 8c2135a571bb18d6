/* Packing and multiplying panels.  KL_GEMM_ROWS x 2 vectors of sums stay in registers. */
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/vec/transpose.h"
#include "cpu/kernels/vec/vec.h"

enum { ROWS = KL_GEMM_ROWS, COLUMNS = 2 * KL_LANES };

/* KL_M of every number of rows that a tile can have. */
#if KL_GEMM_ROWS > 6
#define KL_GEMM_EACH_M                                                                                                 \
    KL_M(1) KL_M(2) KL_M(3) KL_M(4) KL_M(5) KL_M(6) KL_M(7) KL_M(8) KL_M(9) KL_M(10) KL_M(11) KL_M(12) KL_M(13) KL_M(14)
#else
#define KL_GEMM_EACH_M KL_M(1) KL_M(2) KL_M(3) KL_M(4) KL_M(5) KL_M(6)
#endif

struct kl__gemm_sizes KL_VARIANT(gemm_sizes)(void)
{
    return (struct kl__gemm_sizes){ROWS, COLUMNS, KL_GEMM_BLOCK_ROWS, KL_GEMM_BLOCK_COLUMNS};
}

/* ------------------------------------------------------------------------------------------------------- packing -- */

static inline const void *at_element(const void *from, kl_dtype dtype, int64_t at)
{
    return dtype == KL_F32 ? (const void *)((const float *)from + at) : (const uint16_t *)from + at;
}

static inline vf load(const void *from, kl_dtype dtype, int64_t at)
{
    return dtype == KL_F32 ? vload((const float *)from + at) : vload_bf16((const uint16_t *)from + at);
}

static inline vf load_part(const void *from, kl_dtype dtype, int64_t at, int64_t n)
{
    if (dtype == KL_F32)
        return vload_part((const float *)from + at, n);
    uint16_t half[KL_LANES] = {0};
    __builtin_memcpy(half, (const uint16_t *)from + at, 2 * (size_t)n);
    return vload_bf16(half);
}

/* Rows are contiguous in i: copy `width` of them for every k.  Where the panel is narrower than a vector and the row of
 * memory goes on, whole vectors are copied, each spilling into the next k, which is written after it. */
static inline void pack_transposed(float *to, const void *from, kl_dtype dtype, int64_t pitch, int64_t n, int width,
                                   int64_t n_k)
{
    for (int64_t k = 0; k < n_k; k++, to += width)
        for (int i = 0; i < width; i += KL_LANES) {
            int64_t want = width - i < KL_LANES ? width - i : KL_LANES, have = n - i < KL_LANES ? n - i : KL_LANES;
            if (have == KL_LANES && (want == KL_LANES || k * width + KL_LANES <= n_k * width))
                vstore(to + i, load(from, dtype, k * pitch + i));
            else
                vstore_part(to + i, have > 0 ? load_part(from, dtype, k * pitch + i, have) : vset(0), want);
        }
}

/* One square: x[i] = KL_LANES numbers of row i, transposed.  Out of line, so that the sixteen addresses are computed
 * from two registers instead of being kept. */
static __attribute__((noinline)) void pack_square(float *to, int width, const void *from, kl_dtype dtype, int64_t pitch)
{
    vf x[KL_LANES];
    for (int i = 0; i < KL_LANES; i++)
        x[i] = load(from, dtype, i * pitch);
    vtranspose(x);
    for (int j = 0; j < KL_LANES; j++)
        vstore(to + j * width, x[j]);
}

/* The same for bf16, twice as long in k: pairs of numbers are transposed, then parted. */
static __attribute__((noinline)) void pack_pairs(float *to, int width, const uint16_t *from, int64_t pitch)
{
    vf x[KL_LANES];
    for (int i = 0; i < KL_LANES; i++)
        __builtin_memcpy(&x[i], from + i * pitch, sizeof x[i]);
    vtranspose(x);
    for (int j = 0; j < KL_LANES; j++, to += 2 * width) {
        vstore(to, (vf)((vu)x[j] << 16));
        vstore(to + width, (vf)((vu)x[j] & 0xffff0000));
    }
}

/* The same with n_row < KL_LANES rows or n_k < KL_LANES columns there. */
static __attribute__((noinline)) void pack_corner(float *to, int width, const void *from, kl_dtype dtype, int64_t pitch,
                                                  int64_t n_row, int64_t n_k)
{
    vf x[KL_LANES];
    for (int64_t i = 0; i < KL_LANES; i++) {
        if (i >= n_row)
            x[i] = vset(0);
        else
            x[i] = n_k == KL_LANES ? load(from, dtype, i * pitch) : load_part(from, dtype, i * pitch, n_k);
    }
    vtranspose(x);
    for (int64_t j = 0; j < n_k; j++)
        vstore_part(to + j * width, x[j], width < KL_LANES ? width : KL_LANES);
}

/* KL_LANES rows of the panel, contiguous in k, through squares transposed in registers.  Where the panel is narrower
 * than a vector, stores spill as above. */
static inline void pack_group(float *to, const void *from, kl_dtype dtype, int64_t pitch, int64_t n, int width,
                              int64_t n_k)
{
    int64_t k = 0, spill = width < KL_LANES ? (KL_LANES - 1) / width : 0; /* columns that the last store reaches */
    if (n >= KL_LANES && dtype == KL_BF16)
        for (; k + 2 * KL_LANES + spill <= n_k; k += 2 * KL_LANES)
            pack_pairs(to + k * width, width, at_element(from, dtype, k), pitch);
    if (n >= KL_LANES)
        for (; k + KL_LANES + spill <= n_k; k += KL_LANES)
            pack_square(to + k * width, width, at_element(from, dtype, k), dtype, pitch);
    for (; k < n_k; k += KL_LANES)
        pack_corner(to + k * width, width, at_element(from, dtype, k), dtype, pitch, n,
                    n_k - k < KL_LANES ? n_k - k : KL_LANES);
}

static inline __attribute__((always_inline)) void pack(float *to, const void *from, kl_dtype dtype, int64_t pitch,
                                                       bool transposed, int64_t n, int width, int64_t n_k)
{
    if (transposed)
        pack_transposed(to, from, dtype, pitch, n, width, n_k);
    else
        for (int i = 0; i < width; i += KL_LANES)
            pack_group(to + i, at_element(from, dtype, i * pitch), dtype, pitch, n - i, width, n_k);
}

void KL_VARIANT(gemm_pack)(float *to, const void *from, kl_dtype dtype, int64_t pitch, bool transposed, int64_t n,
                           int width, int64_t n_k)
{
    if (dtype == KL_F32)
        pack(to, from, KL_F32, pitch, transposed, n, width, n_k);
    else
        pack(to, from, KL_BF16, pitch, transposed, n, width, n_k);
}

/* --------------------------------------------------------------------------------------------------- multiplying -- */

typedef vf sums[ROWS][2];

static inline __attribute__((always_inline)) void begin_sums(sums s, float *sum, const int m)
{
#pragma GCC unroll 16
    for (int i = 0; i < m; i++) {
        s[i][0] = s[i][1] = vset(0);
        __builtin_prefetch(sum + i * COLUMNS);
        __builtin_prefetch(sum + i * COLUMNS + KL_LANES);
    }
}

static inline __attribute__((always_inline)) void end_sums(float *sum, sums s, const int m, bool add)
{
#pragma GCC unroll 16
    for (int i = 0; i < m; i++, sum += COLUMNS) {
        vstore(sum, add ? vload(sum) + s[i][0] : s[i][0]);
        vstore(sum + KL_LANES, add ? vload(sum + KL_LANES) + s[i][1] : s[i][1]);
    }
}

/* With m a constant, the sums are registers. */
static inline __attribute__((always_inline)) void tile(float *sum, const float *a, const float *b, int64_t n_k,
                                                       const int m, bool add, struct kl__ahead *ahead)
{
    sums s;
    begin_sums(s, sum, m);
    for (int64_t k = 0; k < n_k;) {
        int64_t n = n_k - k < KL__GEMM_FETCH ? n_k - k : KL__GEMM_FETCH;
        kl__fetch_some(ahead);
        k += n;
        for (const float *end = b + n * COLUMNS; b < end; a += m, b += COLUMNS) {
            vf left = vload(b), right = vload(b + KL_LANES);
#pragma GCC unroll 16
            for (int i = 0; i < m; i++) {
                vf x = vset(a[i]);
                s[i][0] += x * left;
                s[i][1] += x * right;
            }
        }
    }
    end_sums(sum, s, m, add);
}

void KL_VARIANT(gemm_tile)(float *sum, const float *a, const float *b, int64_t n_k, int m, bool add,
                           struct kl__ahead *ahead)
{
    switch (m) {
#define KL_M(m) case m: tile(sum, a, b, n_k, m, add, ahead); return;
        KL_GEMM_EACH_M
#undef KL_M
    }
}

enum { TRIPLES = (ROWS + 2) / 3 };

/* KL__GEMM_FETCH numbers of k or less, of rows as they lie: one address for three of them, so that all addresses fit
 * into registers. */
static inline __attribute__((always_inline)) void add_rows(sums s, const float *a, int64_t pitch, const float *b,
                                                           int64_t n_k, const int m)
{
    const float *row[TRIPLES];
#pragma GCC unroll 16
    for (int i = 0; 3 * i < m; i++)
        row[i] = a + 3 * i * pitch;
    for (const float *end = b + n_k * COLUMNS; b < end; b += COLUMNS) {
        vf left = vload(b), right = vload(b + KL_LANES);
#pragma GCC unroll 16
        for (int i = 0; i < m; i++) {
            vf x = vset(row[i / 3][i % 3 * pitch]);
            s[i][0] += x * left;
            s[i][1] += x * right;
        }
#pragma GCC unroll 16
        for (int i = 0; 3 * i < m; i++) {
            row[i]++;
            __asm__("" : "+r"(row[i]));
        }
    }
}

static inline __attribute__((always_inline)) void rows_tile(float *sum, const float *a, int64_t pitch, const float *b,
                                                            int64_t n_k, const int m, bool add,
                                                            struct kl__ahead *ahead)
{
    sums s;
    begin_sums(s, sum, m);
    for (int64_t k = 0; k < n_k; k += KL__GEMM_FETCH) {
        kl__fetch_some(ahead);
        add_rows(s, a + k, pitch, b + k * COLUMNS, n_k - k < KL__GEMM_FETCH ? n_k - k : KL__GEMM_FETCH, m);
    }
    end_sums(sum, s, m, add);
}

void KL_VARIANT(gemm_rows)(float *sum, const float *a, int64_t a_pitch, const float *b, int64_t n_k, int m, bool add,
                           struct kl__ahead *ahead)
{
    switch (m) {
#define KL_M(m) case m: rows_tile(sum, a, a_pitch, b, n_k, m, add, ahead); return;
        KL_GEMM_EACH_M
#undef KL_M
    }
}

/* ------------------------------------------------------------------------------------------------------- storing -- */

static inline __attribute__((always_inline)) void store_row(void *c, kl_dtype dtype, const float *sum,
                                                            const float *bias, bool add)
{
    for (int j = 0; j < COLUMNS; j += KL_LANES) {
        vf x = vload(sum + j);
        if (bias)
            x = vload(bias + j) + x;
        if (dtype == KL_BF16)
            vstore_bf16((uint16_t *)c + j, x);
        else
            vstore((float *)c + j, add ? vload((float *)c + j) + x : x);
    }
}

/* A row that ends inside the panel: through a whole one. */
static void store_part(void *c, kl_dtype dtype, const float *sum, const float *bias, bool add, int n)
{
    float whole[COLUMNS], start[COLUMNS] = {0};
    size_t bytes = (size_t)n * (dtype == KL_BF16 ? 2 : 4);
    if (bias)
        __builtin_memcpy(start, bias, sizeof(float) * (size_t)n);
    if (add)
        __builtin_memcpy(whole, c, bytes);
    store_row(whole, dtype, sum, bias ? start : NULL, add);
    __builtin_memcpy(c, whole, bytes);
}

void KL_VARIANT(gemm_store)(void *c, kl_dtype dtype, int64_t c_pitch, const float *sum, const float *bias, bool add,
                            int64_t m, int n)
{
    int64_t step = c_pitch * (dtype == KL_BF16 ? 2 : 4);
    for (int64_t i = 0; i < m; i++, sum += COLUMNS, c = (char *)c + step) {
        if (n < COLUMNS)
            store_part(c, dtype, sum, bias, add, n);
        else if (dtype == KL_F32)
            store_row(c, KL_F32, sum, bias, add);
        else
            store_row(c, KL_BF16, sum, bias, false);
    }
}
