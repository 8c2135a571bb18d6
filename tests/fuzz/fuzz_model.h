/** The model of fuzz targets that need one, where what is looked for is around it. */
#ifndef FUZZ_MODEL_H
#define FUZZ_MODEL_H

#include "klinear/kl/model.h"

#include <stdlib.h>

/** A layer of KDA and one of MLA, as small as can be. */
static inline kl_config fuzz_config(void)
{
    kl_config c;
    if (kl_config_preset(&c, "tiny", NULL) != KL_OK)
        abort();
    c.n_layer = 2;
    c.mixer[1] = KL_MIXER_MLA;
    c.ffn[0] = c.ffn[1] = KL_FFN_DENSE;
    c.n_embd = c.n_ff = c.kv_rank = 32;
    c.n_kda_head = c.n_kda_v_head = c.n_head = 1;
    c.kda_k = c.kda_v = c.decay_rank = c.gate_rank = c.qk_nope = c.qk_rope = c.v_dim = 16;
    return c;
}

#endif
