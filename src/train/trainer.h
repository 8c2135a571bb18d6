/** A model in training. */
#ifndef KL_TRAIN_TRAINER_H
#define KL_TRAIN_TRAINER_H

#include "train/pass.h"

/** Instances of the layout. */
enum kl__arena { KL__VALUE, KL__GRADIENT, KL__MOMENT1, KL__MOMENT2, KL__N_ARENA };

/** What is usual of a number that comes with every step. */
struct kl__usual {
    int64_t n;
    double mean, variance;
};

/** Memory of one orthogonalisation. */
struct kl__muon {
    float *x, *y; /* [largest matrix] */
    float *a, *b; /* [its shorter side squared] */
};

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
    kl_optimiser optimiser;
    struct kl__muon muon;
    int64_t n_step;
    struct kl__usual loss, norm; /* norm: its logarithm */
};

/** How a parameter is stepped. */
enum kl__rule {
    KL__RULE_FIXED,  /* not by gradients */
    KL__RULE_VECTOR, /* AdamW without decay */
    KL__RULE_MATRIX, /* AdamW */
    KL__RULE_HIDDEN, /* Muon, where that is the optimiser */
};
enum kl__rule kl__rule_of(enum kl__param p);

/** Bytes that Muon wants for the matrices of a layout, and its memory within `memory`. */
size_t kl__muon_bytes(const struct kl__layout *l);
struct kl__muon kl__muon_of(const struct kl__layout *l, void *memory);
/** Workspace of the operators under it. */
size_t kl__muon_workspace(const struct kl__layout *l, const kl_backend *be);

struct kl__muon_step {
    float lr, momentum, weight_decay, grad_scale;
};
/** One step of the matrices at `place`. */
kl_status kl__muon_step(const kl_trainer *t, const struct kl__place *place, const struct kl__muon_step *s,
                        kl_error *err);

#endif
