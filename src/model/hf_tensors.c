#include "model/hf_tensors.h"

#include <string.h>

int64_t kl__hf_elements(const struct kl__hf_tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->n_dim; i++)
        n *= t->dim[i];
    return n;
}

static void set_shape(struct kl__hf_tensor *t, int n_dim, int64_t d0, int64_t d1, int64_t d2, int64_t d3)
{
    int64_t dim[4] = {d0, d1, d2, d3};
    t->n_dim = n_dim;
    memcpy(t->dim, dim, sizeof dim);
}

static struct kl__hf_tensor make(const kl_config *c, enum kl__param p, int layer, int expert, enum kl__type type)
{
    struct kl__hf_tensor t = {.param = p, .layer = layer, .expert = expert, .type = type};
    int64_t d[2] = {0, 0};
    int n_dim = kl__param_dims(c, p, layer, d);
    t.name = kl__param_name(KL__NAMES_HF, p, layer, expert);
    set_shape(&t, n_dim, d[0], d[1], 1, 1);
    if (kl__param_info(p)->form == KL__FORM_CONV)
        set_shape(&t, 3, d[0], 1, d[1], 1);
    if (kl__param_info(p)->form == KL__FORM_A_LOG)
        set_shape(&t, 4, 1, 1, d[0], 1);
    if (p == KL__A_LOG || p == KL__DT_BIAS)
        t.type = KL__TYPE_F32;
    return t;
}

int64_t kl__hf_tensors(struct kl__hf_tensor *tensor, const kl_config *c, enum kl__type type)
{
    int64_t n = 0;
    for (int layer = -1; layer < c->n_layer; layer++)
        for (int p = 0; p < KL__N_PARAM; p++) {
            if (!kl__param_present(c, (enum kl__param)p, layer))
                continue;
            int n_expert = kl__param_info((enum kl__param)p)->form == KL__FORM_EXPERTS ? c->n_expert : 1;
            for (int e = 0; e < n_expert; e++, n++)
                if (tensor)
                    tensor[n] = make(c, (enum kl__param)p, layer, e, type);
        }
    return n;
}
