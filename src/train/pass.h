/** A pass over one batch: the network forwards, keeping what the way back needs, and then backwards.
 *
 *      h_0 = embed[token];   h_{b+1} = h_b + block_b(norm(h_b));   logits = head norm(h_last)
 *
 *  Block 2i is the mixer of layer i, block 2i + 1 its feed-forward.  Every h_b is kept.  What a block keeps besides is
 *  its record; a layer that is recomputed forgets its record, and runs forwards again on the way back.
 *
 *  Memory is lent in three pieces: what is kept, what is not, and the workspace of the operators.  A pass that measures
 *  finds out how much of each it takes, with the very code that uses it; nothing is allocated. */
#ifndef KL_TRAIN_PASS_H
#define KL_TRAIN_PASS_H

#include "train/layout.h"
#include "train/run.h"

struct kl__pass {
    const struct kl__layout *layout;
    const kl_config *c;
    float *value, *gradient; /* arenas; gradient NULL: forwards only */
    struct kl__run run;
    const kl_batch *batch;
    int64_t n_token;
    struct kl__carver keep, temp;
    size_t temp_most;        /* bytes of temp that were out at once */
    bool forget;             /* this block's record lies in temp */
    const int64_t *position; /* [T] in its sequence; NULL without RoPE */
    const float *ones;       /* [2 HK + HV]; NULL when all have convolutions */
    int64_t *load;           /* [n_layer][n_expert] += tokens that chose an expert; NULL: not counted */
};

/** Numbers from one row of so many columns to the next: rows that are long begin with a line of a cache, and no two
 *  neighbours at the same place of a page, where they would put each other out of a first-level cache. */
int64_t kl__pass_pitch(int64_t columns);
/** [T][columns] that the way back needs, and that it does not. */
kl_tensor kl__pass_keep(struct kl__pass *p, int64_t columns);
kl_tensor kl__pass_temp(struct kl__pass *p, int64_t columns);
/** [n] that the way back needs. */
float *kl__pass_keep_floats(struct kl__pass *p, int64_t n);

/** A parameter and its gradient; absent when the layer has none. */
kl_tensor kl__pass_value(const struct kl__pass *p, enum kl__param param, int layer);
kl_tensor kl__pass_gradient(const struct kl__pass *p, enum kl__param param, int layer);
/** Columns of a group's products that belong to a parameter; absent when the layer has no such parameter. */
kl_tensor kl__pass_columns(const struct kl__pass *p, kl_tensor wide, enum kl__param param, int layer);
/** Columns first .. of a wider row as heads, [T][heads][size]. */
kl_tensor kl__pass_heads(kl_tensor x, int64_t first, int64_t heads, int64_t size);

/** y = x w^T, and its gradients: d_x is assigned, or added to. */
kl_status kl__pass_linear(const struct kl__pass *p, kl_tensor y, kl_tensor x, enum kl__param w, int layer, bool add);
kl_status kl__pass_linear_bwd(const struct kl__pass *p, kl_tensor d_x, kl_tensor d_y, kl_tensor x, enum kl__param w,
                              int layer, bool add_dx);
/** y = norm of x, and d_x of it; z and its activation are the gate of an output norm. */
kl_status kl__pass_norm(const struct kl__pass *p, kl_tensor y, kl_tensor x, enum kl__param w, int layer, float eps);
kl_status kl__pass_norm_bwd(const struct kl__pass *p, kl_tensor d_x, kl_tensor d_y, kl_tensor x, enum kl__param w,
                            int layer, float eps);

/** What every block begins with: n = norm of in, and wide = what its group of matrices makes of that. */
struct kl__inputs {
    kl_tensor n;    /* [T][D] */
    kl_tensor wide; /* [T][rows of the group] */
};
struct kl__inputs kl__pass_lay_inputs(struct kl__pass *p, enum kl__group group, int layer);
kl_status kl__pass_inputs(struct kl__pass *p, const struct kl__inputs *x, enum kl__group group, int layer,
                          kl_tensor in);
/** d += what d_wide, and d_n (absent: nothing), mean for `in`. */
kl_status kl__pass_inputs_bwd(struct kl__pass *p, const struct kl__inputs *x, enum kl__group group, int layer,
                              kl_tensor in, kl_tensor d_wide, kl_tensor d_n, kl_tensor d);

/** A block: out = in + what it adds; and, from the gradient d of out, that of in, in its place, and those of its
 *  parameters.  Both begin with the same carver for what is kept. */
struct kl__block {
    kl_status (*forward)(struct kl__pass *p, int layer, kl_tensor out, kl_tensor in);
    kl_status (*backward)(struct kl__pass *p, int layer, kl_tensor in, kl_tensor d);
};
extern const struct kl__block kl__block_recurrent, kl__block_mla, kl__block_dense, kl__block_moe;

/** Loss of the labels from the last h, and with a gradient arena d <- its gradient. */
kl_status kl__pass_head(struct kl__pass *p, kl_loss *loss, kl_tensor h, kl_tensor d);

/** The whole pass; `recompute` [n_layer].  With run.measure nothing is computed, and keep, temp_most and *run.measure
 *  tell what is needed. */
kl_status kl__pass_run(struct kl__pass *p, const uint8_t *recompute, kl_loss *loss);

#endif
