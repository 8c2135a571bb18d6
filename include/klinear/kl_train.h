/** klinear for trainers: gradients of a whole model, and what turns them into better parameters.  The conventions at
 *  the head of kl_ops.h hold here too. */
#ifndef KLINEAR_KL_TRAIN_H
#define KLINEAR_KL_TRAIN_H

#include "klinear/kl_ops.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ------------------------------------------------------------------------------------------ gradients of a model -- */

/** A model in training: parameters, their gradients and two moments of each, all f32, and the memory of one batch.
 *  Belongs to one thread at a time. */
typedef struct kl_trainer kl_trainer;

typedef struct kl_trainer_options {
    const kl_config *config;   /* copied */
    const kl_backend *backend; /* borrowed, must outlive the trainer */
    const kl_allocator *alloc; /* borrowed; NULL: the C library's */
    int64_t max_tokens;        /* most tokens of a batch, 1 .. 2^24 */
    int64_t max_seqs;          /* most sequences of a batch; 0: as many as tokens */
    /** [n_layer], 1: what the layer's backward needs is computed again instead of kept; NULL: everything is kept.
     *  The same bits either way.   [T: train/walk] */
    const uint8_t *recompute;
} kl_trainer_options;

/** Bytes that kl_trainer_open will ask the allocator for, exactly.
 *  Errors: KL_ERR_ARGUMENT, KL_ERR_FORMAT and KL_ERR_UNSUPPORTED (the configuration), KL_ERR_MEMORY. */
KL_API kl_status kl_trainer_memory(int64_t *bytes, const kl_trainer_options *options, kl_error *err);

/** Opens a trainer whose parameters, gradients and moments are all 0.  Nothing is allocated afterwards.
 *  Errors: as above. */
KL_API kl_status kl_trainer_open(kl_trainer **trainer, const kl_trainer_options *options, kl_error *err);
/** NULL is allowed. */
KL_API void kl_trainer_close(kl_trainer *trainer);
KL_API const kl_config *kl_trainer_config(const kl_trainer *trainer);

/** One parameter of one layer: [n], [rows][columns], or [experts][rows][columns].  The views may be written. */
typedef struct kl_parameter {
    char name[160]; /* as Hugging Face files have it; of stacked experts that of the first */
    int layer;      /* -1: of the model itself */
    kl_tensor value, gradient, moment1, moment2;
} kl_parameter;

/** Number of parameters, and one of them; i within it. */
KL_API int64_t kl_trainer_n_parameter(const kl_trainer *trainer);
KL_API void kl_trainer_parameter(const kl_trainer *trainer, int64_t i, kl_parameter *parameter);

/** Sequences, packed one after the other.  They do not see each other, and begin with empty states. */
typedef struct kl_batch {
    const int32_t *token; /* [n_token], within the vocabulary */
    const int32_t *label; /* [n_token] what should follow; negative: not scored */
    int64_t n_token;
    const int64_t *cu_seqlens; /* [n_seq + 1] */
    int64_t n_seq;
    float weight;     /* of each label's loss in the gradient, e.g. 1 / labels of the step; 0: 1 */
    bool count_right; /* count the labels that are the likeliest token */
} kl_batch;

typedef struct kl_loss {
    double sum;      /* of -log p(label), nats */
    int64_t n_label; /* labels that are scored */
    int64_t n_right; /* with count_right */
} kl_loss;

/** Loss of a batch; *loss is assigned.
 *  Errors: KL_ERR_ARGUMENT (too many tokens or sequences, an id or label out of the vocabulary, offsets that do not
 *  ascend), by place.   [T: train/walk] */
KL_API kl_status kl_trainer_loss(kl_trainer *trainer, const kl_batch *batch, kl_loss *loss, kl_error *err);

/** The same, and gradients += weight times the gradient of the sum.  The same bits for any number of threads.
 *  [T: train/gradients, train/walk] */
KL_API kl_status kl_trainer_backward(kl_trainer *trainer, const kl_batch *batch, kl_loss *loss, kl_error *err);

/** gradients <- 0. */
KL_API void kl_trainer_forget_gradients(kl_trainer *trainer);

/* ---------------------------------------------------------------------------------------------------- optimisers -- */

/** One AdamW step on `n` parameters that share their settings:
 *      m <- b1 m + (1-b1) d;   v <- b2 v + (1-b2) d^2;   d = grad_scale * gradient
 *      p <- p - lr (m / (1-b1^step) / (sqrt(v / (1-b2^step)) + eps) + weight_decay p)
 *  All four arrays are [n] f32 and overlap nowhere; gradient is only read.  The same bits for any number of threads.
 *  Errors: KL_ERR_ARGUMENT (n < 0, step < 1, a beta outside [0,1), eps <= 0, NULL with n > 0).
 *  Source: arXiv:1711.05101.   [T: unit/adamw] */
typedef struct kl_adamw_args {
    float *p, *m, *v;
    const float *gradient;
    int64_t n;
    int64_t step; /* 1 for the first */
    float lr, beta1, beta2, eps, weight_decay;
    float grad_scale; /* e.g. the factor of clipping; 0: 1 */
} kl_adamw_args;

KL_API kl_status kl_adamw(const kl_backend *backend, const kl_adamw_args *args, kl_error *err);

/** Sum of squares of [n] f32, in f64, in an order that does not depend on the number of threads: one part of a global
 *  gradient norm.  NaN or infinity inside shows in the result.   [T: unit/adamw] */
KL_API double kl_sum_squares(const kl_backend *backend, const float *x, int64_t n);

#ifdef __cplusplus
}
#endif
#endif
