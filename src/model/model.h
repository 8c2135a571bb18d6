/** A model that is open: its files, its network. */
#ifndef KL_MODEL_MODEL_H
#define KL_MODEL_MODEL_H

#include "model/net.h"
#include "model/weights.h"

/** How far the packing of matrices has come. */
struct kl__packing {
    int layer, param; /* the next one; -1: those of the model itself */
    size_t bytes;     /* of those before it */
};

struct kl_model {
    const kl_allocator *alloc; /* NULL, or &alloc_copy */
    kl_allocator alloc_copy;
    struct kl__store *store;
    struct kl__net net;
    struct kl__bound bound;
    void *packed; /* packed matrices; NULL: none */
    size_t packed_bytes;
    struct kl__packing packing;
    struct kl__map pack_map; /* the file that they lie in; data NULL: they are in memory of their own */
    struct kl__reader *reader; /* of a model under a limit (lean.c); NULL: it has none */
    void *fixed;               /* its matrices that every token meets */
    size_t fixed_bytes;
    void *latents; /* KV_B of all layers as integers; NULL: none */
    size_t latent_bytes;
    uint8_t fingerprint[16];
};

/** Parameter `p` of a layer (-1: of the model itself). */
struct kl__weight *kl__model_weight(const kl_model *m, int layer, int p);
/** Whether products use it: an embedding is only looked up, unless it is the head as well. */
bool kl__model_multiplies(const kl_model *m, int p);
/** Undoes kl_model_limit(), as far as it has come. */
void kl__model_close_lean(kl_model *m);

#endif
