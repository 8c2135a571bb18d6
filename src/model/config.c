#include "model/config.h"

static const char *const mixer_names[KL_N_MIXER] = {
    [KL_MIXER_KDA] = "kda",
    [KL_MIXER_MLA] = "mla",
    [KL_MIXER_GDN] = "gdn",
    [KL_MIXER_DELTANET] = "deltanet",
    [KL_MIXER_MAMBA2] = "mamba2",
    [KL_MIXER_GLA] = "gla",
    [KL_MIXER_LINEAR] = "linear",
};

const char *kl_mixer_name(kl_mixer mixer)
{
    return (unsigned)mixer < KL_N_MIXER ? mixer_names[mixer] : "?";
}

bool kl__mixer_recurrent(int mixer)
{
    return mixer != KL_MIXER_MLA;
}

bool kl__mixer_decays_channels(int mixer)
{
    return mixer == KL_MIXER_KDA || mixer == KL_MIXER_GLA;
}

bool kl__mixer_decays_heads(int mixer)
{
    return mixer == KL_MIXER_GDN || mixer == KL_MIXER_MAMBA2;
}

bool kl__mixer_decays(int mixer)
{
    return kl__mixer_decays_channels(mixer) || kl__mixer_decays_heads(mixer);
}

bool kl__mixer_erases(int mixer)
{
    return mixer == KL_MIXER_KDA || mixer == KL_MIXER_GDN || mixer == KL_MIXER_DELTANET;
}

int kl__n_mla(const kl_config *c)
{
    int n = 0;
    for (int i = 0; i < c->n_layer; i++)
        n += c->mixer[i] == KL_MIXER_MLA;
    return n;
}

int kl__n_recurrent(const kl_config *c)
{
    return c->n_layer - kl__n_mla(c);
}

kl_config kl__config_default(void)
{
    return (kl_config){
        .n_vocab = 163840,
        .rms_eps = 1e-6F,
        .n_context = 1 << 20,
        .n_conv = 4,
        .gate_act = KL_ACT_SIGMOID,
        .kv_norm_eps = 1e-5F,
        .rope_base = 10000,
        .router_renormalise = true,
        .router_scale = 1,
        .n_group = 1,
        .topk_group = 1,
        .bos = -1,
        .eos = -1,
        .pad = -1,
    };
}

/* Recurrent states are f32; the tails of the convolutions hold the inputs of q, k and v. */
static int64_t recurrent_bytes(const kl_config *c)
{
    int64_t state = (int64_t)c->n_kda_v_head * c->kda_k * c->kda_v;
    int64_t tail = c->n_conv ? (int64_t)(c->n_conv - 1) * (2 * kl__width_k(c) + kl__width_v(c)) : 0;
    return (state + tail) * (int64_t)sizeof(float);
}

static int64_t latent_bytes(int64_t n, kl_cache_type type)
{
    switch (type) {
    case KL_CACHE_F32:
        return 4 * n;
    case KL_CACHE_Q8_0:
        return (n + 31) / 32 * 34;
    default:
        return 2 * n;
    }
}

const char *kl_cache_type_name(kl_cache_type type)
{
    static const char *const name[] = {[KL_CACHE_BF16] = "bf16", [KL_CACHE_F32] = "f32", [KL_CACHE_Q8_0] = "q8_0"};
    return (unsigned)type < sizeof name / sizeof *name ? name[type] : "?";
}

kl_state_cost kl_config_state_cost(const kl_config *c, kl_cache_type type)
{
    int64_t token = kl__n_mla(c) * latent_bytes(kl__width_latent(c), type);
    return (kl_state_cost){kl__n_recurrent(c) * recurrent_bytes(c), token, token * KL_PAGE_TOKENS};
}
