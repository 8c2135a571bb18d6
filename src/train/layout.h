/** Where every parameter lies in an arena of f32.  Values, gradients and moments are arenas of one layout, so that
 *  norm, clipping, saving and the optimisers each are one loop. */
#ifndef KL_TRAIN_LAYOUT_H
#define KL_TRAIN_LAYOUT_H

#include "base/memory.h"
#include "klinear/kl_ops.h"
#include "model/params.h"

/** A parameter of one layer, [n_matrix][rows][columns] from float `at` on. */
struct kl__place {
    enum kl__param param;
    int layer; /* -1: of the model itself */
    int n_dim; /* 1: [rows]; 2: [rows][columns]; 3: experts */
    int64_t n_matrix, rows, columns;
    int64_t at;
};

/** Places lie in order, without gaps.  In each layer those matrices come first that are multiplied by the input of the
 *  mixer, then those that are multiplied by the input of the feed-forward: each group is one matrix. */
struct kl__layout {
    kl_config c;
    const kl_allocator *alloc;
    struct kl__place *place; /* [n_place] */
    int64_t n_place;
    int32_t *index; /* [1 + n_layer][KL__N_PARAM]: number of the place, -1: absent */
    int64_t n;      /* floats of an arena */
};

/** Lays out a checked configuration.  The caller closes the layout.  Errors: KL_ERR_MEMORY. */
kl_status kl__layout_open(struct kl__layout *l, const kl_config *c, const kl_allocator *alloc, kl_error *err);
void kl__layout_close(struct kl__layout *l);

static inline int64_t kl__place_floats(const struct kl__place *p)
{
    return p->n_matrix * p->rows * p->columns;
}

/** NULL: this layer has no such parameter. */
const struct kl__place *kl__layout_find(const struct kl__layout *l, enum kl__param p, int layer);
/** The parameter in an arena, [rows], [rows][columns] or [experts][rows][columns]; absent when it, or the arena, is. */
kl_tensor kl__layout_view(const struct kl__layout *l, float *arena, enum kl__param p, int layer);

/** What is multiplied by the same input. */
enum kl__group {
    KL__GROUP_MIXER,
    KL__GROUP_FFN,
};
/** The matrix of a group, [rows of all][n_embd]; absent when the group is empty, or the arena is NULL. */
kl_tensor kl__layout_group(const struct kl__layout *l, float *arena, enum kl__group group, int layer);
/** Rows of the group's matrix in front of a parameter that belongs to it. */
int64_t kl__layout_first_row(const struct kl__layout *l, enum kl__param p, int layer);
/** The group of a parameter; -1: none. */
int kl__group_of(enum kl__param p);

#endif
