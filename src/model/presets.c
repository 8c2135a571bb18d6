/* Named geometries. */
#include "base/error.h"
#include "model/config.h"

#include <stdio.h>

/** Layers, widths, counts; all share the order of layers and the router of the released model. */
struct preset {
    const char *name;
    int n_layer, n_embd, n_head, kda, nope, rope, v_dim, kv_rank, n_expert, n_used, n_ff_expert, n_ff, n_vocab;
};

static const struct preset presets[] = {
    /*name   layers embd head  kda nope rope v_dim rank expert used ff_e  ff    vocab */
    {"tiny",   4,  256,  4,  64,  64, 32,  64, 128,   8, 2,  128,  512, 1024},
    {"small",  8, 1024,  8, 128, 128, 64, 128, 512,  32, 8,  512, 4096, 32768},
    {"mid",    8, 2304, 32, 128, 128, 64, 128, 512,  64, 8, 1024, 9216, 49152},
    {"mid256", 8, 2304, 32, 128, 128, 64, 128, 512, 256, 8, 1024, 9216, 49152},
    {"48b",   27, 2304, 32, 128, 128, 64, 128, 512, 256, 8, 1024, 9216, 163840},
};

enum { N_PRESET = sizeof presets / sizeof *presets };

static const char *const names[] = {
    "tiny", "small", "mid", "mid256", "48b", "tiny-mla", "small-mla", "mid-mla", "mid256-mla", "48b-mla",
    "tiny-gdn", "small-gdn", "mid-gdn", "mid256-gdn", "48b-gdn",
};

const char *kl_preset_name(int i)
{
    return i >= 0 && i < (int)(sizeof names / sizeof *names) ? names[i] : NULL;
}

/* Every fourth layer has MLA, and the last of the released model. */
static uint8_t mixer_of(int layer, int n_layer, kl_mixer recurrent)
{
    return (layer + 1) % 4 == 0 || (n_layer == 27 && layer == 26) ? KL_MIXER_MLA : (uint8_t)recurrent;
}

static kl_config configure(const struct preset *p, kl_mixer recurrent)
{
    kl_config c = kl__config_default();
    c.n_layer = p->n_layer;
    for (int i = 0; i < p->n_layer; i++) {
        c.mixer[i] = mixer_of(i, p->n_layer, recurrent);
        c.ffn[i] = i == 0 ? KL_FFN_DENSE : KL_FFN_MOE;
    }
    c.n_vocab = p->n_vocab;
    c.n_embd = p->n_embd;
    c.rms_eps = c.kv_norm_eps = 1e-5F;
    c.n_kda_head = c.n_kda_v_head = c.n_head = p->n_head;
    c.kda_k = c.kda_v = c.decay_rank = c.gate_rank = p->kda;
    c.qk_nope = p->nope;
    c.qk_rope = p->rope;
    c.v_dim = p->v_dim;
    c.kv_rank = p->kv_rank;
    c.n_expert = p->n_expert;
    c.n_expert_used = p->n_used;
    c.n_expert_shared = 1;
    c.n_ff_expert = p->n_ff_expert;
    c.n_ff = p->n_ff;
    c.router_scale = 2.446F;
    c.bos = c.n_vocab - 256; /* the specials are the last 256 entries: see made_tokens.h */
    c.eos = c.bos + 1;
    c.pad = c.bos + 255;
    return c;
}

kl_status kl_config_preset(kl_config *config, const char *name, kl_error *err)
{
    static const struct {
        const char *suffix;
        kl_mixer recurrent;
    } kind[] = {{"", KL_MIXER_KDA}, {"-mla", KL_MIXER_MLA}, {"-gdn", KL_MIXER_GDN}};
    char full[32];
    for (int i = 0; i < N_PRESET; i++)
        for (int k = 0; k < 3; k++) {
            snprintf(full, sizeof full, "%s%s", presets[i].name, kind[k].suffix);
            if (strcmp(full, name) == 0) {
                *config = configure(&presets[i], kind[k].recurrent);
                return KL_OK;
            }
        }
    return kl__fail(err, KL_ERR_ARGUMENT, "the preset is '%s', expected tiny, small, mid, mid256 or 48b, or one of "
                                          "these with -mla or -gdn",
                    kl__shown(kl__str(name)).text);
}
