#include "cpu/inputs.h"

#include "base/cpu.h"
#include "base/pool.h"
#include "cpu/cpu_backend.h"
#include "tensor/quant/levels.h"
#include "tensor/tensor.h"

#include <string.h>

struct kl__form kl__form_of(const kl_backend *be, enum kl__type type)
{
    const struct kl__levels_info *levels = kl__levels_info(type);
    if (levels)
        return (struct kl__form){KL__MEET_Q8, levels->group, levels->offset};
    bool pairs = type == KL__TYPE_BF16 && ((const struct kl__cpu *)be->impl)->features & KL_CPU_AVX512BF16;
    return (struct kl__form){.meeting = pairs ? KL__MEET_BF16 : KL__MEET_F32};
}

static int64_t row_bytes(const struct kl__inputs *x)
{
    return x->form.meeting == KL__MEET_BF16 ? (x->n + x->n % 2) * 2 : kl__aux_at(x) + x->n / x->form.group * 4;
}

struct kl__inputs kl__carve_inputs(struct kl__carver *c, struct kl__form form, int64_t n_row, int64_t n)
{
    struct kl__inputs x = {.form = form, .n_row = n_row, .n = n};
    /* Not a multiple of a page: lines of neighbouring rows would all compete for the same places of a cache. */
    x.pitch = (row_bytes(&x) / KL_ALIGN + 2) * KL_ALIGN;
    if (x.pitch % 1024 == 0)
        x.pitch += KL_ALIGN;
    x.data = kl__carve(c, (size_t)n_row, (size_t)x.pitch);
    return x;
}

void kl__write_inputs(const struct kl__kernels *kernels, const struct kl__inputs *to, int64_t row, int64_t k,
                      const float *x, int64_t n)
{
    char *line = to->data + row * to->pitch;
    if (to->form.meeting == KL__MEET_BF16) {
        kernels->bf16_of_f32((uint16_t *)(void *)line + k, x, n);
        if (to->n % 2 && k + n == to->n)
            memset(line + 2 * to->n, 0, 2);
    } else {
        char *scale = line + kl__scale_at(to) + k / KL__Q8_BLOCK * 4;
        char *aux = line + kl__aux_at(to) + k / to->form.group * 4;
        kernels->q8_row((int8_t *)line + k, (float *)(void *)scale, aux, x, n, to->form.group, to->form.offset);
    }
}

struct job {
    const struct kl__kernels *kernels;
    const struct kl__inputs *to;
    kl_tensor x;
};

enum { ROWS_PER_TASK = 8 };

static void write_task(void *arg, int64_t task, int thread)
{
    (void)thread;
    const struct job *job = arg;
    int64_t end = (task + 1) * ROWS_PER_TASK < job->to->n_row ? (task + 1) * ROWS_PER_TASK : job->to->n_row;
    for (int64_t i = task * ROWS_PER_TASK; i < end; i++)
        kl__write_inputs(job->kernels, job->to, i, 0, kl__row(job->x, i), job->to->n);
}

void kl__set_inputs(const kl_backend *be, const struct kl__inputs *to, kl_tensor x)
{
    struct job job = {kl__cpu_kernels(be), to, x};
    kl__pool_run(be->pool, (to->n_row + ROWS_PER_TASK - 1) / ROWS_PER_TASK, write_task, &job);
}
