/** One walk in progress: what mixers and feed-forward layers share. */
#ifndef KL_MODEL_WALK_H
#define KL_MODEL_WALK_H

#include "base/error.h"
#include "model/net.h"

/** With `measure` nothing is computed: operators only say how much workspace they want, and `stage` holds no memory. */
struct kl__walk {
    const struct kl__net *net;
    const kl_backend *be;
    const struct kl__batch *batch;
    struct kl__carver stage; /* what is left of it */
    kl_workspace work;
    size_t *measure; /* largest workspace so far; NULL: compute */
    float *h, *n;    /* [T][D]: residual stream, and its norm */
    kl_error *err;
    kl_spent *spent; /* NULL: nobody watches */
    int layer;       /* -1: outside of layers */
    int64_t n_taken; /* tokens whose experts are on the shelf */
};

/** [T][columns] of f32 on the stage; given back when the layer is done. */
kl_tensor kl__stage(struct kl__walk *w, int64_t columns);
/** Takes note of a call that began at `from` (model/watch.h). */
void kl__walk_took(const struct kl__walk *w, enum kl__step_part part, struct kl__effort effort, double from);
/** h = rows `id` of the embedding. */
kl_status kl__walk_embedding(struct kl__walk *w, kl_tensor id);

/** [T] on the stage. */
int64_t *kl__stage_positions(struct kl__walk *w);
/** Offsets [T + 1] and lists of pages [T] of at most as many sequences as there are tokens, on the stage. */
struct kl__lists {
    int64_t *cu_q, *cu_k;
    const int32_t **page;
};
struct kl__lists kl__stage_lists(struct kl__walk *w);
/** w->h or w->n as a tensor, [T][D]. */
kl_tensor kl__walk_rows(const struct kl__walk *w, float *rows);

/** Each runs one operator with the walk's workspace, or only measures how much of it the operator wants. */
kl_status kl__walk_linears(struct kl__walk *w, enum kl__step_part part, const struct kl__weight_product *p, int n,
                           kl_tensor x);
kl_status kl__walk_linear(struct kl__walk *w, enum kl__step_part part, kl_tensor y, kl_tensor x,
                          const struct kl__weight *weight, bool add);
/** Routed experts of layer `l`: h += what they make of n.  Experts that are not in memory begin to be read when they
 *  are wanted; what is computed between the two calls costs no time then.  Wanted ones are used or left. */
kl_status kl__walk_want_experts(struct kl__walk *w, kl_tensor id);
void kl__walk_leave_experts(struct kl__walk *w);
kl_status kl__walk_experts(struct kl__walk *w, kl_tensor id, kl_tensor weight, const struct kl__layer *l);
kl_status kl__walk_norm(struct kl__walk *w, kl_tensor y, kl_tensor x, const struct kl__weight *weight, kl_tensor gate,
                        kl_activation act, float eps);
kl_status kl__walk_kda(struct kl__walk *w, kl_kda_args *a);
kl_status kl__walk_mla(struct kl__walk *w, kl_mla_args *a);
kl_status kl__walk_short_conv(struct kl__walk *w, kl_short_conv_args *a);
kl_status kl__walk_rope(struct kl__walk *w, kl_rope_args *a);
kl_status kl__walk_swiglu(struct kl__walk *w, kl_swiglu_args *a);
kl_status kl__walk_router(struct kl__walk *w, kl_router_args *a);

/** A vector of f32 as a tensor; absent when the parameter is. */
kl_tensor kl__tensor_of_weight(const struct kl__weight *w);

/** y of the mixer and of the feed-forward of a layer are added to h; their input is n. */
kl_status kl__mixer_recurrent_forward(struct kl__walk *w, int layer);
kl_status kl__mixer_mla_forward(struct kl__walk *w, int layer);
kl_status kl__ffn_dense_forward(struct kl__walk *w, int layer);
kl_status kl__ffn_moe_forward(struct kl__walk *w, int layer);

#endif
