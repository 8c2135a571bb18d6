#include "klinear/kl_train.h"
#include "model/params.h"

/* Weights that one token is multiplied with. */
static double weights_of(const kl_config *c, int layer)
{
    double n = 0;
    for (int p = 0; p < KL__N_PARAM; p++) {
        enum kl__param param = (enum kl__param)p;
        int64_t dim[2];
        if (param == KL__EMBED || !kl__param_present(c, param, layer) || kl__param_dims(c, param, layer, dim) != 2)
            continue;
        bool experts = kl__param_info(param)->form == KL__FORM_EXPERTS;
        n += (double)dim[0] * (double)dim[1] * (experts ? c->n_expert_used : 1);
    }
    return n;
}

/* What a token's mixer does without weights. */
static double mixing_of(const kl_config *c, int layer, int64_t length)
{
    if (c->mixer[layer] == KL_MIXER_MLA)
        return (double)c->n_head * (c->qk_nope + c->qk_rope + c->v_dim) * (double)(length + 1);
    return 7.0 * c->n_kda_v_head * c->kda_k * c->kda_v;
}

double kl_config_train_flops(const kl_config *c, int64_t length)
{
    double head = (double)c->n_vocab * c->n_embd, flops = 2 * (c->tied ? head : weights_of(c, -1));
    for (int i = 0; i < c->n_layer; i++)
        flops += 2 * weights_of(c, i) + mixing_of(c, i, length);
    return 3 * flops;
}

int64_t kl_config_n_parameter(const kl_config *c)
{
    int64_t n = 0;
    for (int layer = -1; layer < c->n_layer; layer++)
        for (int p = 0; p < KL__N_PARAM; p++) {
            enum kl__param param = (enum kl__param)p;
            int64_t dim[2];
            if (!kl__param_present(c, param, layer))
                continue;
            int64_t columns = kl__param_dims(c, param, layer, dim) == 2 ? dim[1] : 1;
            n += dim[0] * columns * (kl__param_info(param)->form == KL__FORM_EXPERTS ? c->n_expert : 1);
        }
    return n;
}
