/** A model in training. */
#ifndef KL_TRAIN_TRAINER_H
#define KL_TRAIN_TRAINER_H

#include "train/pass.h"

/** Instances of the layout. */
enum kl__arena { KL__VALUE, KL__GRADIENT, KL__MOMENT1, KL__MOMENT2, KL__N_ARENA };

struct kl_trainer {
    const kl_allocator *alloc; /* NULL, or &alloc_copy */
    kl_allocator alloc_copy;
    const kl_backend *be;
    struct kl__layout layout;
    int64_t max_tokens, max_seqs;
    uint8_t recompute[KL_MAX_LAYERS];
    float *arena[KL__N_ARENA]; /* [layout.n] each, one after the other in one piece of memory */
    int64_t *load;             /* [n_layer][n_expert] tokens of the batches since the last step */
    char *stage;               /* what is kept, then what is not */
    size_t keep_bytes, temp_bytes;
    kl_workspace work;
    double *seconds; /* [KL__N_TIMED], NULL: not taken */
};

#endif
