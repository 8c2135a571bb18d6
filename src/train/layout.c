#include "train/layout.h"

#include "base/error.h"

/* The order of a layer: the two groups, then the parameters that an operator wants one after the other, then the rest
 * as the list has them. */
static const struct {
    enum kl__param param;
    int group;
} first[] = {
    {KL__KDA_Q, KL__GROUP_MIXER},   {KL__KDA_K, KL__GROUP_MIXER},     {KL__KDA_V, KL__GROUP_MIXER},
    {KL__DECAY_A, KL__GROUP_MIXER}, {KL__DECAY, KL__GROUP_MIXER},     {KL__BETA, KL__GROUP_MIXER},
    {KL__GATE_A, KL__GROUP_MIXER},  {KL__GATE, KL__GROUP_MIXER},      {KL__MLA_Q, KL__GROUP_MIXER},
    {KL__MLA_Q_A, KL__GROUP_MIXER}, {KL__MLA_KV_A, KL__GROUP_MIXER},  {KL__FFN_GATE, KL__GROUP_FFN},
    {KL__FFN_UP, KL__GROUP_FFN},    {KL__SHARED_GATE, KL__GROUP_FFN}, {KL__SHARED_UP, KL__GROUP_FFN},
    {KL__ROUTER, KL__GROUP_FFN},
};
enum { N_FIRST = sizeof first / sizeof *first };

int kl__group_of(enum kl__param p)
{
    for (int i = 0; i < N_FIRST; i++)
        if (first[i].param == p)
            return first[i].group;
    return -1;
}

static int32_t *index_of(const struct kl__layout *l, enum kl__param p, int layer)
{
    return &l->index[(int64_t)(layer + 1) * KL__N_PARAM + p];
}

/* Without memory for the places they are only counted. */
static void add(struct kl__layout *l, enum kl__param p, int layer)
{
    if (!kl__param_present(&l->c, p, layer))
        return;
    if (l->place) {
        bool experts = kl__param_info(p)->form == KL__FORM_EXPERTS;
        int64_t dim[2];
        int n_dim = kl__param_dims(&l->c, p, layer, dim);
        struct kl__place place = {
            p, layer, n_dim + experts, experts ? l->c.n_expert : 1, dim[0], n_dim == 2 ? dim[1] : 1, l->n};
        l->place[l->n_place] = place;
        *index_of(l, p, layer) = (int32_t)l->n_place;
        l->n += kl__place_floats(&place);
    }
    l->n_place++;
}

static void add_all(struct kl__layout *l)
{
    l->n_place = l->n = 0;
    for (int layer = -1; layer < l->c.n_layer; layer++) {
        for (int i = 0; i < N_FIRST; i++)
            add(l, first[i].param, layer);
        for (int p = 0; p < KL__N_PARAM; p++)
            if (kl__group_of((enum kl__param)p) < 0)
                add(l, (enum kl__param)p, layer);
    }
}

kl_status kl__layout_open(struct kl__layout *l, const kl_config *c, const kl_allocator *alloc, kl_error *err)
{
    *l = (struct kl__layout){.c = *c, .alloc = alloc};
    add_all(l);
    size_t n_index = (size_t)(c->n_layer + 1) * KL__N_PARAM;
    struct kl__place *place = kl__alloc(alloc, (size_t)l->n_place * sizeof *place);
    l->index = kl__alloc(alloc, n_index * sizeof *l->index);
    l->place = place;
    if (!place || !l->index) {
        kl__layout_close(l);
        return kl__fail(err, KL_ERR_MEMORY, "no memory for a list of %lld parameters", (long long)l->n_place);
    }
    for (size_t i = 0; i < n_index; i++)
        l->index[i] = -1;
    add_all(l);
    return KL_OK;
}

void kl__layout_close(struct kl__layout *l)
{
    kl__release(l->alloc, l->place);
    kl__release(l->alloc, l->index);
    *l = (struct kl__layout){0};
}

const struct kl__place *kl__layout_find(const struct kl__layout *l, enum kl__param p, int layer)
{
    int32_t i = *index_of(l, p, layer);
    return i < 0 ? NULL : &l->place[i];
}

kl_tensor kl__layout_view(const struct kl__layout *l, float *arena, enum kl__param p, int layer)
{
    const struct kl__place *place = kl__layout_find(l, p, layer);
    if (!place || !arena)
        return (kl_tensor){0};
    float *x = arena + place->at;
    if (place->n_dim == 3)
        return kl_view3(x, KL_F32, place->n_matrix, place->rows, place->columns);
    return place->n_dim == 2 ? kl_view2(x, KL_F32, place->rows, place->columns) : kl_view1(x, KL_F32, place->rows);
}

/* The first place of a group in a layer, and the number of its rows. */
static const struct kl__place *begin(const struct kl__layout *l, enum kl__group group, int layer, int64_t *rows)
{
    const struct kl__place *from = NULL;
    *rows = 0;
    for (int i = 0; i < N_FIRST; i++) {
        const struct kl__place *place = (int)group == first[i].group ? kl__layout_find(l, first[i].param, layer) : NULL;
        if (!place)
            continue;
        from = from ? from : place;
        *rows += place->rows;
    }
    return from;
}

kl_tensor kl__layout_group(const struct kl__layout *l, float *arena, enum kl__group group, int layer)
{
    int64_t rows;
    const struct kl__place *from = begin(l, group, layer, &rows);
    return from && arena ? kl_view2(arena + from->at, KL_F32, rows, from->columns) : (kl_tensor){0};
}

int64_t kl__layout_first_row(const struct kl__layout *l, enum kl__param p, int layer)
{
    int64_t rows;
    const struct kl__place *place = kl__layout_find(l, p, layer);
    return (place->at - begin(l, (enum kl__group)kl__group_of(p), layer, &rows)->at) / place->columns;
}
