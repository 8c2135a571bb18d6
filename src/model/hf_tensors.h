/** The tensors of a model in Hugging Face layout: names, shapes and types. */
#ifndef KL_MODEL_HF_TENSORS_H
#define KL_MODEL_HF_TENSORS_H

#include "model/params.h"
#include "tensor/quant/quant.h"

struct kl__hf_tensor {
    struct kl__param_name name;
    enum kl__param param;
    enum kl__type type;
    int layer;  /* -1: of the model itself */
    int expert; /* of an expert; else 0 */
    int n_dim;
    int64_t dim[4]; /* outermost first */
};

int64_t kl__hf_elements(const struct kl__hf_tensor *t);

/** All tensors of a model with this configuration, layer by layer, with the shapes and types that the released model
 *  has: rates and biases of the decay are f32, everything else is `type`.  NULL `tensor` only counts. */
int64_t kl__hf_tensors(struct kl__hf_tensor *tensor, const kl_config *c, enum kl__type type);

/** Which tensor of such a model is called `name`: sets parameter, layer and expert.  False: none. */
bool kl__hf_find(struct kl__hf_tensor *t, const kl_config *c, struct kl__str name);

#endif
