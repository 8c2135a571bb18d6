/** The model's description: reading it out of a file, checking it, and what follows from it. */
#ifndef KL_MODEL_CONFIG_H
#define KL_MODEL_CONFIG_H

#include "format/store.h"
#include "klinear/kl/model.h"
#include "klinear/kl_ops.h"

/** Defaults of the released configuration class: what holds where a file says nothing. */
kl_config kl__config_default(void);

/** Reads the configuration of an open store at `path`: the metadata of a GGUF file, or the config.json that lies beside
 *  safetensors.  Every value is within its limits and all of them fit together afterwards (kl__config_check).
 *  Errors: KL_ERR_FORMAT (a key is missing or wrong, by name), KL_ERR_UNSUPPORTED (another architecture, a variant that
 *  is not known), KL_ERR_IO, KL_ERR_MEMORY.   [T: unit/config] */
kl_status kl__config_read(kl_config *c, const struct kl__store *store, const char *path, kl_error *err);

/** Limits of every number, and agreement between them; the sentence begins with `path`.
 *  Errors: KL_ERR_FORMAT, KL_ERR_UNSUPPORTED. */
kl_status kl__config_check(const kl_config *c, const char *path, kl_error *err);

/** What a mixer does to its state: forgets (per channel, or per head), and erases before it writes. */
bool kl__mixer_recurrent(int mixer);
bool kl__mixer_decays(int mixer);
bool kl__mixer_decays_channels(int mixer);
bool kl__mixer_decays_heads(int mixer);
bool kl__mixer_erases(int mixer);

/** Widths that several parameters share. */
static inline int64_t kl__width_k(const kl_config *c)
{
    return (int64_t)c->n_kda_head * c->kda_k;
}
static inline int64_t kl__width_v(const kl_config *c)
{
    return (int64_t)c->n_kda_v_head * c->kda_v;
}
/** Decays of a token: one per value head and key channel, or one per value head. */
static inline int64_t kl__n_decay(const kl_config *c, int mixer)
{
    return (int64_t)c->n_kda_v_head * (kl__mixer_decays_channels(mixer) ? c->kda_k : 1);
}
static inline int64_t kl__width_q_mla(const kl_config *c)
{
    return (int64_t)c->n_head * (c->qk_nope + c->qk_rope);
}
static inline int64_t kl__width_kv_mla(const kl_config *c)
{
    return (int64_t)c->n_head * (c->qk_nope + c->v_dim);
}
static inline int64_t kl__width_o_mla(const kl_config *c)
{
    return (int64_t)c->n_head * c->v_dim;
}
static inline int64_t kl__width_latent(const kl_config *c)
{
    return (int64_t)c->kv_rank + c->qk_rope;
}
static inline int64_t kl__width_shared(const kl_config *c)
{
    return (int64_t)c->n_ff_expert * c->n_expert_shared;
}

/** Layers with MLA, and layers with a recurrent mixer. */
int kl__n_mla(const kl_config *c);
int kl__n_recurrent(const kl_config *c);

#endif
