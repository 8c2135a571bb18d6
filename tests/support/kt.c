#include "support/kt.h"

#include "base/half.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------------------------------------ random numbers -- */

static uint64_t next(kt_rng *r)
{
    /* splitmix64 */
    uint64_t z = r->state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

double kt_uniform(kt_rng *r)
{
    return (double)(next(r) >> 11) * 0x1p-53;
}

double kt_normal(kt_rng *r)
{
    double u = kt_uniform(r), v = kt_uniform(r);
    return sqrt(-2 * log(1 - u)) * cos(6.283185307179586 * v);
}

int64_t kt_below(kt_rng *r, int64_t n)
{
    return (int64_t)(next(r) % (uint64_t)n);
}

void kt_fill_normal(kt_rng *r, float *x, int64_t n, float scale)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)kt_normal(r) * scale;
}

/* -------------------------------------------------------------------------------------------------------- memory -- */

enum { BORDER = 64, POISON = 0xa5 };

struct block {
    struct block *next;
    size_t bytes;
    unsigned char *memory; /* BORDER poison, bytes, BORDER poison */
};
static struct block *blocks;

void *kt_bytes(size_t bytes)
{
    struct block *b = malloc(sizeof *b);
    size_t room = (bytes + 63) / 64 * 64 + 2 * BORDER;
    assert_non_null(b);
    *b = (struct block){.next = blocks, .bytes = bytes, .memory = aligned_alloc(64, room)};
    assert_non_null(b->memory);
    memset(b->memory, POISON, room);
    blocks = b;
    return b->memory + BORDER;
}

float *kt_floats(int64_t n)
{
    float *x = kt_bytes((size_t)n * sizeof *x);
    for (int64_t i = 0; i < n; i++)
        x[i] = NAN;
    return x;
}

float *kt_zeros(int64_t n)
{
    float *x = kt_floats(n);
    memset(x, 0, (size_t)n * sizeof *x);
    return x;
}

float *kt_normals(kt_rng *r, int64_t n, float scale)
{
    float *x = kt_floats(n);
    kt_fill_normal(r, x, n, scale);
    return x;
}

uint16_t *kt_bf16_of(float *x, int64_t n)
{
    uint16_t *h = kt_bytes((size_t)n * sizeof *h);
    for (int64_t i = 0; i < n; i++) {
        h[i] = kl__bf16_of_f32(x[i]);
        x[i] = kl__f32_of_bf16(h[i]);
    }
    return h;
}

float *kt_copy(const float *x, int64_t n)
{
    float *y = kt_floats(n);
    memcpy(y, x, (size_t)n * sizeof *y);
    return y;
}

void kt_check_all(void)
{
    for (struct block *b = blocks; b; b = b->next)
        for (int i = 0; i < BORDER; i++) {
            if (b->memory[i] != POISON)
                fail_msg("a write %d bytes before a buffer of %zu bytes", BORDER - i, b->bytes);
            if (b->memory[BORDER + b->bytes + (size_t)i] != POISON)
                fail_msg("a write %d bytes past a buffer of %zu bytes", i, b->bytes);
        }
}

void kt_free_all(void)
{
    kt_check_all();
    while (blocks) {
        struct block *b = blocks;
        blocks = b->next;
        free(b->memory);
        free(b);
    }
}

kl_workspace kt_work(size_t bytes)
{
    char *memory = kt_bytes(bytes + 1); /* "any alignment" */
    return (kl_workspace){.data = memory + 1, .bytes = bytes};
}

/* ------------------------------------------------------------------------------------------------------ backends -- */

static const char *const levels[] = {"ref", "avx2", "avx512"};
enum { N_LEVEL = 3, MAX_THREAD = 8 };
static struct {
    kl_pool *pool;
    kl_backend *backend;
} opened[N_LEVEL][MAX_THREAD + 1];

const char *kt_level(int i)
{
    if (i >= N_LEVEL)
        return NULL;
    kl_backend *be = NULL;
    if (kl_backend_open(&be, &(kl_backend_options){.isa = levels[i]}, NULL) != KL_OK)
        return NULL;
    kl_backend_close(be);
    return levels[i];
}

const kl_backend *kt_backend(const char *isa, int n_thread)
{
    int level = 0;
    while (strcmp(levels[level], isa) != 0)
        level++;
    assert_in_range(n_thread, 1, MAX_THREAD);
    if (!opened[level][n_thread].backend) {
        KT_OK(kl_pool_open(&opened[level][n_thread].pool, n_thread, NULL, KT_ERR));
        kl_backend_options options = {.isa = isa, .pool = opened[level][n_thread].pool};
        KT_OK(kl_backend_open(&opened[level][n_thread].backend, &options, KT_ERR));
    }
    return opened[level][n_thread].backend;
}

void kt_free_backends(void)
{
    for (int i = 0; i < N_LEVEL; i++)
        for (int t = 0; t <= MAX_THREAD; t++) {
            kl_backend_close(opened[i][t].backend);
            kl_pool_close(opened[i][t].pool);
            opened[i][t].backend = NULL;
            opened[i][t].pool = NULL;
        }
}

/* ----------------------------------------------------------------------------------------------------- distances -- */

double kt_ratio64(const float *a, const double *b, int64_t n)
{
    double difference = 0, reference = 0;
    for (int64_t i = 0; i < n; i++) {
        if (isfinite(b[i]) ? !isfinite(a[i]) : !(isnan(b[i]) ? isnan(a[i]) : a[i] == b[i]))
            return INFINITY;
        if (!isfinite(b[i]))
            continue;
        difference += (a[i] - b[i]) * (a[i] - b[i]);
        reference += b[i] * b[i];
    }
    return reference > 0 ? sqrt(difference / reference) : difference > 0 ? INFINITY : 0;
}

double kt_ratio(const float *a, const float *b, int64_t n)
{
    double difference = 0, reference = 0;
    for (int64_t i = 0; i < n; i++) {
        if (isfinite(b[i]) ? !isfinite(a[i]) : !(isnan(b[i]) ? isnan(a[i]) : a[i] == b[i]))
            return INFINITY;
        if (!isfinite(b[i]))
            continue;
        difference += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        reference += (double)b[i] * b[i];
    }
    return reference > 0 ? sqrt(difference / reference) : difference > 0 ? INFINITY : 0;
}

void kt_assert_close(const char *what, const float *a, const float *b, int64_t n, double tolerance)
{
    double ratio = kt_ratio(a, b, n);
    if (!(ratio <= tolerance))
        fail_msg("%s: relative error %.3g, expected at most %.3g", what, ratio, tolerance);
}

void kt_assert_close64(const char *what, const char *level, const float *a, const double *b, int64_t n,
                       double tolerance)
{
    double ratio = kt_ratio64(a, b, n);
    if (!(ratio <= tolerance))
        fail_msg("%s, %s: relative error %.3g, expected at most %.3g", what, level, ratio, tolerance);
}

void kt_assert_same_bits(const char *what, const void *a, const void *b, size_t bytes)
{
    const unsigned char *x = a, *y = b;
    for (size_t i = 0; i < bytes; i++)
        if (x[i] != y[i])
            fail_msg("%s: byte %zu differs: %02x and %02x", what, i, x[i], y[i]);
}

/* -------------------------------------------------------------------------------------------- finite differences -- */

double kt_dot(const float *w, const float *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)w[i] * x[i];
    return sum;
}

/* (loss(x + h d) - loss(x - h d)) / 2h against gradient . d, with the steps that f32 really made. */
static void check_direction(const char *what, kt_loss_fn *loss, void *ctx, float *x, const float *gradient,
                            const double *d, int64_t n, double h, double tolerance, double norm)
{
    float *kept = malloc((size_t)n * sizeof *kept);
    assert_non_null(kept);
    memcpy(kept, x, (size_t)n * sizeof *kept);
    double expected = 0;
    for (int64_t i = 0; i < n; i++) {
        x[i] = (float)(kept[i] + h * d[i]);
        expected += gradient[i] * ((double)x[i] - (float)(kept[i] - h * d[i]));
    }
    double up = loss(ctx);
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)(kept[i] - h * d[i]);
    double down = loss(ctx);
    memcpy(x, kept, (size_t)n * sizeof *kept);
    free(kept);
    double scale = fmax(fabs(expected), 0.1 * norm * 2 * h);
    if (!(fabs(up - down - expected) <= tolerance * scale))
        fail_msg("%s: finite difference %.6g, gradient gives %.6g (allowed difference %.2g)", what,
                 (up - down) / (2 * h), expected / (2 * h), tolerance * scale / (2 * h));
}

void kt_check_gradient(const char *what, kt_loss_fn *loss, void *ctx, float *x, const float *gradient, int64_t n,
                       double h, double tolerance, kt_rng *r)
{
    if (n == 0)
        return;
    double *d = malloc((size_t)n * sizeof *d), square = 0, g2 = 0;
    assert_non_null(d);
    for (int64_t i = 0; i < n; i++) {
        square += (double)x[i] * x[i];
        g2 += (double)gradient[i] * gradient[i];
        if (!isfinite(gradient[i]))
            fail_msg("%s: gradient[%lld] is %g", what, (long long)i, (double)gradient[i]);
    }
    double rms = sqrt(square / (double)n), step = h * (rms > 0 ? rms : 1);
    for (int k = 0; k < 4; k++) {
        for (int64_t i = 0; i < n; i++)
            d[i] = kt_normal(r);
        check_direction(what, loss, ctx, x, gradient, d, n, step, tolerance, sqrt(g2));
    }
    for (int k = 0; k < 4; k++) {
        memset(d, 0, (size_t)n * sizeof *d);
        d[kt_below(r, n)] = 1;
        check_direction(what, loss, ctx, x, gradient, d, n, 4 * step, tolerance, sqrt(g2 / (double)n));
    }
    free(d);
}

/* ------------------------------------------------------------------------------------------------------ statuses -- */

void kt_assert_failed(kl_status got, kl_status want, const kl_error *err, const char *const *word, int n)
{
    if (got != want)
        fail_msg("status %s, expected %s (%s)", kl_status_name(got), kl_status_name(want), err->text);
    for (int i = 0; i < n; i++)
        if (!strstr(err->text, word[i]))
            fail_msg("the sentence \"%s\" does not contain \"%s\"", err->text, word[i]);
}
