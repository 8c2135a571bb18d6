/* A row is a function of what it holds and of its number alone, so that a row which is made of others (beta k) draws
 * those again and nothing depends on the order of calls.  Rows repeat after PERIOD tokens: operators do not care, and
 * setting up 64K tokens takes no longer than 2K. */
#include "stage.h"

#include "../cli/machine.h"
#include "base/half.h"

#include <math.h>
#include <string.h>

enum { PERIOD = 2048 };

/* ---- random numbers */

struct rng {
    uint64_t state;
};

static uint64_t draw(struct rng *r)
{
    r->state += 0x9e3779b97f4a7c15u;
    uint64_t z = r->state;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static struct rng rng_of(enum ka_data data, int64_t row)
{
    struct rng r = {(uint64_t)data << 48 ^ (uint64_t)row << 8};
    draw(&r);
    return r;
}

static float uniform(struct rng *r)
{
    return (float)(draw(r) >> 40) * 0x1p-24f;
}

/* The sum of four even numbers, scaled: near enough to a normal, and cheap. */
static float normal(struct rng *r)
{
    uint64_t bits = draw(r);
    int32_t sum = 0;
    for (int i = 0; i < 4; i++)
        sum += (int32_t)(bits >> 16 * i & 0xffff);
    return (float)(sum - 2 * 0xffff) * (1 / 37837.0f); /* 65536 sqrt(4 / 12) */
}

static float sigmoid(float x)
{
    return 1 / (1 + expf(-x));
}

static float softplus(float x)
{
    return x > 20 ? x : log1pf(expf(x));
}

/* ---- one row of each kind */

static void unit_row(struct rng *r, float *x, int64_t heads, int64_t dim)
{
    for (int64_t h = 0; h < heads; h++, x += dim) {
        float sum = 0;
        for (int64_t i = 0; i < dim; i++) {
            float z = normal(r);
            x[i] = z * sigmoid(z);
            sum += x[i] * x[i];
        }
        for (int64_t i = 0; i < dim; i++)
            x[i] /= sqrtf(sum + 1e-6f);
    }
}

/* Log decays of `heads` heads with `channels` channels each. */
static void gate_row(int64_t row, float *g, int64_t heads, int64_t channels)
{
    struct rng fixed = rng_of(KA_GATE, PERIOD), r = rng_of(KA_GATE, row); /* biases are the same for every token */
    for (int64_t h = 0; h < heads; h++) {
        float A = heads > 1 ? 1 + 15 * (float)h / (float)(heads - 1) : 4;
        for (int64_t i = 0; i < channels; i++) {
            float dt = 0.001f * powf(100, uniform(&fixed)), bias = logf(expm1f(dt));
            g[h * channels + i] = -A * softplus(normal(&r) + bias);
        }
    }
}

static void beta_row(int64_t row, float *beta, int64_t heads)
{
    struct rng r = rng_of(KA_BETA, row);
    for (int64_t h = 0; h < heads; h++)
        beta[h] = sigmoid(normal(&r));
}

/* k, each head multiplied by its beta. */
static void beta_key_row(int64_t row, float *x, int64_t heads, int64_t dim)
{
    struct rng key = rng_of(KA_KEY, row), r = rng_of(KA_BETA, row);
    unit_row(&key, x, heads, dim);
    for (int64_t h = 0; h < heads; h++) {
        float beta = sigmoid(normal(&r));
        for (int64_t i = 0; i < dim; i++)
            x[h * dim + i] *= beta;
    }
}

/* k, each channel multiplied by its decay. */
static void decayed_key_row(int64_t row, float *x, int64_t heads, int64_t dim)
{
    struct rng r = rng_of(KA_KEY, row);
    float key[KA_MAX_DIM];
    gate_row(row, x, heads, dim);
    for (int64_t h = 0; h < heads; h++) {
        unit_row(&r, key, 1, dim);
        for (int64_t i = 0; i < dim; i++)
            x[h * dim + i] = expf(x[h * dim + i]) * key[i];
    }
}

static void fill_row(const struct ka_stage *s, enum ka_data data, int copy, int64_t row, float *x, int64_t width)
{
    struct rng r = rng_of(data, row + (int64_t)copy * 2 * PERIOD);
    switch (data) {
    case KA_QUERY:
    case KA_KEY:
        unit_row(&r, x, s->heads, width / s->heads);
        break;
    case KA_GATE:
    case KA_GATE_HEAD:
        gate_row(row, x, s->heads, width / s->heads);
        break;
    case KA_BETA:
        beta_row(row, x, width);
        break;
    case KA_ERASE_WRITE:
    case KA_BETA_KEY:
        beta_key_row(row, x, s->heads, width / s->heads);
        break;
    case KA_ERASE_READ:
        decayed_key_row(row, x, s->heads, width / s->heads);
        break;
    default:
        for (int64_t i = 0; i < width; i++) {
            float z = normal(&r);
            x[i] = data == KA_VALUE        ? z * sigmoid(z)
                   : data == KA_WEIGHT     ? z / 8
                   : data == KA_DELTA_TIME ? 0.001f * powf(100, uniform(&r))
                   : data == KA_ROUTE      ? 1 / (float)width
                                           : z;
        }
    }
}

static void fill_numbers(const struct ka_stage *s, enum ka_data data, int64_t row, int32_t *x, int64_t width)
{
    struct rng r = rng_of(data, row);
    int64_t first = (int64_t)(draw(&r) >> 33);
    for (int64_t i = 0; i < width; i++)
        x[i] = (int32_t)(data == KA_EXPERT ? (first + i) % s->n_expert : (int64_t)(draw(&r) >> 33) % s->n_label);
}

/* ---- buffers */

static bool fill(const struct ka_stage *s, const struct ka_buffer *b)
{
    size_t row_bytes = (size_t)b->width * kl_dtype_bytes(b->dtype), scratch_bytes = (size_t)b->width * sizeof(float);
    float *scratch = ka_alloc(scratch_bytes);
    if (!scratch)
        return false;
    for (int64_t row = 0; row < b->rows; row++) {
        char *at = (char *)b->memory + (size_t)row * row_bytes;
        if (row >= PERIOD) {
            memcpy(at, at - PERIOD * row_bytes, row_bytes);
            continue;
        }
        if (b->dtype == KL_I32) {
            fill_numbers(s, b->data, row, (int32_t *)at, b->width);
            continue;
        }
        fill_row(s, b->data, b->copy, row, scratch, b->width);
        if (b->dtype == KL_F32)
            memcpy(at, scratch, row_bytes);
        else
            for (int64_t i = 0; i < b->width; i++)
                ((uint16_t *)at)[i] = kl__bf16_of_f32(scratch[i]);
    }
    ka_free(scratch, scratch_bytes);
    return true;
}

void *ka_stage_data(struct ka_stage *s, enum ka_data data, int copy, kl_dtype dtype, int64_t rows, int64_t width)
{
    for (int i = 0; i < s->n_buffer; i++) {
        struct ka_buffer *b = &s->buffer[i];
        if (b->data == data && b->copy == copy && b->dtype == dtype && b->rows >= rows && b->width == width)
            return b->memory;
    }
    struct ka_buffer b = {data, copy, dtype, rows, width, NULL, (size_t)rows * (size_t)width * kl_dtype_bytes(dtype)};
    bool room = s->n_buffer < (int)(sizeof s->buffer / sizeof *s->buffer) && b.bytes <= s->budget - s->bytes;
    if (room)
        b.memory = ka_alloc(b.bytes);
    if (!b.memory || (data != KA_ZERO && !fill(s, &b))) {
        ka_free(b.memory, b.bytes);
        s->failed = true;
        return NULL;
    }
    s->bytes += b.bytes;
    s->buffer[s->n_buffer++] = b;
    return b.memory;
}

kl_tensor ka_stage_heads(struct ka_stage *s, enum ka_data data, int copy, kl_dtype dtype, int64_t rows, int64_t T,
                         int64_t head_width)
{
    return kl_view3(ka_stage_data(s, data, copy, dtype, rows, s->heads * head_width), dtype, T, s->heads, head_width);
}

kl_tensor ka_stage_rows(struct ka_stage *s, enum ka_data data, int copy, kl_dtype dtype, int64_t rows, int64_t T,
                        int64_t width)
{
    return kl_view2(ka_stage_data(s, data, copy, dtype, rows, width), dtype, T, width);
}

void ka_stage_free(struct ka_stage *s)
{
    for (int i = 0; i < s->n_buffer; i++)
        ka_free(s->buffer[i].memory, s->buffer[i].bytes);
    s->n_buffer = 0;
    s->bytes = 0;
}
