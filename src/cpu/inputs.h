/** Activations as the weights that they will meet in panels want them: rounded to bf16 or to 8 bits
 *  (cpu/kernels/slots_weight.h). */
#ifndef KL_CPU_INPUTS_H
#define KL_CPU_INPUTS_H

#include "base/memory.h"
#include "cpu/kernels/kernels.h"
#include "ops/backend.h"

enum kl__meeting {
    KL__MEET_F32,  /* not in panels: in the product of cpu/gemm.h */
    KL__MEET_BF16, /* weights in bf16 where the machine multiplies pairs of them faster than f32 */
    KL__MEET_Q8,   /* block formats */
};

/** What weights of a type ask for. */
struct kl__form {
    enum kl__meeting meeting;
    int group, offset; /* of integers (tensor/quant/levels.h); else 0 */
};
struct kl__form kl__form_of(const kl_backend *be, enum kl__type type);
static inline bool kl__in_panels(const kl_backend *be, const struct kl__weight *w)
{
    return !w->exact && kl__form_of(be, w->type).meeting != KL__MEET_F32;
}
static inline bool kl__same_form(struct kl__form a, struct kl__form b)
{
    return a.meeting == b.meeting && a.group == b.group && a.offset == b.offset;
}

/** n_row rows of n numbers. */
struct kl__inputs {
    struct kl__form form;
    int64_t n_row, n;
    int64_t pitch; /* bytes from one row to the next */
    char *data;    /* of a row bf16: numbers, and a zero after an odd count;  8 bits: q [n], scale, aux */
};

struct kl__inputs kl__carve_inputs(struct kl__carver *c, struct kl__form form, int64_t n_row, int64_t n);
/** Numbers k .. k + n - 1 of a row.  In 8 bits k and n are whole blocks of KL__Q8_BLOCK. */
void kl__write_inputs(const struct kl__kernels *kernels, const struct kl__inputs *to, int64_t row, int64_t k,
                      const float *x, int64_t n);
/** All rows of x [n_row][n] f32, on the pool. */
void kl__set_inputs(const kl_backend *be, const struct kl__inputs *to, kl_tensor x);

/** 8 bits: where scale and aux of block or group 0 lie in a row. */
static inline int64_t kl__scale_at(const struct kl__inputs *x)
{
    return x->n;
}
static inline int64_t kl__aux_at(const struct kl__inputs *x)
{
    return x->n + x->n / KL__Q8_BLOCK * 4;
}

#endif
